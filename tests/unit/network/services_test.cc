#include <catch2/catch.hpp>

#include <map>

#include <fmt/format.h>

#include "tests/unit/network/cluster.h"

using namespace network;
using namespace network::test;

namespace {

Service web(std::vector<Endpoint> endpoints) {
  Service s;
  s.key = "default/web";
  s.cluster_ips = {ip("10.43.0.80")};
  s.ports = {{.name = "http", .port = 80, .node_port = 30080, .endpoints = endpoints}};
  return s;
}

}  // namespace

TEST_CASE("a cluster address spreads over its endpoints, from pods and from the host") {
  Cluster c;
  c.apply(web({c.one(), c.two(), c.three()}));
  CHECK(ask_udp(c.p2, "10.43.0.80", 80) == "refused");  // TCP only
  auto seen = c.spread(c.p2, "10.43.0.80", 80);
  CHECK(seen.size() == 3);
  for (auto& [name, n] : seen) CHECK(n > 5);
  CHECK(c.spread(c.a, "10.43.0.80", 80).size() == 3);
  // A pod that reaches itself through its service.
  c.apply(web({c.one()}));
  CHECK(ask_tcp(c.p1, "10.43.0.80", 80) == "one 10.42.1.1");
  CHECK(ask_tcp(c.p2, "10.43.0.80", 80) == "one 10.42.1.3");  // others keep their address
  CHECK(ask_tcp(c.p2, "10.43.0.80", 81) == "refused");
  CHECK(ask_tcp(c.p2, "10.43.7.7", 80) == "refused");  // nobody's address
  CHECK(ask_tcp(c.a, "10.43.7.7", 80) == "refused");
}

TEST_CASE("endpoints come and go one by one") {
  Cluster c;
  c.apply(web({c.one(), c.two(), c.three()}));
  auto before = table(c.a);
  c.apply(web({c.one(), c.three()}));
  CHECK(c.spread(c.p2, "10.43.0.80", 80).count("two") == 0);
  c.apply(web({c.three()}));
  CHECK(c.spread(c.p2, "10.43.0.80", 80, 10) == std::map<std::string, int>{{"three", 10}});
  c.apply(web({}));
  CHECK(ask_tcp(c.p2, "10.43.0.80", 80) == "refused");
  CHECK(ask_tcp(c.a, "10.43.0.80", 80) == "refused");
  CHECK(ask_tcp(c.client, "192.168.8.1", 30080) == "refused");
  c.apply(web({c.two()}));
  CHECK(ask_tcp(c.p1, "10.43.0.80", 80) == "two 10.42.1.2");
  c.a.run([&] { REQUIRE(c.node_a->services().update({}, {"default/web"})); });
  CHECK(ask_tcp(c.p1, "10.43.0.80", 80) == "refused");
  auto t = table(c.a);
  CHECK(t.find("10.43.0.80") == std::string::npos);
  CHECK(t.find("30080") == std::string::npos);
  CHECK(c.node_a->services().stats().elements == 0);
}

TEST_CASE("node ports answer on every address of the node and reach pods elsewhere") {
  Cluster c;
  c.apply(web({c.one()}));
  CHECK(ask_tcp(c.client, "192.168.8.1", 30080) == "one 192.168.8.9");
  CHECK(ask_tcp(c.client, "192.168.7.1", 30080) == "one 192.168.8.9");
  CHECK(ask_tcp(c.a, "192.168.7.1", 30080).starts_with("one"));
  CHECK(ask_tcp(c.a, "127.0.0.1", 30080) == "one 10.42.1.1");
  {
    // What listens on the node's 127.0.0.1 stays out of reach for pods.
    Responder local(c.a, "local", 99);
    shell(c.p1,
          "ip route add local 127.0.0.9/32 dev lo; ip route del local 127.0.0.0/8 dev lo table local; ip route del local 127.0.0.1 dev lo "
          "table local; "
          "ip route add 127.0.0.1/32 via 10.42.1.1 dev eth0; sysctl -qw net.ipv4.conf.all.route_localnet=1");
    CHECK(ask_tcp(c.p1, "127.0.0.1", 99, 200, c.n1.ip.str()) == "timeout");
    CHECK(ask_tcp(c.p1, "192.168.7.1", 99).starts_with("local"));
    CHECK(shell(c.p1, "ip -s link show eth0").size() > 10);
  }
  CHECK(ask_tcp(c.b, "192.168.7.1", 30080) == "one 192.168.7.2");
  CHECK(ask_tcp(c.p1, "192.168.7.1", 30080) == "one 10.42.1.1");
  c.apply(web({c.three()}));
  CHECK(ask_tcp(c.client, "192.168.8.1", 30080) == "three 10.42.1.1");  // answers come back through this node
  CHECK(ask_tcp(c.p1, "192.168.7.1", 30080) == "three 10.42.1.2");
  CHECK(ask_tcp(c.a, "127.0.0.1", 30080) == "three 10.42.1.1");
  // An endpoint on another host's own address.
  Responder host(c.b, "hostb", 90);
  Endpoint e{.ip = ip("192.168.7.2"), .port = 90};
  c.apply(web({e}));
  CHECK(ask_tcp(c.client, "192.168.8.1", 30080) == "hostb 192.168.7.1");
  CHECK(ask_tcp(c.p1, "10.43.0.80", 80) == "hostb 192.168.7.1");
  CHECK(ask_tcp(c.a, "10.43.0.80", 80) == "hostb 192.168.7.1");
}

TEST_CASE("load balancer and external addresses, with source ranges and a local policy") {
  Cluster c;
  auto s = web({c.one()});
  s.load_balancer_ips = {ip("192.168.8.1")};
  s.external_ips = {ip("203.0.113.5")};
  c.apply(s);
  CHECK(ask_tcp(c.client, "192.168.8.1", 80) == "one 192.168.8.9");
  CHECK(ask_tcp(c.client, "203.0.113.5", 80) == "one 192.168.8.9");
  s.source_ranges = {cidr("192.168.9.0/24"), cidr("10.0.0.0/8")};
  c.apply(s);
  CHECK(ask_tcp(c.client, "192.168.8.1", 80, 200) == "timeout");
  CHECK(ask_tcp(c.p2, "192.168.8.1", 80).starts_with("one"));
  CHECK(ask_tcp(c.client, "203.0.113.5", 80) == "one 192.168.8.9");  // ranges are the load balancer's
  s.source_ranges = {cidr("192.168.8.0/24")};
  c.apply(s);
  CHECK(ask_tcp(c.client, "192.168.8.1", 80) == "one 192.168.8.9");
  s.source_ranges.clear();
  s.external_policy = TrafficPolicy::local;
  s.ports[0].endpoints = {c.three()};
  c.apply(s);
  CHECK(ask_tcp(c.client, "192.168.8.1", 80, 200) == "timeout");
  CHECK(ask_tcp(c.client, "192.168.8.1", 30080, 200) == "timeout");
  CHECK(ask_tcp(c.p1, "10.43.0.80", 80) == "three 10.42.1.2");
  // Who is inside the cluster needs no external balancer: every endpoint will do.
  CHECK(ask_tcp(c.p1, "192.168.8.1", 80) == "three 10.42.1.2");
  CHECK(ask_tcp(c.p1, "192.168.7.1", 30080) == "three 10.42.1.2");
  CHECK(ask_tcp(c.a, "192.168.8.1", 80).starts_with("three"));
  s.client_ip_affinity = true;
  c.apply(s);
  CHECK(ask_tcp(c.p1, "192.168.8.1", 80) == "three 10.42.1.2");
  CHECK(ask_tcp(c.client, "192.168.8.1", 80, 200) == "timeout");
  s.client_ip_affinity = false;
  s.ports[0].endpoints = {c.three(), c.two()};
  s.internal_policy = TrafficPolicy::local;
  c.apply(s);
  CHECK(c.spread(c.client, "192.168.8.1", 80, 10) == std::map<std::string, int>{{"two", 10}});
  CHECK(c.spread(c.p1, "10.43.0.80", 80, 10) == std::map<std::string, int>{{"two", 10}});
}

TEST_CASE("client affinity holds while the endpoint lives") {
  Cluster c;
  auto s = web({c.one(), c.two(), c.three()});
  s.client_ip_affinity = true;
  s.affinity_seconds = 100;
  c.apply(s);
  auto first = c.spread(c.client, "192.168.8.1", 30080, 20);
  CHECK(first.size() == 1);
  auto again = c.spread(c.p1, "10.43.0.80", 80, 20);
  CHECK(again.size() == 1);
  // Its endpoint goes: another one is chosen, and kept.
  std::vector<Endpoint> rest;
  std::string gone = again.begin()->first;
  if (gone != "one") rest.push_back(c.one());
  if (gone != "two") rest.push_back(c.two());
  if (gone != "three") rest.push_back(c.three());
  s.ports[0].endpoints = rest;
  c.apply(s);
  auto next = c.spread(c.p1, "10.43.0.80", 80, 20);
  CHECK(next.size() == 1);
  CHECK(next.begin()->first != gone);
  s.ports[0].endpoints = {c.one(), c.two(), c.three()};
  c.apply(s);
  CHECK(c.spread(c.p1, "10.43.0.80", 80, 20) == std::map<std::string, int>{{next.begin()->first, 20}});
  s.client_ip_affinity = false;
  c.apply(s);
  CHECK(c.spread(c.p1, "10.43.0.80", 80, 60).size() == 3);
}

TEST_CASE("a UDP flow leaves an endpoint that is gone") {
  Cluster c;
  auto s = web({c.one()});
  s.ports[0].protocol = Protocol::udp;
  c.apply(s);
  CHECK(ask_udp(c.p2, "10.43.0.80", 80, 1000, 5555) == "one 10.42.1.3");
  s.ports[0].endpoints = {c.three()};
  c.apply(s);
  CHECK(ask_udp(c.p2, "10.43.0.80", 80, 1000, 5555) == "three 10.42.1.3");
  CHECK(ask_udp(c.client, "192.168.8.1", 30080, 1000, 5555).starts_with("three"));
  s.ports[0].endpoints = {c.two()};
  c.apply(s);
  CHECK(ask_udp(c.client, "192.168.8.1", 30080, 1000, 5555) == "two 192.168.8.9");
}

TEST_CASE("an address belongs to the service that had it first, and passes on when that goes") {
  Cluster c;
  auto first = web({c.one()}), second = web({c.two()});
  second.key = "default/web2";
  second.cluster_ips = {ip("10.43.0.81")};
  second.external_ips = first.external_ips = {ip("203.0.113.5")};
  second.ports[0].node_port = 0;
  c.apply(first);
  c.apply(second);
  CHECK(ask_tcp(c.client, "203.0.113.5", 80).starts_with("one"));
  c.a.run([&] { REQUIRE(c.node_a->services().update({}, {"default/web"})); });
  CHECK(ask_tcp(c.client, "203.0.113.5", 80).starts_with("two"));
}

TEST_CASE("a restart meets a table that works until the services are known again") {
  Cluster c;
  c.replace({web({c.one()})});
  c.a.run([&] { c.node_a.reset(); });
  c.node_a = c.start(c.a, 1);
  CHECK(ask_tcp(c.p2, "10.43.0.80", 80).starts_with("one"));
  c.replace({web({c.two()})});
  CHECK(ask_tcp(c.p1, "10.43.0.80", 80).starts_with("two"));
  CHECK(ask_tcp(c.p1, c.n3.ip.str(), 80).starts_with("three"));
  // Affinity outlives the agent.
  auto sticky = web({c.one(), c.two(), c.three()});
  sticky.client_ip_affinity = true;
  c.replace({sticky});
  auto before = c.spread(c.p1, "10.43.0.80", 80, 3);
  CHECK(before.size() == 1);
  c.a.run([&] { c.node_a.reset(); });
  c.node_a = c.start(c.a, 1);
  c.replace({sticky});
  auto after = c.spread(c.p1, "10.43.0.80", 80, 20);
  CHECK(after.size() == 1);
  CHECK(after.begin()->first == before.begin()->first);
  c.replace({});
  CHECK(ask_tcp(c.p1, "10.43.0.80", 80) == "refused");
  CHECK(shell(c.a, "nft list map ip appliance services; nft list map ip appliance endpoints").find("10.43.0.80") == std::string::npos);
  CHECK(table(c.a).find("sticky_") == std::string::npos);
}

TEST_CASE("a table that something else removed or changed is written anew") {
  Cluster c;
  c.apply(web({c.one()}));
  shell(c.a, "nft flush ruleset");
  c.apply(web({c.two(), c.three()}));
  CHECK(c.spread(c.p1, "10.43.0.80", 80, 30).size() == 2);
  shell(c.a, "nft flush map ip appliance endpoints");
  c.apply(web({c.one()}));
  CHECK(ask_tcp(c.p2, "10.43.0.80", 80).starts_with("one"));
}

TEST_CASE("the DNS address is never translated, and reachable from pods and the host") {
  Cluster c;
  Responder dns(c.a, "dns", 53);
  auto s = web({c.one()});
  s.cluster_ips = {ip("10.43.0.10")};
  s.ports[0].port = 53;
  c.apply(s);
  CHECK(ask_tcp(c.p1, "10.43.0.10", 53) == "dns 10.42.1.2");
  CHECK(ask_tcp(c.a, "10.43.0.10", 53).starts_with("dns"));
  CHECK(shell(c.a, "conntrack -L -p tcp --dport 53 2>&1").find(" 0 flow entries") != std::string::npos);
}
