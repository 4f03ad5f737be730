#include "fixture.h"

using namespace test;

namespace {
std::string service(const std::string& name, const std::string& more) {
  return R"({"apiVersion":"v1","kind":"Service","metadata":{"name":")" + name + R"("},"spec":{"ports":[{"port":80}])" + more + "}}";
}
}  // namespace

TEST_CASE("the services every cluster has are there") {
  with_cluster([](Cluster c) -> Task<> {
    auto kubernetes = co_await c.admin->get(services, {"default", "kubernetes"});
    REQUIRE(kubernetes);
    CHECK(text(parse(*kubernetes), "spec.clusterIP") == "10.43.0.1");
    auto dns = co_await c.admin->get(services, {"kube-system", "kube-dns"});
    REQUIRE(dns);
    CHECK(text(parse(*dns), "spec.clusterIP") == "10.43.0.10");
    CHECK((co_await c.admin->get({"discovery.k8s.io", "v1", "endpointslices"}, {"default", "kubernetes"})));
  });
}

TEST_CASE("addresses and node ports are handed out once and come back") {
  with_cluster([](Cluster c) -> Task<> {
    auto made = co_await c.admin->create(services, {"default", ""}, service("a", R"(,"type":"NodePort")"));
    REQUIRE(made);
    value v = parse(*made);
    std::string ip = text(v, "spec.clusterIP");
    int64_t port = base::get_int((*base::find_array(v, "spec.ports"))[0], "nodePort");
    CHECK(ip.starts_with("10.43."));
    CHECK((port >= 30000 && port <= 32767));
    auto same_ip = co_await c.admin->create(services, {"default", ""}, service("b", ",\"clusterIP\":\"" + ip + "\""));
    CHECK((!same_ip && same_ip.error().code == 422));
    auto outside = co_await c.admin->create(services, {"default", ""}, service("b", R"(,"clusterIP":"10.99.0.1")"));
    CHECK((!outside && outside.error().code == 422));
    std::string taken =
        R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"b"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":)" +
        std::to_string(port) + "}]}}";
    auto same_port = co_await c.admin->create(services, {"default", ""}, taken);
    CHECK((!same_port && same_port.error().code == 422));
    CHECK((co_await c.admin->get({"networking.k8s.io", "v1", "ipaddresses"}, {"", ip})));
    CHECK((co_await c.admin->remove(services, {"default", "a"})));
    CHECK(!(co_await c.admin->get({"networking.k8s.io", "v1", "ipaddresses"}, {"", ip})));
    CHECK((co_await c.admin->create(services, {"default", ""}, taken)));
  });
}

TEST_CASE("an update keeps what the server chose, and a type that needs less gives it back") {
  with_cluster([](Cluster c) -> Task<> {
    auto made = co_await c.admin->create(services, {"default", ""}, service("a", R"(,"type":"LoadBalancer")"));
    REQUIRE(made);
    std::string ip = text(parse(*made), "spec.clusterIP");
    auto put = co_await c.admin->update(services, {"default", "a"}, service("a", R"(,"type":"LoadBalancer","selector":{"x":"y"})"));
    REQUIRE(put);
    value v = parse(*put);
    CHECK(text(v, "spec.clusterIP") == ip);
    CHECK(base::get_int((*base::find_array(v, "spec.ports"))[0], "nodePort") ==
          base::get_int((*base::find_array(parse(*made), "spec.ports"))[0], "nodePort"));
    put = co_await c.admin->update(services, {"default", "a"}, service("a", R"(,"type":"ClusterIP")"));
    REQUIRE(put);
    CHECK(base::get_int((*base::find_array(parse(*put), "spec.ports"))[0], "nodePort") == 0);
    put = co_await c.admin->update(services, {"default", "a"}, service("a", R"(,"type":"ClusterIP","clusterIP":"10.43.9.9")"));
    CHECK((!put && put.error().code == 422));
    put = co_await c.admin->update(services, {"default", "a"}, service("a", R"(,"type":"ExternalName","externalName":"x.example")"));
    REQUIRE(put);
    CHECK(text(parse(*put), "spec.clusterIP").empty());
    CHECK(!(co_await c.admin->get({"networking.k8s.io", "v1", "ipaddresses"}, {"", ip})));
  });
}

TEST_CASE("every node gets a network of its own and gives it back") {
  with_cluster([](Cluster c) -> Task<> {
    auto a = co_await c.admin->create(
        nodes, {}, R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"a"},"status":{"nodeInfo":{"kubeletVersion":"v1"}}})");
    auto b = co_await c.admin->create(nodes, {}, R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"b"}})");
    REQUIRE((a && b));
    CHECK(text(parse(*a), "spec.podCIDR") == "10.42.0.0/24");
    CHECK(text(parse(*b), "spec.podCIDR") == "10.42.1.0/24");
    CHECK(text(parse(*a), "status.nodeInfo.kubeletVersion") == "v1");
    CHECK((co_await c.admin->remove(nodes, {"", "a"})));
    auto d = co_await c.admin->create(nodes, {}, R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"d"}})");
    REQUIRE(d);
    CHECK(text(parse(*d), "spec.podCIDR") == "10.42.0.0/24");
  });
}
