#include <catch2/catch.hpp>

#include <map>

#include "api/codec.h"
#include "ingress/translate.h"

using namespace ingress;

namespace {

template <class T>
std::shared_ptr<const T> object(const char* json) {
  return std::make_shared<const T>(api::decode<T>(std::string_view(json)).value());
}

struct World {
  std::map<std::string, BackendPtr> backends;
  Snapshot snapshot;
  World() {
    snapshot.classes = {"appliance"};
    snapshot.service = [](auto&, auto&) { return nullptr; };
    snapshot.secret = [](auto&, auto&) { return nullptr; };
    snapshot.certificate = [](auto&) { return nullptr; };
    snapshot.backend = [this](auto& ns, auto& service, auto& port) {
      auto& b = backends[ns + "/" + service + ":" + port];
      if (!b) b = std::make_shared<Backend>(ns + "/" + service + ":" + port);
      return b;
    };
  }
  void add(const char* json) { snapshot.ingresses.push_back(object<api::networking::Ingress>(json)); }
};

std::string find(const RouteTable& t, std::string_view host, std::string_view path) {
  auto m = t.match(host, path);
  return m.backend ? m.backend->name() : "";
}

}  // namespace

TEST_CASE("the longest path wins, exact before prefix, the exact host before the wildcard") {
  World w;
  w.add(R"({"metadata":{"name":"a","namespace":"d"},"spec":{"rules":[
    {"host":"a.example.com","http":{"paths":[
      {"path":"/","pathType":"Prefix","backend":{"service":{"name":"root","port":{"number":80}}}},
      {"path":"/long","pathType":"Prefix","backend":{"service":{"name":"long","port":{"name":"http"}}}},
      {"path":"/long","pathType":"Exact","backend":{"service":{"name":"exact","port":{"number":80}}}}]}},
    {"host":"*.example.com","http":{"paths":[{"path":"/w","pathType":"Prefix","backend":{"service":{"name":"wild","port":{"number":80}}}}]}},
    {"http":{"paths":[{"path":"/any","pathType":"ImplementationSpecific","backend":{"service":{"name":"any","port":{"number":80}}}}]}}]}})");
  auto t = translate(w.snapshot);
  CHECK(find(t, "a.example.com", "/") == "d/root:80");
  CHECK(find(t, "a.example.com", "/long") == "d/exact:80");
  CHECK(find(t, "a.example.com", "/long/x") == "d/long:http");
  CHECK(find(t, "a.example.com", "/longer") == "d/root:80");
  CHECK(find(t, "b.example.com", "/w/x") == "d/wild:80");
  CHECK(find(t, "b.example.com", "/x") == "");
  CHECK(find(t, "x.b.example.com", "/w") == "");
  CHECK(find(t, "other", "/any") == "d/any:80");
}

TEST_CASE("foreign classes are left alone and the oldest Ingress keeps a path two of them claim") {
  World w;
  w.add(
      R"({"metadata":{"name":"young","namespace":"d","creationTimestamp":"2026-01-02T00:00:00Z"},"spec":{"rules":[{"host":"h","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"young","port":{"number":80}}}}]}}]}})");
  w.add(
      R"({"metadata":{"name":"old","namespace":"e","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"ingressClassName":"appliance","rules":[{"host":"h","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"old","port":{"number":80}}}}]}}]}})");
  w.add(
      R"({"metadata":{"name":"foreign","namespace":"d"},"spec":{"ingressClassName":"nginx","defaultBackend":{"service":{"name":"x","port":{"number":80}}}}})");
  auto t = translate(w.snapshot);
  CHECK(find(t, "h", "/") == "e/old:80");
  CHECK(find(t, "nowhere", "/") == "");
}

TEST_CASE("a backend has the ready addresses of the right port, and ending ones only when there are no others") {
  auto service = object<api::core::Service>(
      R"({"metadata":{"name":"s","namespace":"d"},"spec":{"ports":[{"name":"http","port":80},{"name":"admin","port":81}]}})");
  auto slice = object<api::discovery::EndpointSlice>(
      R"({"metadata":{"name":"s-1","namespace":"d"},"addressType":"IPv4","ports":[{"name":"http","port":8080},{"name":"admin","port":8081}],
    "endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true}},{"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true}},
                 {"addresses":["10.0.0.3"],"conditions":{"ready":false}}]})");
  CHECK(resolve_backend(*service, "80", {slice}) == std::vector<Endpoint>{{"10.0.0.1", 8080}});
  CHECK(resolve_backend(*service, "admin", {slice}) == std::vector<Endpoint>{{"10.0.0.1", 8081}});
  CHECK(resolve_backend(*service, "none", {slice}).empty());
  auto ending = object<api::discovery::EndpointSlice>(
      R"({"ports":[{"name":"http","port":8080}],"endpoints":[{"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true}}]})");
  CHECK(resolve_backend(*service, "http", {ending}) == std::vector<Endpoint>{{"10.0.0.2", 8080}});
}
