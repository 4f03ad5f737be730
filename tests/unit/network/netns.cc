#include "tests/unit/network/netns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

#include <fmt/format.h>

#include "network/links.h"

namespace network::test {
namespace {

void must(const base::Result<>& r) {
  if (!r) throw std::runtime_error(r.error().message);
}
template <class T>
T must(base::Result<T> r) {
  if (!r) throw std::runtime_error(r.error().message);
  return std::move(*r);
}

sockaddr_in address(const std::string& ip_text, uint16_t port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  inet_pton(AF_INET, ip_text.c_str(), &a.sin_addr);
  return a;
}

std::string text(const sockaddr_in& a) {
  char buf[64];
  inet_ntop(AF_INET, &a.sin_addr, buf, sizeof buf);
  return buf;
}

}  // namespace

Ip ip(const std::string& s) { return must(Ip::parse(s)); }
Cidr cidr(const std::string& s) { return must(Cidr::parse(s)); }

Netns::Netns() {
  std::string error;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0)
      error = std::strerror(errno);
    else
      fd_ = base::Fd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  }).join();
  if (!fd_) throw std::runtime_error("cannot make a network namespace: " + error);
  run([] {
    auto s = must(netlink::Socket::open(NETLINK_ROUTE));
    netlink::Batch b;
    links::set_up(b, 1);
    must(s.run(b));
  });
}

void Netns::run(const std::function<void()>& f) const {
  std::exception_ptr error;
  std::thread([&] {
    try {
      if (setns(fd_.get(), CLONE_NEWNET) != 0) throw std::runtime_error("setns");
      f();
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
}

void join(const Netns& a, const std::string& name_a, const std::string& address_a, const Netns& b, const std::string& name_b,
          const std::string& address_b) {
  auto configure = [](const std::string& name, const std::string& addr) {
    auto s = must(netlink::Socket::open(NETLINK_ROUTE));
    auto link = must(links::find(s, name));
    Cidr net = cidr(addr);
    netlink::Batch m;
    links::set_up(m, link->index);
    links::add_address(m, link->index, ip(addr.substr(0, addr.find('/'))), net.bits);
    links::add_route(m, {.to = net, .index = link->index});
    must(s.run(m));
  };
  a.run([&] {
    auto s = must(netlink::Socket::open(NETLINK_ROUTE));
    netlink::Batch m;
    links::add_veth(m, {.name = name_a, .peer_name = name_b, .peer_netns = b.fd()});
    must(s.run(m));
    configure(name_a, address_a);
  });
  b.run([&] { configure(name_b, address_b); });
  auto wait = [](const std::string& name) {
    auto s = must(netlink::Socket::open(NETLINK_ROUTE));
    for (int i = 0; i < 1000 && !must(links::find(s, name))->operational; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  a.run([&] { wait(name_a); });
  b.run([&] { wait(name_b); });
}

void add_host_route(const Netns& n, const std::string& to, const std::string& via) {
  n.run([&] {
    auto s = must(netlink::Socket::open(NETLINK_ROUTE));
    netlink::Batch m;
    links::add_route(m, {.to = cidr(to), .via = ip(via)});
    must(s.run(m));
  });
}
void default_route(const Netns& n, const std::string& via) { add_host_route(n, "0.0.0.0/0", via); }

struct Responder::State {
  std::atomic<bool> stop{false};
  base::Fd tcp, udp;
  std::string name;
  std::thread thread;
};

Responder::Responder(const Netns& n, std::string name, uint16_t port) : state_(std::make_unique<State>()) {
  auto* s = state_.get();
  s->name = std::move(name);
  n.run([&] {
    s->tcp = base::Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    s->udp = base::Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    int one = 1;
    setsockopt(s->tcp.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    auto any = address("0.0.0.0", port);
    if (bind(s->tcp.get(), reinterpret_cast<sockaddr*>(&any), sizeof any) || listen(s->tcp.get(), 100) ||
        bind(s->udp.get(), reinterpret_cast<sockaddr*>(&any), sizeof any))
      throw std::runtime_error("responder cannot listen");
  });
  s->thread = std::thread([s] {
    while (!s->stop) {
      pollfd p[2] = {{s->tcp.get(), POLLIN, 0}, {s->udp.get(), POLLIN, 0}};
      if (poll(p, 2, 20) <= 0) continue;
      sockaddr_in peer{};
      socklen_t size = sizeof peer;
      if (p[0].revents) {
        base::Fd c(accept4(s->tcp.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
        std::string answer = s->name + " " + text(peer);
        if (c) (void)!write(c.get(), answer.data(), answer.size());
      }
      if (p[1].revents) {
        char buf[64];
        if (recvfrom(s->udp.get(), buf, sizeof buf, 0, reinterpret_cast<sockaddr*>(&peer), &size) < 0) continue;
        std::string answer = s->name + " " + text(peer);
        sendto(s->udp.get(), answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
      }
    }
  });
}

Responder::Responder(Responder&&) noexcept = default;

Responder::~Responder() {
  if (!state_) return;
  state_->stop = true;
  state_->thread.join();
}

namespace {
std::string outcome(int error) {
  if (error == ECONNREFUSED) return "refused";
  if (error == EAGAIN || error == ETIMEDOUT || error == EINPROGRESS) return "timeout";
  if (error == EHOSTUNREACH || error == ENETUNREACH) return "unreachable";
  return std::strerror(error);
}
std::string read_answer(int fd, int timeout_ms) {
  pollfd p{fd, POLLIN, 0};
  if (poll(&p, 1, timeout_ms) <= 0) return "timeout";
  char buf[256];
  auto got = recv(fd, buf, sizeof buf, 0);
  if (got < 0) return outcome(errno);
  return std::string(buf, static_cast<size_t>(got));
}
}  // namespace

std::string ask_tcp(const Netns& n, const std::string& to, uint16_t port, int timeout_ms, const std::string& source) {
  std::string answer;
  n.run([&] {
    base::Fd s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!source.empty()) {
      auto from = address(source, 0);
      if (bind(s.get(), reinterpret_cast<sockaddr*>(&from), sizeof from)) throw std::runtime_error("bind source");
    }
    auto a = address(to, port);
    if (connect(s.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 && errno != EINPROGRESS) {
      answer = outcome(errno);
      return;
    }
    pollfd p{s.get(), POLLOUT, 0};
    if (poll(&p, 1, timeout_ms) <= 0) {
      answer = "timeout";
      return;
    }
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(s.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    answer = error ? outcome(error) : read_answer(s.get(), timeout_ms);
  });
  return answer;
}

std::string ask_udp(const Netns& n, const std::string& to, uint16_t port, int timeout_ms, uint16_t source_port) {
  std::string answer;
  n.run([&] {
    base::Fd s(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (source_port) {
      auto from = address("0.0.0.0", source_port);
      if (bind(s.get(), reinterpret_cast<sockaddr*>(&from), sizeof from)) throw std::runtime_error("bind source port");
    }
    auto a = address(to, port);
    if (connect(s.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || send(s.get(), "x", 1, 0) < 0)
      answer = outcome(errno);
    else
      answer = read_answer(s.get(), timeout_ms);
  });
  return answer;
}

std::string shell(const Netns& n, const std::string& command) {
  std::string out;
  n.run([&] {
    FILE* p = popen((command + " 2>&1").c_str(), "r");
    std::array<char, 4096> buf;
    for (size_t got; p && (got = fread(buf.data(), 1, buf.size(), p)) > 0;) out.append(buf.data(), got);
    if (p) pclose(p);
  });
  return out;
}
std::string table(const Netns& n) { return shell(n, "nft list table ip appliance"); }

std::unique_ptr<Node> Lab::start(const Netns& where, int number) {
  std::unique_ptr<Node> node;
  where.run([&] {
    NodeOptions o;
    o.node_name = fmt::format("node{}", number);
    o.node_ip = ip(fmt::format("192.168.7.{}", number));
    o.pod_cidr = cidr(fmt::format("10.42.{}.0/24", number));
    o.cluster_cidrs = {cidr("10.42.0.0/16")};
    o.service_cidrs = {cidr("10.43.0.0/16")};
    o.dns_addresses = {ip("10.43.0.10")};
    o.state_dir = fmt::format("{}/{}", dir, number);
    node = must(Node::start(o));
    std::vector<OverlayNode> nodes;
    for (int i = 1; i <= 2; ++i)
      nodes.push_back({fmt::format("node{}", i), ip(fmt::format("192.168.7.{}", i)), cidr(fmt::format("10.42.{}.0/24", i))});
    must(node->overlay().set_nodes(nodes));
  });
  return node;
}

TemporaryDirectory::TemporaryDirectory() {
  char pattern[] = "/tmp/network-test-XXXXXX";
  if (!mkdtemp(pattern)) throw std::runtime_error("mkdtemp");
  path = pattern;
}
TemporaryDirectory::~TemporaryDirectory() { (void)base::remove_all(path); }

Lab::Lab() {
  join(a, "eth0", "192.168.7.1/24", b, "eth0", "192.168.7.2/24");
  join(a, "eth1", "192.168.8.1/24", client, "eth0", "192.168.8.9/24");
  default_route(client, "192.168.8.1");
  add_host_route(b, "192.168.8.0/24", "192.168.7.1");
  node_a = start(a, 1);
  node_b = start(b, 2);
}

Lab::~Lab() {
  a.run([&] { node_a.reset(); });
  b.run([&] { node_b.reset(); });
}

}  // namespace network::test
