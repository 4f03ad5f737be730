#include "api/prune.h"

#include <catch2/catch.hpp>

namespace {
const api::Kind& deployment() { return *api::Schema::builtin().kind("apps/v1", "Deployment"); }
}  // namespace

TEST_CASE("unknown and duplicate fields are named by path") {
  std::vector<std::string> problems;
  auto v = api::parse_json_strictly(R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","labels":{"x":"1","x":"2"}},
    "spec":{"replicas":1,"foo":2,"template":{"spec":{"containers":[{"name":"c","imag":"x"}]}},"replicas":2}})", problems);
  REQUIRE(v);
  REQUIRE(api::prune(deployment(), *v, problems));
  CHECK(problems == std::vector<std::string>{"duplicate field \"metadata.labels.x\"", "duplicate field \"spec.replicas\"",
                                             "unknown field \"spec.foo\"", "unknown field \"spec.template.spec.containers[0].imag\""});
  CHECK_FALSE(base::find(*v, "spec.foo"));
  auto strict = api::enforce(api::FieldValidation::strict, deployment(), {"unknown field \"spec.foo\""});
  REQUIRE_FALSE(strict);
  CHECK(strict.error().message ==
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.foo\"");
  CHECK(api::enforce(api::FieldValidation::warn, deployment(), problems));
}

TEST_CASE("wrong types are refused in Go's words") {
  auto [text, message] = GENERATE(table<const char*, const char*>({
      {R"({"spec":{"replicas":"3"}})", "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"},
      {R"({"metadata":{"labels":{"a":1}}})",
       "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"},
      {R"({"spec":{"template":{"spec":{"containers":{}}}}})",
       "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container"},
  }));
  std::vector<std::string> problems;
  auto v = base::parse_json(text);
  auto r = api::prune(deployment(), *v, problems);
  REQUIRE_FALSE(r);
  CHECK(r.error().code == 400);
  CHECK(r.error().message == std::string("Deployment in version \"v1\" cannot be handled as a Deployment: ") + message);
}

TEST_CASE("normal form drops nulls and empty values, keeps what means something") {
  auto v = base::parse_json(R"({"metadata":{"name":"x","creationTimestamp":null,"labels":{}},"spec":{"replicas":0,"paused":false,
    "selector":{},"template":{"spec":{"hostNetwork":false,"nodeSelector":{},"volumes":[{"name":"v","emptyDir":{}}],
    "containers":[{"name":"c","args":[],"resources":{"limits":{"cpu":1,"memory":"1024Ki"}}}]}}}})");
  api::normalise(*deployment().type, *v);
  CHECK(base::to_text(*v) ==
        R"({"metadata":{"name":"x"},"spec":{"replicas":0,"selector":{},"template":{"spec":{"volumes":[{"name":"v","emptyDir":{}}],)"
        R"("containers":[{"name":"c","resources":{"limits":{"cpu":"1","memory":"1Mi"}}}]}}}})");
}

TEST_CASE("problems are told in the order of the text") {
  std::string text = R"({"x":1,"spec":{"paused":true,"y":{"paused":1},"paused":false,"template":{"z":1}},"w":1})";
  std::vector<std::string> problems;
  auto v = api::parse_json_strictly(text, problems);
  REQUIRE(v);
  const api::Kind& kind = *api::Schema::builtin().kind("apps/v1", "Deployment");
  REQUIRE(api::prune(kind, *v, problems));
  api::order_problems(text, problems);
  CHECK(problems == std::vector<std::string>{R"(unknown field "x")", R"(unknown field "spec.y")", R"(duplicate field "spec.paused")",
                                             R"(unknown field "spec.template.z")", R"(unknown field "w")"});
}
