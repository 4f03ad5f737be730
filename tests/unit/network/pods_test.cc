#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/sockios.h>

#include <atomic>

#include <catch2/catch.hpp>

#include "network/cleanup.h"
#include "tests/unit/network/netns.h"

using namespace network;
using namespace network::test;

namespace {
PodNetwork attach(Lab& lab, const Netns& host, Node& node, const Netns& pod, PodRequest request) {
  (void)lab;
  PodNetwork out;
  host.run([&] {
    auto r = node.pods().attach(pod.fd(), request);
    if (!r) throw std::runtime_error(r.error().message);
    out = *r;
  });
  return out;
}
}  // namespace

TEST_CASE("pods reach each other on one node, across nodes and the outside") {
  Lab lab;
  Netns p1, p2, p3;
  auto n1 = attach(lab, lab.a, *lab.node_a, p1, {.id = "pod-1"});
  auto n2 = attach(lab, lab.a, *lab.node_a, p2, {.id = "pod-2"});
  auto n3 = attach(lab, lab.b, *lab.node_b, p3, {.id = "pod-3"});
  CHECK(n1.ip.str() == "10.42.1.2");
  CHECK(n1.gateway.str() == "10.42.1.1");
  CHECK(n1.mtu == 1450);
  CHECK(n3.ip.str() == "10.42.2.2");
  Responder r2(p2, "two", 80), r3(p3, "three", 80), outside(lab.client, "outside", 80), host(lab.a, "host", 81);

  CHECK(ask_tcp(p1, n2.ip.str(), 80) == "two 10.42.1.2");
  CHECK(ask_tcp(p1, n3.ip.str(), 80) == "three 10.42.1.2");
  CHECK(ask_udp(p1, n3.ip.str(), 80) == "three 10.42.1.2");
  CHECK(ask_tcp(p1, "192.168.8.9", 80) == "outside 192.168.8.1");  // leaves with the node's address
  CHECK(ask_tcp(p3, "192.168.8.9", 80) == "outside 192.168.7.2");
  CHECK(ask_tcp(p1, "192.168.7.1", 81) == "host 10.42.1.2");
  // The node reaches its own pods and those of others, from an address inside the cluster.
  CHECK(ask_tcp(lab.a, n2.ip.str(), 80) == "two 10.42.1.1");
  CHECK(ask_tcp(lab.a, n3.ip.str(), 80) == "three 10.42.1.1");
  CHECK(ask_tcp(lab.a, n3.ip.str(), 80, 1000, "192.168.7.1") == "three 10.42.1.1");

  CHECK(ask_tcp(p1, "10.42.1.200", 80) == "unreachable");  // nobody's
  CHECK(ask_tcp(p1, "10.42.2.200", 80) == "unreachable");
  SECTION("a pod has no way to the host by IPv6") {
    CHECK(shell(lab.a, "cat /proc/sys/net/ipv6/conf/" + n1.host_link + "/disable_ipv6 2>/dev/null || echo 1") == "1\n");
  }
  SECTION("a pod cannot send from another address") {
    shell(p1, "ip addr add 10.42.1.99/32 dev eth0; ip addr add 10.42.1.3/32 dev eth0; ip addr add 192.168.7.2/32 dev eth0");
    CHECK(ask_tcp(p1, n3.ip.str(), 80, 300, "10.42.1.99") == "timeout");
    CHECK(ask_tcp(p1, n3.ip.str(), 80, 300, "192.168.7.2") == "timeout");
    CHECK(ask_tcp(p1, n3.ip.str(), 80, 300, "10.42.1.3") == "timeout");
  }
  SECTION("a pod cannot send VXLAN packets to a node") {
    Responder trap(lab.client, "trap", 8472);
    CHECK(ask_udp(p1, "192.168.8.9", 8472, 300) == "trap 192.168.8.1");  // no node: just traffic
    auto heard = [&](const Netns& from) {
      return shell(lab.b, "timeout 1 tcpdump -lni eth0 -c 1 udp port 8472 2>/dev/null & sleep 0.4; nsenter --net=/proc/" +
                              std::to_string(getpid()) + "/fd/" + std::to_string(from.fd()) +
                              " bash -c 'echo x > /dev/udp/192.168.7.2/8472'; wait");
    };
    CHECK(heard(lab.a).find("192.168.7.2.8472") != std::string::npos);
    CHECK(heard(p1).find("192.168.7.2.8472") == std::string::npos);
  }
  SECTION("a detached pod is gone and its link follows") {
    lab.a.run([&] { REQUIRE(lab.node_a->pods().detach("pod-2")); });
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    CHECK(shell(lab.a, "ip -br link").find(n2.host_link) == std::string::npos);
    CHECK(lab.node_a->pods().list().size() == 1);
    Netns again;
    CHECK(attach(lab, lab.a, *lab.node_a, again, {.id = "pod-4"}).ip.str() == "10.42.1.4");  // not the address that was just freed
  }
}

TEST_CASE("attaching is idempotent and repairs a sandbox made anew") {
  Lab lab;
  Netns p1;
  auto first = attach(lab, lab.a, *lab.node_a, p1, {.id = "x"});
  CHECK(attach(lab, lab.a, *lab.node_a, p1, {.id = "x"}).ip == first.ip);
  Netns p2;
  CHECK(attach(lab, lab.a, *lab.node_a, p2, {.id = "x"}).ip == first.ip);
  Responder r(p2, "new", 80);
  CHECK(ask_tcp(lab.a, first.ip.str(), 80).starts_with("new"));
  auto a = shell(p1, "ip -br addr");
  CHECK(a.find("eth0") == std::string::npos);
}

TEST_CASE("host ports") {
  Lab lab;
  Netns p1, p2;
  auto n1 = attach(lab, lab.a, *lab.node_a, p1,
                   {.id = "web", .host_ports = {{Protocol::tcp, 8080, 80, {}}, {Protocol::udp, 8053, 80, ip("192.168.8.1")}}});
  auto n2 = attach(lab, lab.a, *lab.node_a, p2, {.id = "other"});
  Responder r(p1, "web", 80);
  CHECK(ask_tcp(lab.client, "192.168.8.1", 8080) == "web 192.168.8.9");
  CHECK(ask_tcp(lab.a, "192.168.7.1", 8080).starts_with("web"));
  CHECK(ask_tcp(lab.a, "127.0.0.1", 8080).starts_with("web"));
  CHECK(ask_tcp(p2, "192.168.7.1", 8080) == "web " + n2.ip.str());
  CHECK(ask_tcp(p1, "192.168.7.1", 8080) == "web 10.42.1.1");  // its own port
  CHECK(ask_tcp(lab.b, "192.168.7.1", 8080) == "web 192.168.7.2");
  CHECK(ask_udp(lab.client, "192.168.8.1", 8053) == "web 192.168.8.9");
  CHECK(ask_udp(lab.client, "192.168.7.1", 8053, 200) != "web 192.168.8.9");
  lab.a.run([&] {
    auto taken = lab.node_a->pods().attach(p2.fd(), {.id = "third", .host_ports = {{Protocol::tcp, 8080, 80, {}}}});
    REQUIRE_FALSE(taken);
    CHECK(taken.error().code == 409);
    REQUIRE(lab.node_a->pods().detach("web"));
  });
  CHECK(ask_tcp(lab.client, "192.168.8.1", 8080) == "refused");
  (void)n1;
}

TEST_CASE("a restarted agent knows its pods, keeps their traffic and collects what is gone") {
  Lab lab;
  Netns p1, p2;
  auto n1 = attach(lab, lab.a, *lab.node_a, p1, {.id = "keep", .host_ports = {{Protocol::tcp, 8080, 80, {}}}});
  attach(lab, lab.a, *lab.node_a, p2, {.id = "drop"});
  Responder r(p1, "keep", 80);
  lab.a.run([&] { lab.node_a.reset(); });
  CHECK(ask_tcp(lab.client, "192.168.8.1", 8080) == "keep 192.168.8.9");  // without an agent

  SECTION("with its state") {}
  SECTION("without its state") { (void)base::remove_all(lab.dir); }
  lab.node_a = lab.start(lab.a, 1);
  CHECK(lab.node_a->pods().list().size() == 2);
  lab.a.run([&] { REQUIRE(lab.node_a->pods().collect({"keep"})); });
  auto left = lab.node_a->pods().list();
  REQUIRE(left.size() == 1);
  CHECK(left[0].id == "keep");
  CHECK(left[0].ip == n1.ip);
  CHECK(ask_tcp(lab.b, n1.ip.str(), 80) == "keep 10.42.2.1");
}

TEST_CASE("node changes reach routes, neighbours and forwarding entries") {
  Lab lab;
  auto routes = [&] { return shell(lab.a, "ip route show dev appl.1; ip neigh show dev appl.1; bridge fdb show dev appl.1"); };
  CHECK(routes().find("10.42.2.0/24 via 10.42.2.0") != std::string::npos);
  lab.a.run([&] {
    REQUIRE(lab.node_a->overlay().set_nodes(
        {{"node2", ip("192.168.7.2"), cidr("10.42.2.0/24")}, {"node3", ip("192.168.7.3"), cidr("10.42.3.0/24")}}));
  });
  CHECK(routes().find("dst 192.168.7.3") != std::string::npos);
  lab.a.run([&] { REQUIRE(lab.node_a->overlay().set_nodes({{"node3", ip("192.168.7.2"), cidr("10.42.3.0/24")}})); });
  auto now = routes();
  CHECK(now.find("10.42.2.0") == std::string::npos);
  CHECK(now.find("10.42.3.0/24 via 10.42.3.0") != std::string::npos);
  CHECK(now.find("192.168.7.3") == std::string::npos);
  CHECK(table(lab.a).find("192.168.7.2") != std::string::npos);
}

TEST_CASE("a node whose address changes keeps its pods in the cluster") {
  Lab lab;
  Netns p1, p3;
  auto n1 = attach(lab, lab.a, *lab.node_a, p1, {.id = "one"});
  auto n3 = attach(lab, lab.b, *lab.node_b, p3, {.id = "three"});
  Responder r1(p1, "one", 80), r3(p3, "three", 80);
  shell(lab.a, "ip addr del 192.168.7.1/24 dev eth0; ip addr add 192.168.7.77/24 dev eth0");
  lab.a.run([&] { REQUIRE(lab.node_a->overlay().set_underlay(ip("192.168.7.77"))); });
  lab.b.run([&] { REQUIRE(lab.node_b->overlay().set_nodes({{"node1", ip("192.168.7.77"), cidr("10.42.1.0/24")}})); });
  CHECK(ask_tcp(p3, n1.ip.str(), 80) == "one 10.42.2.2");
  CHECK(ask_tcp(p1, n3.ip.str(), 80) == "three 10.42.1.2");
}

TEST_CASE("verify puts back what something else removed") {
  Lab lab;
  Netns p3;
  auto n3 = attach(lab, lab.b, *lab.node_b, p3, {.id = "three"});
  Responder r3(p3, "three", 80);
  shell(lab.a, "nft flush ruleset; ip link del appl.1; ip link del appl0; ip route flush 10.43.0.0/16");
  lab.a.run([&] { REQUIRE(lab.node_a->verify()); });
  CHECK(ask_tcp(lab.a, n3.ip.str(), 80) == "three 10.42.1.1");
  CHECK(shell(lab.a, "ip -br addr show appl0").find("10.43.0.10") != std::string::npos);
}

TEST_CASE("cleanup leaves nothing") {
  Lab lab;
  Netns p1;
  attach(lab, lab.a, *lab.node_a, p1, {.id = "one"});
  lab.a.run([&] {
    lab.node_a.reset();
    REQUIRE(cleanup());
    REQUIRE(cleanup());
  });
  CHECK(shell(lab.a, "nft list ruleset") == "");
  CHECK(shell(lab.a, "ip -br link").find("appl") == std::string::npos);
  CHECK(shell(lab.a, "ip route").find("10.4") == std::string::npos);
}

TEST_CASE("a missing feature probe leaves nothing and finds nothing missing here") {
  Netns n;
  n.run([&] { CHECK(missing_features().empty()); });
  CHECK(shell(n, "nft list ruleset; ip -br link").find("appl") == std::string::npos);
}

TEST_CASE("another firewall that drops forwarded packets is named") {
  Netns n;
  n.run([&] { CHECK(obstacles({cidr("10.42.0.0/16")}).empty()); });
  shell(n, "nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'");
  n.run([&] {
    auto found = obstacles({cidr("10.42.0.0/16")});
    REQUIRE(found.size() == 1);
    CHECK(found[0].starts_with("table ip filter, chain FORWARD"));
    CHECK(found[0].find("10.42.0.0/16") != std::string::npos);
  });
  shell(n, "nft add chain ip filter INPUT '{ type filter hook input priority 0; policy drop; }'");
  n.run([&] { CHECK(obstacles({cidr("10.42.0.0/16")}).size() == 2); });
}

TEST_CASE("the host's addresses, best first, and who tells of changes") {
  Lab lab;
  default_route(lab.a, "192.168.8.9");
  std::atomic<int> calls{0};
  std::unique_ptr<AddressMonitor> monitor;
  lab.a.run([&] {
    auto found = host_addresses();
    REQUIRE(found);
    REQUIRE(found->size() >= 2);
    CHECK((*found)[0].ip.str() == "192.168.8.1");
    CHECK((*found)[0].interface == "eth1");
    CHECK((*found)[0].mtu == 1500);
    for (auto& h : *found) CHECK_FALSE(h.interface.starts_with("appl"));
    monitor = std::make_unique<AddressMonitor>([&] { ++calls; });
  });
  Netns p;
  lab.a.run([&] { REQUIRE(lab.node_a->pods().attach(p.fd(), {.id = "x"})); });  // a pod is no change
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  CHECK(calls == 0);
  shell(lab.a, "ip addr add 192.168.9.9/24 dev eth0");
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  CHECK(calls == 1);
  shell(lab.a, "ip route replace default via 192.168.7.2");
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  CHECK(calls == 2);
  lab.a.run([&] { monitor.reset(); });
}

TEST_CASE("counters count for the pod") {
  Lab lab;
  Netns p;
  PodNetwork n;
  lab.a.run([&] { n = lab.node_a->pods().attach(p.fd(), {.id = "x"}).value(); });
  Responder r(p, "x", 80);
  for (int i = 0; i < 3; ++i) CHECK(ask_udp(lab.a, n.ip.str(), 80).starts_with("x"));
  lab.a.run([&] {
    auto c = pod_counters(n.host_link);
    REQUIRE(c);
    CHECK(c->rx_bytes >= 3 * 29);
    CHECK(c->rx_packets >= 3);
    CHECK(c->tx_bytes > c->rx_bytes);  // the answers are longer
    CHECK_FALSE(pod_counters("appl-none"));
  });
}

namespace {
bool checksums_offloaded(const Netns& n, const char* device) {
  ethtool_value value{ETHTOOL_GTXCSUM, 0};
  n.run([&] {
    base::Fd s(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::string(device).copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&value);
    REQUIRE(ioctl(s.get(), SIOCETHTOOL, &request) == 0);
  });
  return value.data != 0;
}
}  // namespace

TEST_CASE("checksums of the overlay can be left to software") {
  Lab lab;
  Netns p3;
  PodNetwork n3;
  lab.b.run([&] { n3 = lab.node_b->pods().attach(p3.fd(), {.id = "three"}).value(); });
  Responder r3(p3, "three", 80);
  CHECK(checksums_offloaded(lab.a, "appl.1"));
  lab.a.run([&] { lab.node_a.reset(); });
  lab.a.run([&] {
    NodeOptions o;
    o.node_ip = ip("192.168.7.1");
    o.pod_cidr = cidr("10.42.1.0/24");
    o.cluster_cidrs = {cidr("10.42.0.0/16")};
    o.overlay.checksum_offload = false;
    lab.node_a = Node::start(o).value();
    REQUIRE(lab.node_a->overlay().set_nodes({{"node2", ip("192.168.7.2"), cidr("10.42.2.0/24")}}));
  });
  CHECK_FALSE(checksums_offloaded(lab.a, "appl.1"));
  CHECK(ask_tcp(lab.a, n3.ip.str(), 80) == "three 10.42.1.1");
}

TEST_CASE("errors are sentences") {
  Netns n;
  n.run([&] {
    NodeOptions o;
    o.node_ip = ip("192.0.2.1");
    o.pod_cidr = cidr("10.42.1.0/24");
    auto r = Node::start(o);
    REQUIRE_FALSE(r);
    CHECK(r.error().message.find("192.0.2.1") != std::string::npos);
  });
}
