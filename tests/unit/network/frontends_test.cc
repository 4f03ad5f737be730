#include <catch2/catch.hpp>

#include "network/frontends.h"
#include "tests/unit/network/netns.h"

using namespace network;
using network::test::cidr;
using network::test::ip;

namespace {
Endpoint at(const char* address, bool local = false) { return {.ip = ip(address), .port = 80, .local = local}; }
}  // namespace

TEST_CASE("ready endpoints win; those that terminate but serve are the last resort") {
  Endpoint ready = at("10.42.1.2"), leaving = at("10.42.1.3"), starting = at("10.42.1.4");
  leaving.ready = false;
  leaving.terminating = true;
  starting.ready = starting.serving = false;
  CHECK(usable({ready, leaving, starting}, TrafficPolicy::cluster).size() == 1);
  CHECK(usable({leaving, starting}, TrafficPolicy::cluster).size() == 1);
  CHECK(usable({starting}, TrafficPolicy::cluster).empty());
  CHECK(usable({ready}, TrafficPolicy::local).empty());
  CHECK(usable({ready, ready}, TrafficPolicy::cluster).size() == 1);
  for (const char* bad : {"127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "fd00::1"})
    CHECK(usable({at(bad)}, TrafficPolicy::cluster).empty());
}

TEST_CASE("a service answers on its cluster, external and load balancer addresses and its node port") {
  Service s;
  s.key = "default/web";
  s.cluster_ips = {ip("10.43.0.5")};
  s.external_ips = {ip("203.0.113.1")};
  s.load_balancer_ips = {ip("192.168.7.1")};
  s.source_ranges = {cidr("10.0.0.0/9"), cidr("10.64.0.0/10"), cidr("192.168.0.0/16")};
  s.external_policy = TrafficPolicy::local;
  s.ports = {{.name = "http", .port = 80, .node_port = 30080, .endpoints = {at("10.42.2.2")}}};
  auto f = frontends_of(s);
  REQUIRE(f.size() == 7);
  for (size_t i = 4; i < 7; ++i) {
    CHECK(f[i].id.inside);
    CHECK(f[i].targets.size() == 1);
  }
  CHECK(f[0].targets.size() == 1);
  CHECK(f[1].targets.empty());
  CHECK(f[1].drop);  // endpoints exist elsewhere: silence, so that a load balancer looks elsewhere
  REQUIRE(f[2].ranges.size() == 2);
  CHECK(f[2].ranges[0].last == 0x0a7fffff);
  CHECK(f[3].id.any_address);
  CHECK(f[3].id.port == 30080);

  s.cluster_ips.clear();
  CHECK(frontends_of(s).empty());
}
