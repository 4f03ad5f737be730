#include <catch2/catch.hpp>

#include "agent/services/policy_sync.h"
#include "agent/services/translate.h"

using namespace agent;

namespace {

api::core::Service service() {
  api::core::Service s;
  s.metadata.name = "web";
  s.metadata.namespace_ = "shop";
  s.spec.clusterIP = "10.43.0.5";
  s.spec.clusterIPs = {"10.43.0.5"};
  s.spec.ports.emplace_back();
  s.spec.ports[0].name = "http";
  s.spec.ports[0].port = 80;
  return s;
}

SlicePtr slice() {
  api::discovery::EndpointSlice e;
  e.ports.emplace_back();
  e.ports[0].name = "http";
  e.ports[0].protocol = "TCP";
  e.ports[0].port = 8080;
  e.endpoints.resize(2);
  e.endpoints[0].addresses = {"10.42.0.2"};
  e.endpoints[0].nodeName = "n1";
  e.endpoints[0].hostname = "web-0";
  e.endpoints[1].addresses = {"10.42.1.2"};
  e.endpoints[1].nodeName = "n2";
  e.endpoints[1].conditions.emplace().ready = false;
  return std::make_shared<const api::discovery::EndpointSlice>(std::move(e));
}

}  // namespace

TEST_CASE("services meet their endpoints by port name") {
  auto t = translate_service(service(), {slice()}, "n1");
  REQUIRE(t);
  CHECK(t->key == "shop/web");
  REQUIRE(t->ports.size() == 1);
  REQUIRE(t->ports[0].endpoints.size() == 2);
  CHECK(t->ports[0].endpoints[0].port == 8080);
  CHECK(t->ports[0].endpoints[0].local);
  CHECK(t->ports[0].endpoints[0].ready);
  CHECK_FALSE(t->ports[0].endpoints[1].local);
  CHECK_FALSE(t->ports[0].endpoints[1].ready);
}

TEST_CASE("headless and external services are nothing for the kernel") {
  auto s = service();
  s.spec.clusterIP = "None";
  CHECK_FALSE(translate_service(s, {}, "n1"));
  s = service();
  s.spec.type = "ExternalName";
  CHECK_FALSE(translate_service(s, {}, "n1"));
}

TEST_CASE("DNS records: cluster addresses, or ready endpoints of headless services") {
  auto s = service();
  CHECK(translate_record(s, {slice()}).cluster_ips.size() == 1);
  CHECK(translate_record(s, {slice()}).endpoints.empty());
  s.spec.clusterIP = "None";
  s.spec.clusterIPs = {"None"};
  auto r = translate_record(s, {slice()});
  CHECK(r.cluster_ips.empty());
  REQUIRE(r.endpoints.size() == 1);
  CHECK(r.endpoints[0].hostname == "web-0");
  CHECK(r.endpoints[0].ports[0].protocol == "tcp");
  s.spec.publishNotReadyAddresses = true;
  CHECK(translate_record(s, {slice()}).endpoints.size() == 2);
}

TEST_CASE("a policy becomes addresses") {
  auto pod = [](std::string ns, std::string name, std::string ip, std::string node, std::map<std::string, std::string> labels) {
    api::core::Pod p;
    p.metadata.namespace_ = std::move(ns);
    p.metadata.name = std::move(name);
    p.metadata.labels = std::move(labels);
    p.spec.nodeName = std::move(node);
    p.status.podIPs.push_back({std::move(ip)});
    return std::make_shared<const api::core::Pod>(std::move(p));
  };
  std::vector<std::shared_ptr<const api::core::Pod>> pods = {pod("shop", "db", "10.42.0.2", "n1", {{"app", "db"}}),
                                                             pod("shop", "web", "10.42.1.3", "n2", {{"app", "web"}}),
                                                             pod("other", "spy", "10.42.1.4", "n2", {{"app", "web"}})};
  api::networking::NetworkPolicy policy;
  policy.metadata.name = "p";
  policy.metadata.namespace_ = "shop";
  policy.spec.podSelector.emplace().matchLabels = {{"app", "db"}};
  policy.spec.ingress.emplace_back();
  policy.spec.ingress[0].from.emplace_back().podSelector.emplace().matchLabels = {{"app", "web"}};
  policy.spec.ingress[0].ports.emplace_back().port = api::IntOrString::of(5432);
  auto t = translate_policy(policy, pods, {}, "n1");
  CHECK(t.ingress);
  CHECK_FALSE(t.egress);
  REQUIRE(t.pods.size() == 1);
  CHECK(t.pods[0].str() == "10.42.0.2");
  REQUIRE(t.ingress_rules.size() == 1);
  REQUIRE(t.ingress_rules[0].peers.size() == 1);
  CHECK(t.ingress_rules[0].peers[0].str() == "10.42.1.3");
  CHECK(t.ingress_rules[0].ports[0].port == 5432);
  CHECK(translate_policy(policy, pods, {}, "n2").pods.empty());
}
