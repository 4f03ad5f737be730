#include <catch2/catch.hpp>

#include "agent/pods/downward.h"
#include "agent/pods/env.h"

using namespace agent;

namespace {

struct Source final : EnvSource {
  std::map<std::string, std::map<std::string, std::string>> maps, secrets;
  const std::map<std::string, std::string>* config_map(const std::string& n) const override {
    return maps.contains(n) ? &maps.at(n) : nullptr;
  }
  const std::map<std::string, std::string>* secret(const std::string& n) const override {
    return secrets.contains(n) ? &secrets.at(n) : nullptr;
  }
  Result<std::string> field(const std::string& p) const override { return "field:" + p; }
  Result<std::string> resource(const api::core::ResourceFieldSelector& s, const std::string&) const override { return s.resource; }
};

api::core::EnvVar variable(std::string name, std::string value) {
  api::core::EnvVar e;
  e.name = std::move(name);
  e.value = std::move(value);
  return e;
}

}  // namespace

TEST_CASE("references to variables are expanded as the API reference says") {
  Variables v{{"A", "1"}, {"B", "two"}};
  auto [in, out] = GENERATE(table<std::string, std::string>({
      {"plain", "plain"},
      {"$(A)", "1"},
      {"$(A)-$(B)", "1-two"},
      {"$(MISSING)", "$(MISSING)"},
      {"$$(A)", "$(A)"},
      {"$$$(A)", "$1"},
      {"$A", "$A"},
      {"$", "$"},
      {"$(A", "$(A"},
      {"x$(B)y", "xtwoy"},
      {"$(A)$", "1$"},
  }));
  CHECK(expand_references(in, v) == out);
}

TEST_CASE("strict expansion refuses what is missing") {
  CHECK(*expand_strictly("a/$(X)", {{"X", "b"}}) == "a/b");
  CHECK_FALSE(expand_strictly("a/$(Y)", {{"X", "b"}}));
}

TEST_CASE("services become variables") {
  api::core::Service s;
  s.metadata.name = "my-db";
  s.spec.clusterIP = "10.43.0.7";
  s.spec.ports.resize(2);
  s.spec.ports[0].port = 5432;
  s.spec.ports[0].name = "sql";
  s.spec.ports[1].port = 53;
  s.spec.ports[1].protocol = "UDP";
  Variables v;
  add_service_variables(s, v);
  CHECK(v["MY_DB_SERVICE_HOST"] == "10.43.0.7");
  CHECK(v["MY_DB_SERVICE_PORT"] == "5432");
  CHECK(v["MY_DB_SERVICE_PORT_SQL"] == "5432");
  CHECK(v["MY_DB_PORT"] == "tcp://10.43.0.7:5432");
  CHECK(v["MY_DB_PORT_53_UDP"] == "udp://10.43.0.7:53");
  CHECK(v["MY_DB_PORT_53_UDP_ADDR"] == "10.43.0.7");
  s.spec.clusterIP = "None";
  Variables none;
  add_service_variables(s, none);
  CHECK(none.empty());
}

TEST_CASE("a container's environment: envFrom, then env in order, then services") {
  api::core::Container c;
  Source source;
  source.maps["m"] = {{"FROM_MAP", "x"}, {"BAD=NAME", "y"}};
  source.secrets["s"] = {{"PASSWORD", "p"}};
  c.envFrom.resize(2);
  c.envFrom[0].configMapRef.emplace().name = "m";
  c.envFrom[1].secretRef.emplace().name = "s";
  c.envFrom[1].prefix = "DB_";
  c.env.push_back(variable("FIRST", "1"));
  c.env.push_back(variable("SECOND", "$(FIRST)$(FROM_MAP)$(SVC)"));
  c.env.push_back(variable("FROM_MAP", "over"));
  api::core::EnvVar field;
  field.name = "NAME";
  field.valueFrom.emplace().fieldRef.emplace().fieldPath = "metadata.name";
  c.env.push_back(field);
  auto e = make_environment(c, source, {{"SVC", "s"}, {"OTHER", "o"}});
  REQUIRE(e);
  auto m = e->as_map();
  CHECK(m["DB_PASSWORD"] == "p");
  CHECK(m["SECOND"] == "1xs");
  CHECK(m["FROM_MAP"] == "over");
  CHECK(m["NAME"] == "field:metadata.name");
  CHECK(m["OTHER"] == "o");
  CHECK(e->skipped.size() == 1);
}

TEST_CASE("a missing key is an error unless it is optional") {
  api::core::Container c;
  Source source;
  source.maps["m"] = {{"a", "x"}};
  api::core::EnvVar e;
  e.name = "V";
  auto& ref = e.valueFrom.emplace().configMapKeyRef.emplace();
  ref.name = "m";
  ref.key = "b";
  c.env.push_back(e);
  auto r = make_environment(c, source, {});
  REQUIRE_FALSE(r);
  CHECK(r.error().message == "couldn't find key b in ConfigMap m");
  c.env[0].valueFrom->configMapKeyRef->optional = true;
  CHECK(make_environment(c, source, {})->variables.empty());
  c.env[0].valueFrom->configMapKeyRef->optional = false;
  c.env[0].valueFrom->configMapKeyRef->name = "absent";
  CHECK(make_environment(c, source, {}).error().message == "configmap \"absent\" not found");
}

TEST_CASE("the downward API gives fields and resources") {
  api::core::Pod pod;
  pod.metadata.name = "p";
  pod.metadata.labels = {{"app", "web"}, {"x/y", "a\"b\n"}};
  api::core::Container c;
  c.name = "c";
  c.resources.emplace().limits = {{"cpu", "1500m"}, {"memory", "64Mi"}};
  pod.spec.containers.push_back(c);
  PodFacts f{&pod, {"10.42.0.5", "fd00::5"}, {"192.0.2.1"}, {{"cpu", "4"}, {"memory", "1Gi"}}};
  CHECK(*downward_field(f, "metadata.labels['app']") == "web");
  CHECK(*downward_field(f, "metadata.labels['none']") == "");
  CHECK(*downward_field(f, "metadata.labels") == "app=\"web\"\nx/y=\"a\\\"b\\n\"\n");
  CHECK(*downward_field(f, "status.podIPs") == "10.42.0.5,fd00::5");
  CHECK(*downward_field(f, "status.hostIP") == "192.0.2.1");
  CHECK_FALSE(downward_field(f, "spec.containers"));
  auto resource = [&](std::string r, std::string divisor) {
    api::core::ResourceFieldSelector s;
    s.resource = std::move(r);
    s.divisor = std::move(divisor);
    return *downward_resource(f, s, "c");
  };
  CHECK(resource("limits.cpu", "") == "2");
  CHECK(resource("limits.cpu", "1m") == "1500");
  CHECK(resource("limits.memory", "1Mi") == "64");
  CHECK(resource("limits.memory", "") == "67108864");
  CHECK(resource("requests.cpu", "") == "0");
  pod.spec.containers[0].resources.reset();
  CHECK(resource("limits.cpu", "") == "4");
}
