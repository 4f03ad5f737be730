#include "network/dns/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "base/log.h"
#include "network/dns/forwarder.h"
#include "network/dns/message.h"
#include "network/dns/zone_table.h"
#include "network/links.h"

namespace network::dns {
namespace {

using Clock = Poller::Clock;

constexpr size_t kBatch = 32, kPacket = 4096;
constexpr auto kIdle = std::chrono::seconds(10);
constexpr size_t kMaxOut = 256 << 10, kMaxUnderWay = 64;
constexpr uint32_t kLocalTtl = 3600;
constexpr auto kSettle = std::chrono::milliseconds(300);  // after a change of resolv.conf
constexpr const char* kResolvedServers = "/run/systemd/resolve/resolv.conf";

struct Counters {
  std::atomic<uint64_t> queries{0}, cluster{0}, forwarded{0}, cache_hits{0}, refused{0}, malformed{0}, failed{0};
};

// What the threads share.
struct Shared {
  ServerOptions options;
  std::string domain;  // wire form
  std::atomic<std::shared_ptr<const Zone>> zone;
  std::mutex mutex;
  std::vector<Upstream> upstreams;  // under mutex
  std::atomic<uint64_t> upstreams_version{1};
  std::atomic<bool> stop{false};
  std::function<void()> wake_all;
  Counters counters;
};

struct Peer {
  sockaddr_storage address{};
  socklen_t size = sizeof(sockaddr_storage);
  Ip ip() const {
    if (address.ss_family == AF_INET) return Ip::from_bytes(&reinterpret_cast<const sockaddr_in&>(address).sin_addr, 4);
    if (address.ss_family == AF_INET6) return Ip::from_bytes(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, 16);
    return {};
  }
  uint16_t port() const { return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port); }
};

socklen_t socket_address(const Ip& ip, uint16_t port, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  if (ip.is_v6()) {
    auto* a = reinterpret_cast<sockaddr_in6*>(&out);
    a->sin6_family = AF_INET6;
    a->sin6_port = htons(port);
    std::memcpy(&a->sin6_addr, ip.data(), 16);
    return sizeof *a;
  }
  auto* a = reinterpret_cast<sockaddr_in*>(&out);
  a->sin_family = AF_INET;
  a->sin_port = htons(port);
  std::memcpy(&a->sin_addr, ip.data(), 4);
  return sizeof *a;
}

base::Result<base::Fd> listen_on(const Ip& ip, uint16_t port, int type) {
  sockaddr_storage a;
  socklen_t size = socket_address(ip, port, a);
  base::Fd fd(socket(a.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int one = 1, room = 1 << 20;
  if (!fd) return base::errno_error("open a DNS socket");
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (type == SOCK_DGRAM) {
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0)
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  }
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&a), size) != 0 || (type == SOCK_STREAM && listen(fd.get(), 64) != 0))
    return base::errno_error(fmt::format("the DNS server cannot listen on {} port {} ({}); is another server on it?", ip.str(), port,
                                         type == SOCK_DGRAM ? "UDP" : "TCP"));
  return fd;
}

// One thread: its sockets, its cache, its upstream questions.
class Loop {
 public:
  Loop(Shared& shared, bool first) : shared_(shared), forwarder_(poller_, shared.options.cache_entries), first_(first) {}
  base::Result<> open();
  void run();
  void wake() {
    uint64_t one = 1;
    (void)!write(wake_.get(), &one, sizeof one);
  }

 private:
  struct Connection {
    base::Fd fd;
    uint64_t id = 0;
    Peer peer;
    std::string in, out;
    size_t under_way = 0;
    bool closing = false;
    uint64_t timer = 0;
  };
  // Where an answer goes that comes later.
  struct Way {
    int udp = -1;
    Peer peer;
    uint64_t connection = 0;
    std::string packet;  // the query
  };

  bool allowed(const Ip& ip);
  void on_datagrams(int fd);
  void on_accept(int fd);
  void on_connection(uint64_t id, uint32_t events);
  void take_requests(Connection& c);
  void flush(Connection& c);
  void touch(Connection& c);
  void drop(uint64_t id);
  // The answer at once (a view into scratch), or empty: none, or later.
  std::string_view handle(std::string_view packet, Writer& out, bool udp, const Peer& peer, int fd, uint64_t connection);
  void ask_upstream(const Query& query, Way way, std::string alias, std::string_view& now, Writer& out);
  void deliver(const Way& way, std::string_view message);
  std::string_view render(const Query& query, Writer& out, bool udp, const std::string& alias, const Answer* answer, uint32_t age);
  void watch_resolv_conf();
  void on_watch();
  bool special(const Query& query, Reply& reply) const;

  Shared& shared_;
  Poller poller_;
  Forwarder forwarder_;
  const bool first_;
  base::Fd wake_;
  std::vector<base::Fd> sockets_;
  std::unordered_map<uint64_t, Connection> connections_;
  uint64_t next_connection_ = 1;
  uint64_t upstreams_version_ = 0;
  base::Fd watch_;  // of resolv.conf
  std::set<std::string> watched_names_;
  bool reread_planned_ = false;
  uint32_t turn_ = 0;
  std::unordered_set<Ip> own_;  // addresses of this host
  Clock::time_point own_read_{};
  std::shared_ptr<const Zone> zone_;
  std::vector<char> big_ = std::vector<char>(kMaxMessage);
  std::vector<char> in_ = std::vector<char>(kBatch * kPacket), out_ = std::vector<char>(kBatch * (kMaxUdp + 64));
};

base::Result<> Loop::open() {
  if (!poller_.valid()) return base::errno_error("epoll_create1");
  wake_ = base::Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_ || !poller_.add(wake_.get(), EPOLLIN, [this](uint32_t) {
        uint64_t n;
        (void)!read(wake_.get(), &n, sizeof n);
      }))
    return base::errno_error("eventfd");
  if (first_ && !shared_.options.resolv_conf.empty()) watch_resolv_conf();
  for (auto& ip : shared_.options.addresses) {
    TRY(auto udp, listen_on(ip, shared_.options.port, SOCK_DGRAM));
    int fd = udp.get();
    poller_.add(fd, EPOLLIN, [this, fd](uint32_t) { on_datagrams(fd); });
    sockets_.push_back(std::move(udp));
    if (!first_) continue;
    TRY(auto tcp, listen_on(ip, shared_.options.port, SOCK_STREAM));
    int listener = tcp.get();
    poller_.add(listener, EPOLLIN, [this, listener](uint32_t) { on_accept(listener); });
    sockets_.push_back(std::move(tcp));
  }
  return {};
}

// Directories are watched: editors and network managers put a new file in the place of the old one.
void Loop::watch_resolv_conf() {
  watch_ = base::Fd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch_) return;
  std::set<std::string> paths{shared_.options.resolv_conf, kResolvedServers};
  char real[PATH_MAX];
  if (realpath(shared_.options.resolv_conf.c_str(), real)) paths.insert(real);
  for (auto& path : paths) {
    auto slash = path.rfind('/');
    if (slash == std::string::npos) continue;
    inotify_add_watch(watch_.get(), path.substr(0, std::max<size_t>(slash, 1)).c_str(),
                      IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR);
    watched_names_.insert(path.substr(slash + 1));
  }
  poller_.add(watch_.get(), EPOLLIN, [this](uint32_t) { on_watch(); });
}

void Loop::on_watch() {
  alignas(inotify_event) char buffer[4096];
  bool ours = false;
  for (ssize_t n; (n = read(watch_.get(), buffer, sizeof buffer)) > 0;)
    for (ssize_t at = 0; at < n;) {
      auto* e = reinterpret_cast<inotify_event*>(buffer + at);
      ours = ours || (e->len && watched_names_.contains(e->name));
      at += static_cast<ssize_t>(sizeof *e + e->len);
    }
  if (!ours || reread_planned_) return;
  reread_planned_ = true;
  poller_.at(Clock::now() + kSettle, [this] {
    reread_planned_ = false;
    auto now = read_upstreams(shared_.options.resolv_conf, shared_.options.addresses);
    if (!now) return;
    base::log::info("dns", "{} names {} servers", shared_.options.resolv_conf, now->size());
    {
      std::scoped_lock lock(shared_.mutex);
      shared_.upstreams = std::move(*now);
    }
    ++shared_.upstreams_version;
    if (shared_.wake_all) shared_.wake_all();
  });
}

void Loop::run() {
  while (!shared_.stop) {
    if (auto v = shared_.upstreams_version.load(); v != upstreams_version_) {
      upstreams_version_ = v;
      std::vector<Upstream> servers;
      {
        std::scoped_lock lock(shared_.mutex);
        servers = shared_.upstreams;
      }
      forwarder_.set_upstreams(std::move(servers));
    }
    poller_.turn();
  }
}

bool Loop::allowed(const Ip& ip) {
  for (auto& c : shared_.options.allowed_sources)
    if (c.contains(ip)) return true;
  if (ip.is_loopback() || own_.contains(ip)) return true;
  // The host's addresses may have changed since they were read.
  auto now = Clock::now();
  if (own_read_ != Clock::time_point{} && now - own_read_ < std::chrono::seconds(1)) return false;
  own_read_ = now;
  auto socket = netlink::Socket::open(NETLINK_ROUTE);
  if (!socket) return false;
  auto addresses = links::addresses(*socket);
  if (!addresses) return false;
  own_.clear();
  for (auto& a : *addresses) own_.insert(a.ip);
  return own_.contains(ip);
}

void Loop::on_datagrams(int fd) {
  mmsghdr in[kBatch], out[kBatch];
  iovec in_v[kBatch], out_v[kBatch];
  Peer peers[kBatch];
  for (;;) {
    for (size_t i = 0; i < kBatch; ++i) {
      in_v[i] = {in_.data() + i * kPacket, kPacket};
      peers[i].size = sizeof(sockaddr_storage);
      in[i] = {};
      in[i].msg_hdr.msg_iov = &in_v[i];
      in[i].msg_hdr.msg_iovlen = 1;
      in[i].msg_hdr.msg_name = &peers[i].address;
      in[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage);
    }
    int n = recvmmsg(fd, in, kBatch, MSG_DONTWAIT, nullptr);
    if (n <= 0) return;
    zone_ = shared_.zone.load();
    unsigned answers = 0;
    for (int i = 0; i < n; ++i) {
      peers[i].size = in[i].msg_hdr.msg_namelen;
      if ((in[i].msg_hdr.msg_flags & MSG_TRUNC) || peers[i].port() == 0) {
        ++shared_.counters.malformed;
        continue;
      }
      Writer writer(out_.data() + answers * (kMaxUdp + 64), kMaxUdp + 64);
      auto reply = handle({in_.data() + static_cast<size_t>(i) * kPacket, in[i].msg_len}, writer, true, peers[i], fd, 0);
      if (reply.empty()) continue;
      out_v[answers] = {const_cast<char*>(reply.data()), reply.size()};
      out[answers] = {};
      out[answers].msg_hdr.msg_iov = &out_v[answers];
      out[answers].msg_hdr.msg_iovlen = 1;
      out[answers].msg_hdr.msg_name = &peers[i].address;
      out[answers].msg_hdr.msg_namelen = peers[i].size;
      ++answers;
    }
    for (unsigned sent = 0; sent < answers;) {
      int k = sendmmsg(fd, out + sent, answers - sent, MSG_DONTWAIT);
      sent += k > 0 ? static_cast<unsigned>(k) : 1;  // one that cannot be sent is lost, as datagrams are
    }
    if (n < static_cast<int>(kBatch)) return;
  }
}

bool Loop::special(const Query& q, Reply& reply) const {
  // RFC 6761: localhost never leaves the host.
  if (q.label_count == 0 || q.label(q.label_count - 1u) != "localhost") return false;
  if (q.type == kA) reply.address(Ip::v4(0x7f000001), kLocalTtl);
  if (q.type == kAaaa) reply.address(*Ip::parse("::1"), kLocalTtl);
  return true;
}

std::string_view Loop::handle(std::string_view packet, Writer& out, bool udp, const Peer& peer, int fd, uint64_t connection) {
  auto& count = shared_.counters;
  if (!allowed(peer.ip())) {
    ++count.refused;
    return {};
  }
  ++count.queries;
  Query query;
  Gate gate = parse_query(packet, query);
  if (gate != Gate::pass) {
    ++count.malformed;
    if (gate == Gate::drop) return {};
    query.question = {};
    query.edns = false;
    Reply reply(query, out);
    reply.rcode(gate == Gate::format_error ? Rcode::format_error : Rcode::not_implemented);
    return reply.finish(udp);
  }
  Reply reply(query, out);
  if (query.cls != kIn || query.type == kAxfr || query.type == kIxfr) {
    reply.rcode(Rcode::refused);
    return reply.finish(udp);
  }
  Way way{udp ? fd : -1, peer, connection, std::string()};
  std::string_view now;
  std::string chase;
  if (!zone_ && Zone::in_domain(query, shared_.domain)) {
    ++count.failed;
    reply.rcode(Rcode::server_failure);
    return reply.finish(udp);
  }
  if (zone_ && zone_->answer(query, reply, chase, turn_++)) {
    ++count.cluster;
    if (chase.empty()) return reply.finish(udp);
    way.packet = packet;
    ask_upstream(query, std::move(way), std::move(chase), now, out);
    return now;
  }
  if (special(query, reply)) return reply.finish(udp);
  if (query.type == kPtr) {
    // Nobody outside knows the cluster's addresses.
    Ip ip = reverse_address(query);
    for (auto& c : shared_.options.allowed_sources)
      if (c.contains(ip)) {
        reply.rcode(Rcode::no_such_name);
        return reply.finish(udp);
      }
  }
  if (!query.recursion_desired) {
    reply.rcode(Rcode::refused);
    return reply.finish(udp);
  }
  way.packet = packet;
  ask_upstream(query, std::move(way), {}, now, out);
  return now;
}

// The upstream's answer as one to our client. `alias`: the name that was asked upstream when the cluster's own answer is an alias to it.
std::string_view Loop::render(const Query& query, Writer& out, bool udp, const std::string& alias, const Answer* answer, uint32_t age) {
  Reply reply(query, out);
  if (!alias.empty()) {
    reply.name_record(kCname, alias, kClusterTtl);
    reply.authoritative(true);
  }
  if (!answer) {
    ++shared_.counters.failed;
    reply.rcode(Rcode::server_failure);
  } else {
    reply.rcode(answer->rcode);
    put_records(reply, *answer, age, alias);
  }
  return reply.finish(udp);
}

void Loop::ask_upstream(const Query& query, Way way, std::string alias, std::string_view& now, Writer& out) {
  UpstreamQuestion question{alias.empty() ? std::string(query.wire_name()) : alias, query.type, query.dnssec_ok, query.checking_disabled};
  const bool udp = way.udp >= 0;
  // `done` runs inside ask() for what is known already; then the answer goes the caller's way.
  auto inside = std::make_shared<bool>(true);
  auto* now_view = &now;
  auto* writer = &out;
  if (way.connection)
    if (auto c = connections_.find(way.connection); c != connections_.end()) ++c->second.under_way;
  bool hit = forwarder_.ask(question, [this, way = std::move(way), alias = std::move(alias), inside, now_view, writer, udp](
                                          std::shared_ptr<const Answer> answer, uint32_t age) {
    Query again;
    if (parse_query(way.packet, again) != Gate::pass) return;
    if (way.connection)
      if (auto c = connections_.find(way.connection); c != connections_.end()) --c->second.under_way;
    if (*inside) {
      *now_view = render(again, *writer, udp, alias, answer.get(), age);
    } else {
      Writer later(big_.data(), udp ? kMaxUdp + 64 : kMaxMessage);
      deliver(way, render(again, later, udp, alias, answer.get(), age));
    }
  });
  *inside = false;
  ++(hit ? shared_.counters.cache_hits : shared_.counters.forwarded);
}

void Loop::deliver(const Way& way, std::string_view message) {
  if (way.udp >= 0) {
    sendto(way.udp, message.data(), message.size(), MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&way.peer.address), way.peer.size);
    return;
  }
  auto it = connections_.find(way.connection);
  if (it == connections_.end()) return;
  auto& c = it->second;
  c.out += {static_cast<char>(message.size() >> 8), static_cast<char>(message.size())};
  c.out += message;
  on_connection(way.connection, 0);  // more requests may have waited for this answer
}

void Loop::on_accept(int fd) {
  for (;;) {
    Peer peer;
    base::Fd client(accept4(fd, reinterpret_cast<sockaddr*>(&peer.address), &peer.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client) return;
    if (connections_.size() >= shared_.options.max_tcp_connections || !allowed(peer.ip())) continue;
    int one = 1;
    setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    uint64_t id = next_connection_++;
    if (!poller_.add(client.get(), EPOLLIN, [this, id](uint32_t events) { on_connection(id, events); })) continue;
    auto& c = connections_[id];
    c.fd = std::move(client);
    c.id = id;
    c.peer = peer;
    touch(c);
  }
}

void Loop::touch(Connection& c) {
  if (c.timer) poller_.cancel(c.timer);
  c.timer = poller_.at(Clock::now() + kIdle, [this, id = c.id] {
    if (auto it = connections_.find(id); it != connections_.end()) it->second.timer = 0;
    drop(id);
  });
}

void Loop::drop(uint64_t id) {
  auto it = connections_.find(id);
  if (it == connections_.end()) return;
  if (it->second.timer) poller_.cancel(it->second.timer);
  poller_.remove(it->second.fd.get());
  connections_.erase(it);
}

void Loop::on_connection(uint64_t id, uint32_t events) {
  auto it = connections_.find(id);
  if (it == connections_.end()) return;
  auto& c = it->second;
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    char buffer[8192];
    auto n = recv(c.fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return drop(id);
    if (n == 0) c.closing = true;
    if (n > 0) {
      c.in.append(buffer, static_cast<size_t>(n));
      touch(c);
    }
  }
  take_requests(c);
  flush(c);
}

void Loop::take_requests(Connection& c) {
  zone_ = shared_.zone.load();
  size_t at = 0;
  while (c.in.size() - at >= 2 && c.under_way < kMaxUnderWay && c.out.size() < kMaxOut) {
    size_t length = static_cast<size_t>(static_cast<uint8_t>(c.in[at])) << 8 | static_cast<uint8_t>(c.in[at + 1]);
    if (c.in.size() - at - 2 < length) break;
    Writer writer(big_.data(), big_.size());
    auto reply = handle(std::string_view(c.in).substr(at + 2, length), writer, false, c.peer, -1, c.id);
    at += 2 + length;
    if (reply.empty()) continue;
    c.out += {static_cast<char>(reply.size() >> 8), static_cast<char>(reply.size())};
    c.out += reply;
  }
  c.in.erase(0, at);
}

void Loop::flush(Connection& c) {
  while (!c.out.empty()) {
    auto n = send(c.fd.get(), c.out.data(), c.out.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) return drop(c.id);
    if (n <= 0) break;
    c.out.erase(0, static_cast<size_t>(n));
  }
  bool busy = c.out.size() >= kMaxOut || c.under_way >= kMaxUnderWay;
  if (c.closing && c.out.empty() && c.under_way == 0) return drop(c.id);
  // Who does not read its answers is not read from either; the idle deadline ends it.
  poller_.change(c.fd.get(), (busy || c.closing ? 0u : EPOLLIN) | (c.out.empty() ? 0u : EPOLLOUT));
}

class ServerImpl final : public Server {
 public:
  explicit ServerImpl(ServerOptions options) {
    shared_.domain = wire_name(options.domain);
    shared_.upstreams = options.upstreams;
    if (!options.resolv_conf.empty())
      if (auto found = read_upstreams(options.resolv_conf, options.addresses)) shared_.upstreams = std::move(*found);
    shared_.options = std::move(options);
    shared_.wake_all = [this] {
      for (auto& l : loops_) l->wake();
    };
  }
  ~ServerImpl() override { stop(); }

  base::Result<> start() {
    if (shared_.domain.empty()) return base::bad_request("not a domain name: " + shared_.options.domain);
    for (unsigned i = 0; i < std::max(1u, shared_.options.threads); ++i) {
      loops_.push_back(std::make_unique<Loop>(shared_, i == 0));
      CHECK_OK(loops_.back()->open());
    }
    for (auto& loop : loops_)
      threads_.emplace_back([l = loop.get()] {
        pthread_setname_np(pthread_self(), "dns");
        l->run();
      });
    return {};
  }

  void set_zone(std::shared_ptr<const Zone> zone) override { shared_.zone.store(std::move(zone)); }

  void set_upstreams(std::vector<Upstream> upstreams) override {
    {
      std::scoped_lock lock(shared_.mutex);
      shared_.upstreams = std::move(upstreams);
    }
    ++shared_.upstreams_version;
    for (auto& l : loops_) l->wake();
  }

  ServerStats stats() const override {
    auto& c = shared_.counters;
    return {c.queries, c.cluster, c.forwarded, c.cache_hits, c.refused, c.malformed, c.failed};
  }

  void stop() override {
    std::scoped_lock lock(stopping_);
    shared_.stop = true;
    for (auto& l : loops_) l->wake();
    for (auto& t : threads_) t.join();
    threads_.clear();
    loops_.clear();
  }

 private:
  Shared shared_;
  std::mutex stopping_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::thread> threads_;
};

}  // namespace

base::Result<std::unique_ptr<Server>> Server::start(ServerOptions options) {
  auto server = std::make_unique<ServerImpl>(std::move(options));
  CHECK_OK(server->start());
  return server;
}

}  // namespace network::dns
