#include "network/dns/forwarder.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace network::dns {
namespace {

using Clock = Poller::Clock;
constexpr auto kFirstTry = std::chrono::milliseconds(1000), kLaterTry = std::chrono::milliseconds(1500),
               kTcpTry = std::chrono::milliseconds(2500);
constexpr auto kTotal = std::chrono::milliseconds(4800);  // a client's resolver gives up after five seconds
constexpr auto kSuspicion = std::chrono::seconds(5);
constexpr int kMaxStrangers = 3;

socklen_t socket_address(const Upstream& u, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  if (u.ip.is_v6()) {
    auto* a = reinterpret_cast<sockaddr_in6*>(&out);
    a->sin6_family = AF_INET6;
    a->sin6_port = htons(u.port);
    std::memcpy(&a->sin6_addr, u.ip.data(), 16);
    return sizeof *a;
  }
  auto* a = reinterpret_cast<sockaddr_in*>(&out);
  a->sin_family = AF_INET;
  a->sin_port = htons(u.port);
  std::memcpy(&a->sin_addr, u.ip.data(), 4);
  return sizeof *a;
}

uint16_t random_id() {
  uint16_t id = 0;
  while (getrandom(&id, sizeof id, 0) != sizeof id) {
  }
  return id;
}

}  // namespace

struct Forwarder::Pending {
  UpstreamQuestion question;
  std::vector<Done> waiters;
  std::vector<size_t> order;  // of servers to try
  size_t tries = 0;
  size_t server = 0;
  base::Fd fd;
  bool tcp = false;
  std::string out, in;        // TCP
  uint16_t id = 0;
  int strangers = 0;
  Clock::time_point deadline;
  uint64_t timer = 0;
  std::shared_ptr<Answer> last;  // a failure an upstream sent: better than none
};

Forwarder::Forwarder(Poller& poller, size_t cache_entries) : poller_(poller), cache_(cache_entries) {}
Forwarder::~Forwarder() = default;

void Forwarder::set_upstreams(std::vector<Upstream> upstreams) {
  bool same = upstreams.size() == servers_.size();
  for (size_t i = 0; same && i < upstreams.size(); ++i)
    same = upstreams[i].ip == servers_[i].where.ip && upstreams[i].port == servers_[i].where.port;
  if (same) return;
  servers_.clear();
  for (auto& u : upstreams) servers_.push_back({u, {}});
  cache_.clear();
  // Questions under way are asked again, of the new ones.
  std::vector<Pending*> all;
  for (auto& [key, p] : pending_) all.push_back(p.get());
  for (auto* p : all) {
    p->order.clear();
    p->tries = 0;
    try_next(*p);
  }
}

bool Forwarder::ask(const UpstreamQuestion& question, Done done) {
  auto now = Clock::now();
  const std::string key = question.key();
  if (auto hit = cache_.find(key, now); hit.answer) {
    done(hit.answer, hit.age);
    return true;
  }
  if (auto it = pending_.find(key); it != pending_.end()) {
    if (it->second->waiters.size() >= kMaxWaiters)
      done(nullptr, 0);
    else
      it->second->waiters.push_back(std::move(done));
    return false;
  }
  if (pending_.size() >= kMaxQuestions || servers_.empty()) {
    done(nullptr, 0);
    return false;
  }
  auto& p = *(pending_[key] = std::make_unique<Pending>());
  p.question = question;
  p.waiters.push_back(std::move(done));
  p.deadline = now + kTotal;
  try_next(p);
  return false;
}

void Forwarder::close(Pending& p) {
  if (p.timer) poller_.cancel(std::exchange(p.timer, 0));
  if (p.fd) poller_.remove(p.fd.get());
  p.fd.reset();
}

void Forwarder::try_next(Pending& p) {
  close(p);
  auto now = Clock::now();
  if (p.order.empty()) {
    for (bool suspect : {false, true})
      for (size_t i = 0; i < servers_.size(); ++i)
        if ((servers_[i].suspect_until > now) == suspect) p.order.push_back(i);
  }
  size_t most = std::clamp<size_t>(2 * p.order.size(), 3, 6);
  if (p.order.empty() || p.tries >= most || now >= p.deadline) return finish(p, p.last);
  p.server = p.order[p.tries++ % p.order.size()];
  send_udp(p);
}

void Forwarder::failed_try(Pending& p) {
  servers_[p.server].suspect_until = Clock::now() + kSuspicion;
  try_next(p);
}

void Forwarder::send_udp(Pending& p) {
  sockaddr_storage to;
  socklen_t size = socket_address(servers_[p.server].where, to);
  p.tcp = false;
  p.strangers = 0;
  p.id = random_id();
  p.fd = base::Fd(socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const std::string query = make_query(p.id, p.question.name, p.question.type, p.question.dnssec_ok, p.question.checking_disabled);
  auto now = Clock::now();
  auto wait = p.tries == 1 ? kFirstTry : kLaterTry;
  // Not from here: a failure at once would otherwise recurse through all servers.
  p.timer = poller_.at(std::min(now + wait, p.deadline), [this, &p] {
    p.timer = 0;
    failed_try(p);
  });
  // Connected: the kernel picks a random port, and lets in only what comes from this server.
  if (!p.fd || connect(p.fd.get(), reinterpret_cast<sockaddr*>(&to), size) != 0 || send(p.fd.get(), query.data(), query.size(), 0) < 0 ||
      !poller_.add(p.fd.get(), EPOLLIN, [this, &p](uint32_t) { on_udp(p); })) {
    poller_.cancel(p.timer);
    p.timer = poller_.at(now, [this, &p] {
      p.timer = 0;
      failed_try(p);
    });
  }
}

void Forwarder::on_udp(Pending& p) {
  char buffer[4096];
  auto n = recv(p.fd.get(), buffer, sizeof buffer, 0);
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    return failed_try(p);  // refused: nobody listens there
  }
  auto answer = std::make_shared<Answer>();
  bool good = parse_answer({buffer, static_cast<size_t>(n)}, *answer);
  if (!good || answer->id != p.id || answer->name != p.question.name || answer->type != p.question.type) {
    // Somebody guesses, or the server is broken: the connection-oriented way cannot be guessed.
    if (++p.strangers >= kMaxStrangers) start_tcp(p);
    return;
  }
  if (answer->truncated) return start_tcp(p);
  take(p, std::move(answer));
}

void Forwarder::take(Pending& p, std::shared_ptr<Answer> answer) {
  servers_[p.server].suspect_until = {};
  if (answer->rcode != Rcode::ok && answer->rcode != Rcode::no_such_name) {
    p.last = std::move(answer);
    return p.tries < p.order.size() ? try_next(p) : finish(p, p.last);
  }
  finish(p, std::move(answer));
}

void Forwarder::start_tcp(Pending& p) {
  close(p);
  sockaddr_storage to;
  socklen_t size = socket_address(servers_[p.server].where, to);
  p.tcp = true;
  p.id = random_id();
  std::string query = make_query(p.id, p.question.name, p.question.type, p.question.dnssec_ok, p.question.checking_disabled);
  p.out.assign({static_cast<char>(query.size() >> 8), static_cast<char>(query.size())});
  p.out += query;
  p.in.clear();
  p.fd = base::Fd(socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  p.timer = poller_.at(std::min(Clock::now() + kTcpTry, p.deadline), [this, &p] {
    p.timer = 0;
    failed_try(p);
  });
  if (!p.fd || (connect(p.fd.get(), reinterpret_cast<sockaddr*>(&to), size) != 0 && errno != EINPROGRESS) ||
      !poller_.add(p.fd.get(), EPOLLOUT, [this, &p](uint32_t events) { on_tcp(p, events); })) {
    poller_.cancel(p.timer);
    p.timer = poller_.at(Clock::now(), [this, &p] {
      p.timer = 0;
      failed_try(p);
    });
  }
}

void Forwarder::on_tcp(Pending& p, uint32_t events) {
  if (!p.out.empty()) {
    auto n = send(p.fd.get(), p.out.data(), p.out.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      return failed_try(p);
    }
    p.out.erase(0, static_cast<size_t>(n));
    if (p.out.empty()) poller_.change(p.fd.get(), EPOLLIN);
    return;
  }
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  char buffer[8192];
  auto n = recv(p.fd.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return failed_try(p);
  p.in.append(buffer, static_cast<size_t>(n));
  if (p.in.size() < 2) return;
  size_t want = static_cast<size_t>(static_cast<uint8_t>(p.in[0])) << 8 | static_cast<uint8_t>(p.in[1]);
  if (p.in.size() < want + 2) return;
  auto answer = std::make_shared<Answer>();
  if (!parse_answer(std::string_view(p.in).substr(2, want), *answer) || answer->id != p.id || answer->name != p.question.name ||
      answer->type != p.question.type || answer->truncated)
    return failed_try(p);
  take(p, std::move(answer));
}

void Forwarder::finish(Pending& p, std::shared_ptr<const Answer> answer) {
  close(p);
  auto it = pending_.find(p.question.key());
  auto owned = std::move(it->second);  // keeps it alive while the waiters are called
  pending_.erase(it);
  if (answer) cache_.put(owned->question.key(), answer, Clock::now());
  for (auto& done : owned->waiters) done(answer, 0);
}

}  // namespace network::dns
