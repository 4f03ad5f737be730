#include <catch2/catch.hpp>

#include "network/policy_model.h"
#include "tests/unit/network/cluster.h"

using namespace network;
using namespace network::test;

namespace {

struct Guarded : Cluster {
  void set(std::vector<Policy> p) {
    a.run([&] { must(node_a->policies().update(p)); });
  }
  // May pods and the client reach pod one on port 80?
  std::string reach() {
    auto yes = [&](const Netns& from) { return ask_tcp(from, n1.ip.str(), 80, 150).starts_with("one") ? "+" : "-"; };
    return std::string("two") + yes(p2) + " three" + yes(p3) + " client" + yes(client);
  }
};

Policy ingress(const std::string& key, const Ip& pod, std::vector<PolicyRule> rules) {
  Policy p;
  p.key = key;
  p.pods = {pod};
  p.ingress = true;
  p.ingress_rules = std::move(rules);
  return p;
}

}  // namespace

TEST_CASE("address blocks with holes") {
  auto r = without({cidr("10.0.0.0/8")}, {cidr("10.1.0.0/16"), cidr("10.255.0.0/16")});
  REQUIRE(r.size() == 2);
  CHECK(r[0] == AddressRange{0x0a000000, 0x0a00ffff});
  CHECK(r[1] == AddressRange{0x0a020000, 0x0afeffff});
  CHECK(without({cidr("10.0.0.0/8")}, {cidr("0.0.0.0/0")}).empty());
  CHECK(without({cidr("0.0.0.0/0")}, {}) == std::vector<AddressRange>{{0, 0xffffffff}});
  CHECK(without({cidr("10.0.0.0/9"), cidr("10.128.0.0/9")}, {}).size() == 1);
  CHECK(without({cidr("192.168.7.3/32")}, {cidr("192.168.7.4/32")}).size() == 1);
}

TEST_CASE("ingress: what no policy allows is dropped, replies and the own node pass") {
  Guarded g;
  CHECK(g.reach() == "two+ three+ client+");
  g.set({ingress("ns/deny", g.n1.ip, {})});
  CHECK(g.reach() == "two- three- client-");
  CHECK(ask_tcp(g.a, g.n1.ip.str(), 80).starts_with("one"));
  CHECK(ask_tcp(g.p1, g.n2.ip.str(), 80).starts_with("two"));  // its own connections
  CHECK(ask_tcp(g.p1, g.n3.ip.str(), 80).starts_with("three"));

  // Policies add up.
  g.set({ingress("ns/two", g.n1.ip, {{.peers = {g.n2.ip}}})});
  CHECK(g.reach() == "two+ three- client-");
  g.set({ingress("ns/two", g.n1.ip, {{.peers = {g.n2.ip, g.n3.ip}}})});
  CHECK(g.reach() == "two+ three+ client-");
  g.set({ingress("ns/net", g.n1.ip, {{.cidrs = {cidr("192.168.0.0/16")}, .except = {cidr("192.168.8.0/24")}}})});
  CHECK(g.reach() == "two+ three+ client-");
  g.set({ingress("ns/net", g.n1.ip, {{.cidrs = {cidr("192.168.0.0/16")}, .except = {cidr("192.168.7.0/24")}}})});
  CHECK(g.reach() == "two+ three+ client+");
  g.a.run([&] { REQUIRE(g.node_a->policies().update({}, {"ns/two", "ns/net"})); });
  CHECK(g.reach() == "two- three- client-");
  auto t = table(g.a);
  CHECK(t.find("peers_") == std::string::npos);
  CHECK(t.find("nets_") == std::string::npos);

  g.set({ingress("ns/all", g.n1.ip, {{.any_peer = true, .ports = {{Protocol::tcp, 81, 90}}}})});
  CHECK(g.reach() == "two- three- client-");
  g.set({ingress("ns/all", g.n1.ip, {{.any_peer = true, .ports = {{Protocol::udp, 80}, {Protocol::tcp, 70, 80}}}})});
  CHECK(g.reach() == "two+ three+ client+");
  g.set({ingress("ns/all", g.n1.ip, {{.any_peer = true, .ports = {{Protocol::udp, 0}}}})});
  CHECK(g.reach() == "two- three- client-");
  CHECK(ask_udp(g.p2, g.n1.ip.str(), 80).starts_with("one"));
  g.a.run([&] { REQUIRE(g.node_a->policies().replace({})); });
  CHECK(g.reach() == "two+ three+ client+");
}

TEST_CASE("egress is judged by where a connection really goes, and DNS stays") {
  Guarded g;
  Responder dns(g.a, "dns", 53);
  Service s;
  s.key = "default/three";
  s.cluster_ips = {ip("10.43.0.80")};
  s.ports = {{.name = "http", .port = 80, .endpoints = {g.three()}}};
  g.apply(s);
  Policy p;
  p.key = "ns/out";
  p.pods = {g.n1.ip};
  p.egress = true;
  p.egress_rules = {{.peers = {g.n3.ip}, .ports = {{Protocol::tcp, 80}}}};
  g.set({p});
  CHECK(ask_tcp(g.p1, "10.43.0.80", 80).starts_with("three"));
  CHECK(ask_tcp(g.p1, g.n2.ip.str(), 80, 150) == "timeout");
  CHECK(ask_tcp(g.p1, "192.168.8.9", 80, 150) == "timeout");
  CHECK(ask_tcp(g.p1, "10.43.0.10", 53).starts_with("dns"));
  CHECK(ask_tcp(g.p2, g.n1.ip.str(), 80).starts_with("one"));  // incoming is another matter
  // Both ends have their say.
  g.set({ingress("ns/in", g.n2.ip, {{.peers = {g.n1.ip}}})});
  CHECK(ask_tcp(g.p1, g.n2.ip.str(), 80, 150) == "timeout");
  p.egress_rules.push_back({.peers = {g.n2.ip}});
  g.set({p});
  CHECK(ask_tcp(g.p1, g.n2.ip.str(), 80).starts_with("two"));
  CHECK(ask_tcp(g.p3, g.n2.ip.str(), 80, 150) == "timeout");
}

TEST_CASE("a pod reaches itself through its service whatever the policies say") {
  Guarded g;
  Service s;
  s.key = "default/one";
  s.cluster_ips = {ip("10.43.0.80")};
  s.ports = {{.name = "http", .port = 80, .endpoints = {g.one()}}};
  g.apply(s);
  auto deny = ingress("ns/deny", g.n1.ip, {});
  deny.egress = true;
  g.set({deny});
  CHECK(ask_tcp(g.p1, "10.43.0.80", 80).starts_with("one"));
  CHECK(ask_tcp(g.p2, "10.43.0.80", 80, 150) == "timeout");
}

TEST_CASE("policies hold through a restart and a lost table") {
  Guarded g;
  auto deny = ingress("ns/deny", g.n1.ip, {});
  g.set({deny});
  g.a.run([&] { g.node_a.reset(); });
  g.node_a = g.start(g.a, 1);
  CHECK(g.reach() == "two- three- client-");
  g.replace({});  // services come first: policies stay
  CHECK(g.reach() == "two- three- client-");
  g.a.run([&] { REQUIRE(g.node_a->policies().replace({deny})); });
  CHECK(g.reach() == "two- three- client-");
  shell(g.a, "nft flush ruleset");
  CHECK(g.reach() == "two+ three+ client+");
  g.a.run([&] { REQUIRE(g.node_a->verify()); });
  CHECK(g.reach() == "two- three- client-");
  // What an earlier process knew and this one does not goes without a trace.
  g.set({ingress("ns/two", g.n1.ip, {{.peers = {g.n2.ip}, .cidrs = {cidr("192.168.0.0/16")}}})});
  g.a.run([&] { g.node_a.reset(); });
  g.node_a = g.start(g.a, 1);
  g.a.run([&] { REQUIRE(g.node_a->policies().replace({})); });
  CHECK(g.reach() == "two+ three+ client+");
  auto t = table(g.a);
  for (const char* name : {"peers_", "nets_", "chain ingress_"}) CHECK(t.find(name) == std::string::npos);
}
