#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>

#include <catch2/catch.hpp>

#include "network/dns/server.h"
#include "tests/unit/network/dns_packets.h"
#include "tests/unit/network/netns.h"

using namespace network;
using namespace network::dns;
using namespace network::test;
using namespace std::chrono_literals;

namespace {

sockaddr_in address(const char* text, uint16_t port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  inet_pton(AF_INET, text, &a.sin_addr);
  return a;
}

// An upstream server whose behaviour a test sets. Answers A with 192.0.2.<n>, n counting the queries.
class FakeUpstream {
 public:
  enum class Mode { answer, silent, truncate, wrong_id, wrong_question, garbage, servfail, nxdomain, many };
  std::atomic<Mode> mode{Mode::answer};
  std::atomic<int> udp{0}, tcp{0};
  std::atomic<unsigned> ttl{30};
  std::atomic<int> delay_ms{0};
  std::mutex mutex;
  std::map<uint16_t, int> ports, ids;

  FakeUpstream(const Netns& n, const char* ip_text) {
    n.run([&] {
      udp_ = base::Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      tcp_ = base::Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      auto a = address(ip_text, 53);
      REQUIRE(bind(udp_.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) == 0);
      REQUIRE(bind(tcp_.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) == 0);
      REQUIRE(listen(tcp_.get(), 10) == 0);
    });
    thread_ = std::thread([this] { run(); });
  }
  ~FakeUpstream() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::string respond(const std::string& q, bool over_tcp) {
    Mode m = mode;
    if (m == Mode::silent) return {};
    if (m == Mode::garbage) return "nonsense";
    std::string out = q.substr(0, 12);
    size_t end = 12;
    while (q[end]) end += 1u + static_cast<uint8_t>(q[end]);
    end += 5;
    out += q.substr(12, end - 12);
    out[2] = '\x81';
    out[3] = '\x80';
    out[7] = out[9] = out[11] = 0;
    if (m == Mode::wrong_id) out[0] = static_cast<char>(out[0] ^ 1);
    if (m == Mode::wrong_question) out[13] = static_cast<char>(out[13] ^ 3);
    if (m == Mode::servfail) {
      out[3] = '\x82';
      return out;
    }
    if (m == Mode::truncate && !over_tcp) {
      out[2] = '\x83';
      return out;
    }
    if (m == Mode::nxdomain) {
      out[3] = '\x83';
      out[9] = 1;
      out += std::string("\0\0\6\0\1\0\0\0\20\0\26\0\0", 13) + std::string("\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\17", 20);
      return out;
    }
    int n = m == Mode::many ? 120 : 1;
    out[7] = static_cast<char>(n);
    for (int i = 0; i < n; ++i) {
      out += std::string("\xc0\x0c\0\1\0\1\0\0", 8);
      put16(out, ttl);
      out += std::string("\0\4\xc0\0\2", 5);
      out += static_cast<char>(m == Mode::many ? i : udp + tcp);
    }
    return out;
  }
  void run() {
    char buf[2048];
    while (!stop_) {
      pollfd p[2] = {{udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}};
      if (poll(p, 2, 10) <= 0) continue;
      sockaddr_in peer{};
      socklen_t size = sizeof peer;
      if (p[0].revents) {
        auto n = recvfrom(udp_.get(), buf, sizeof buf, 0, reinterpret_cast<sockaddr*>(&peer), &size);
        if (n < 12) continue;
        ++udp;
        {
          std::scoped_lock lock(mutex);
          ++ports[ntohs(peer.sin_port)];
          ++ids[static_cast<uint16_t>(static_cast<uint8_t>(buf[0]) << 8 | static_cast<uint8_t>(buf[1]))];
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
        auto r = respond(std::string(buf, static_cast<size_t>(n)), false);
        if (!r.empty()) sendto(udp_.get(), r.data(), r.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
      }
      if (p[1].revents) {
        base::Fd c(accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        auto n = recv(c.get(), buf, sizeof buf, 0);
        if (n < 14) continue;
        ++tcp;
        auto r = respond(std::string(buf + 2, static_cast<size_t>(n) - 2), true);
        std::string framed;
        put16(framed, static_cast<unsigned>(r.size()));
        framed += r;
        (void)!write(c.get(), framed.data(), framed.size());
      }
    }
  }
  base::Fd udp_, tcp_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

struct Dns {
  Netns host, pod, stranger;
  std::unique_ptr<FakeUpstream> up1, up2;
  std::unique_ptr<Server> server;

  Dns() {
    join(host, "veth1", "10.42.0.1/24", pod, "eth0", "10.42.0.2/24");
    join(host, "veth2", "192.168.9.1/24", stranger, "eth0", "192.168.9.2/24");
    default_route(pod, "10.42.0.1");
    default_route(stranger, "192.168.9.1");
    shell(host, "ip addr add 10.43.0.10/32 dev lo; ip addr add 10.99.0.1/32 dev lo; ip addr add 10.99.0.2/32 dev lo");
    up1 = std::make_unique<FakeUpstream>(host, "10.99.0.1");
    up2 = std::make_unique<FakeUpstream>(host, "10.99.0.2");
    host.run([&] {
      auto r = Server::start({.addresses = {ip("10.43.0.10")},
                              .upstreams = {{ip("10.99.0.1"), 53}, {ip("10.99.0.2"), 53}},
                              .allowed_sources = {cidr("10.42.0.0/16"), cidr("10.43.0.0/16")}});
      if (!r) throw std::runtime_error(r.error().message);
      server = std::move(*r);
    });
    ZoneBuilder b;
    b.add({.ns = "default", .name = "web", .cluster_ips = {ip("10.43.0.80")}, .ports = {{"http", "tcp", 80}}});
    ServiceRecord big{.ns = "default", .name = "big"};
    for (uint32_t i = 0; i < 300; ++i) big.endpoints.push_back({Ip::v4(0x0a2a1000 + i), "", {{"http", "tcp", 80}}});
    b.add(big);
    b.add({.ns = "default", .name = "out", .external_name = "www.example.org"});
    server->set_zone(b.build());
  }

  // Raw datagrams in, raw answer out; empty: none came.
  std::string udp(const Netns& from, const std::string& packet, int timeout_ms = 3000) {
    std::string out;
    from.run([&] {
      base::Fd s(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      auto a = address("10.43.0.10", 53);
      connect(s.get(), reinterpret_cast<sockaddr*>(&a), sizeof a);
      send(s.get(), packet.data(), packet.size(), 0);
      pollfd p{s.get(), POLLIN, 0};
      char buf[65536];
      if (poll(&p, 1, timeout_ms) > 0)
        if (auto n = recv(s.get(), buf, sizeof buf, 0); n > 0) out.assign(buf, static_cast<size_t>(n));
    });
    return out;
  }
  std::string tcp(const Netns& from, const std::string& stream, size_t answers = 1, int timeout_ms = 3000) {
    std::string out;
    from.run([&] {
      base::Fd s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      auto a = address("10.43.0.10", 53);
      if (connect(s.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) return;
      (void)!write(s.get(), stream.data(), stream.size());
      char buf[65536];
      pollfd p{s.get(), POLLIN, 0};
      size_t got = 0, at = 0;
      while (got < answers && poll(&p, 1, timeout_ms) > 0) {
        auto n = recv(s.get(), buf, sizeof buf, 0);
        if (n <= 0) return;
        out.append(buf, static_cast<size_t>(n));
        while (out.size() - at >= 2) {
          size_t len = static_cast<size_t>(static_cast<uint8_t>(out[at])) << 8 | static_cast<uint8_t>(out[at + 1]);
          if (out.size() - at < len + 2) break;
          at += len + 2;
          ++got;
        }
      }
    });
    return out;
  }
  Message ask(const std::string& name, unsigned type = 1, unsigned edns = 0) {
    return decode(udp(pod, test::query(name, type, 0x77aa, edns)));
  }
};

std::string framed(const std::string& m) {
  std::string out;
  put16(out, static_cast<unsigned>(m.size()));
  return out + m;
}

}  // namespace

TEST_CASE("cluster names are answered to pods and the host, not to strangers") {
  Dns d;
  auto m = d.ask("web.default.svc.cluster.local");
  CHECK(m.valid);
  CHECK(m.id == 0x77aa);
  CHECK(m.text() == "10.43.0.80");
  CHECK(m.authoritative());
  CHECK(decode(d.udp(d.host, test::query("web.default.svc.cluster.local", 1))).text() == "10.43.0.80");
  CHECK(d.udp(d.stranger, test::query("web.default.svc.cluster.local", 1), 300).empty());
  CHECK(d.tcp(d.stranger, framed(test::query("web.default.svc.cluster.local", 1)), 1, 300).empty());
  CHECK(d.ask("nope.default.svc.cluster.local").rcode() == 3);
  CHECK(d.ask("9.9.42.10.in-addr.arpa", 12).rcode() == 3);  // not sent outside
  CHECK(d.ask("localhost").text() == "127.0.0.1");
  CHECK(d.up1->udp == 0);
}

TEST_CASE("large answers are cut over UDP and whole over TCP") {
  Dns d;
  auto m = d.ask("big.default.svc.cluster.local");
  CHECK(m.truncated());
  CHECK(d.ask("big.default.svc.cluster.local", 1, 4096).truncated());
  auto raw = d.tcp(d.pod, framed(test::query("big.default.svc.cluster.local", 1)));
  REQUIRE(raw.size() > 2);
  m = decode(raw.substr(2));
  CHECK(m.valid);
  CHECK(m.answers.size() == 300);
  // Two at once on one connection.
  raw = d.tcp(d.pod, framed(test::query("web.default.svc.cluster.local", 1, 1)) + framed(test::query("www.example.org", 1, 2)), 2);
  size_t first = static_cast<uint8_t>(raw[1]);
  CHECK(decode(raw.substr(2, first)).text() == "10.43.0.80");
  CHECK(decode(raw.substr(4 + first)).text() == "192.0.2.1");
}

TEST_CASE("other names go upstream once, and to the cache after") {
  Dns d;
  auto m = d.ask("www.Example.org");
  CHECK(m.text() == "192.0.2.1");
  CHECK(m.question == "www.Example.org");
  CHECK(d.ask("WWW.example.org").text() == "192.0.2.1");
  CHECK(d.up1->udp == 1);
  CHECK(d.ask("www.example.org", 28).answers.size() == 1);  // another question
  CHECK(d.up1->udp == 2);
  d.up1->mode = FakeUpstream::Mode::nxdomain;
  CHECK(d.ask("gone.example.org").rcode() == 3);
  m = d.ask("gone.example.org");
  CHECK(m.rcode() == 3);
  CHECK(m.authority.size() == 1);
  CHECK(d.up1->udp == 3);
  CHECK(d.server->stats().cache_hits == 2);
  // No recursion wanted: nothing is asked.
  CHECK(decode(d.udp(d.pod, test::query("new.example.org", 1, 1, 0, false))).rcode() == 5);
}

TEST_CASE("short lives end") {
  Dns d;
  d.up1->ttl = 1;
  CHECK(d.ask("www.example.org").text() == "192.0.2.1");
  std::this_thread::sleep_for(1100ms);
  CHECK(d.ask("www.example.org").text() == "192.0.2.2");
  d.up1->ttl = 0;
  d.ask("zero.example.org");
  d.ask("zero.example.org");
  CHECK(d.up1->udp == 4);
}

TEST_CASE("external names bring the address of their target") {
  Dns d;
  auto m = d.ask("out.default.svc.cluster.local");
  CHECK(m.valid);
  CHECK(m.text() == "www.example.org 192.0.2.1");
  CHECK(d.ask("out.default.svc.cluster.local").text() == "www.example.org 192.0.2.1");
  CHECK(d.up1->udp == 1);
}

TEST_CASE("identical questions are asked once, different ones from different ports with different ids") {
  Dns d;
  d.up1->delay_ms = 100;
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 10; ++i)
    threads.emplace_back([&] { good += d.ask("www.example.org").text() == "192.0.2.1"; });
  for (auto& t : threads) t.join();
  CHECK(good == 10);
  CHECK(d.up1->udp == 1);
  d.up1->delay_ms = 0;
  for (int i = 0; i < 50; ++i) d.ask("n" + std::to_string(i) + ".example.org");
  std::scoped_lock lock(d.up1->mutex);
  CHECK(d.up1->ports.size() > 45);
  CHECK(d.up1->ids.size() > 45);
}

TEST_CASE("a silent upstream is passed over, and asked last from then on") {
  Dns d;
  d.up1->mode = FakeUpstream::Mode::silent;
  auto start = std::chrono::steady_clock::now();
  CHECK(d.ask("www.example.org").text() == "192.0.2.1");
  CHECK(std::chrono::steady_clock::now() - start < 1500ms);
  start = std::chrono::steady_clock::now();
  CHECK(d.ask("www2.example.org").answers.size() == 1);
  CHECK(std::chrono::steady_clock::now() - start < 500ms);
  d.up2->mode = FakeUpstream::Mode::servfail;
  d.up1->mode = FakeUpstream::Mode::servfail;
  CHECK(d.ask("www3.example.org").rcode() == 2);
}

TEST_CASE("nobody answers: failure before the client gives up") {
  Dns d;
  d.host.run([&] { d.server->set_upstreams({}); });
  std::this_thread::sleep_for(50ms);
  CHECK(d.ask("www.example.org").rcode() == 2);
  d.up1->mode = d.up2->mode = FakeUpstream::Mode::silent;
  d.server->set_upstreams({{ip("10.99.0.1"), 53}, {ip("10.99.0.2"), 53}});
  std::this_thread::sleep_for(50ms);
  auto m = decode(d.udp(d.pod, test::query("www.example.org", 1), 6000));
  CHECK(m.rcode() == 2);
  d.server->set_upstreams({{ip("10.99.0.9"), 53}});  // nobody listens
  CHECK(d.ask("www.example.org").rcode() == 2);
}

TEST_CASE("answers that do not match are not believed") {
  using Mode = FakeUpstream::Mode;
  for (Mode m : {Mode::wrong_id, Mode::wrong_question, Mode::garbage}) {
    Dns d;
    d.up1->mode = m;
    CHECK(d.ask("www.example.org").text() == "192.0.2.1");  // the other upstream's
    CHECK(d.up2->udp == 1);
  }
}

TEST_CASE("a truncated answer is asked for again by TCP") {
  Dns d;
  d.up1->mode = FakeUpstream::Mode::truncate;
  CHECK(d.ask("www.example.org").text() == "192.0.2.2");
  CHECK(d.up1->tcp == 1);
  d.up1->mode = FakeUpstream::Mode::many;
  CHECK(d.ask("many.example.org").truncated());
  auto raw = d.tcp(d.pod, framed(test::query("many.example.org", 1)));
  CHECK(decode(raw.substr(2)).answers.size() == 120);
}

TEST_CASE("bad messages") {
  Dns d;
  auto good = test::query("web.default.svc.cluster.local", 1);
  CHECK(d.udp(d.pod, "short", 200).empty());
  auto response = good;
  response[2] = '\x81';
  CHECK(d.udp(d.pod, response, 200).empty());
  auto update = good;
  update[2] = '\x28';
  CHECK(decode(d.udp(d.pod, update)).rcode() == 4);
  auto two = good;
  two[5] = 2;
  CHECK(decode(d.udp(d.pod, two)).rcode() == 1);
  CHECK(decode(d.udp(d.pod, test::query("cluster.local", 252))).rcode() == 5);
  auto chaos = good;
  chaos[good.size() - 1] = 3;
  CHECK(decode(d.udp(d.pod, chaos)).rcode() == 5);
  CHECK(d.tcp(d.pod, std::string("\xff\xff", 2) + good, 1, 200).empty());
  CHECK(d.ask("web.default.svc.cluster.local").text() == "10.43.0.80");
}

TEST_CASE("before the first zone the cluster's names fail softly") {
  Netns n;
  shell(n, "ip addr add 10.43.0.10/32 dev lo");
  n.run([&] {
    auto s = Server::start({.addresses = {ip("10.43.0.10")}}).value();
    base::Fd fd(socket(AF_INET, SOCK_DGRAM, 0));
    auto a = address("10.43.0.10", 53);
    connect(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a);
    auto q = test::query("web.default.svc.cluster.local", 1);
    send(fd.get(), q.data(), q.size(), 0);
    char buf[512];
    auto got = recv(fd.get(), buf, sizeof buf, 0);
    REQUIRE(got > 0);
    CHECK(decode(std::string(buf, static_cast<size_t>(got))).rcode() == 2);
    auto second = Server::start({.addresses = {ip("10.43.0.10")}});
    REQUIRE_FALSE(second);  // the TCP port is taken
    CHECK(second.error().message.find("10.43.0.10") != std::string::npos);
  });
}

TEST_CASE("upstreams come from resolv.conf") {
  char path[] = "/tmp/resolv-XXXXXX";
  int fd = mkstemp(path);
  std::string text =
      "# c\nsearch x\nnameserver 10.43.0.10\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 192.0.2.1\nnameserver "
      "2001:db8::1\nnameserver x\n";
  (void)!write(fd, text.data(), text.size());
  close(fd);
  auto r = read_upstreams(path, {ip("10.43.0.10")});
  unlink(path);
  REQUIRE(r);
  REQUIRE(r->size() == 2);
  CHECK((*r)[0].ip.str() == "192.0.2.1");
  CHECK((*r)[1].ip.str() == "2001:db8::1");
  CHECK_FALSE(read_upstreams("/nonexistent"));
}

TEST_CASE("upstreams follow resolv.conf") {
  Dns d;
  char dir[] = "/tmp/resolv-XXXXXX";
  REQUIRE(mkdtemp(dir));
  const std::string path = std::string(dir) + "/resolv.conf";
  REQUIRE(base::write_file_atomic(path, "nameserver 10.99.0.1\n", 0644, false));
  d.server.reset();
  d.host.run([&] {
    d.server = Server::start({.addresses = {ip("10.43.0.10")}, .resolv_conf = path, .allowed_sources = {cidr("10.42.0.0/16")}}).value();
  });
  d.ask("one.example.org");
  CHECK(d.up1->udp == 1);
  REQUIRE(base::write_file_atomic(path, "nameserver 10.99.0.2\n", 0644, false));
  std::this_thread::sleep_for(600ms);
  d.ask("two.example.org");
  CHECK(d.up1->udp == 1);
  CHECK(d.up2->udp == 1);
  (void)base::remove_all(dir);
}

TEST_CASE("many queries") {
  Dns d;
  d.pod.run([&] {
    base::Fd s(socket(AF_INET, SOCK_DGRAM, 0));
    auto a = address("10.43.0.10", 53);
    connect(s.get(), reinterpret_cast<sockaddr*>(&a), sizeof a);
    auto q = test::query("web.default.svc.cluster.local", 1);
    char buf[512];
    std::vector<double> times;
    for (int i = 0; i < 5000; ++i) {
      auto start = std::chrono::steady_clock::now();
      send(s.get(), q.data(), q.size(), 0);
      REQUIRE(recv(s.get(), buf, sizeof buf, 0) > 0);
      times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    }
    std::sort(times.begin(), times.end());
    std::printf("one DNS query after the other: p50 %.0f us, p99 %.0f us\n", times[2500], times[4950]);

    constexpr int kWindow = 64;
    mmsghdr m[kWindow];
    iovec v{q.data(), q.size()};
    for (auto& h : m) {
      h = {};
      h.msg_hdr.msg_iov = &v;
      h.msg_hdr.msg_iovlen = 1;
    }
    auto start = std::chrono::steady_clock::now();
    int done = 0;
    for (int round = 0; round < 1000; ++round) {
      sendmmsg(s.get(), m, kWindow, 0);
      for (int i = 0; i < kWindow; ++i) done += recv(s.get(), buf, sizeof buf, 0) > 0;
    }
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("64 at a time: %.0f queries/s\n", done / seconds);
  });
}
