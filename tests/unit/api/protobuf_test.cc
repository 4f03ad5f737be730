#include "api/protobuf.h"

#include <catch2/catch.hpp>

#include "api/prune.h"
#include "api/yaml.h"
#include "base/bytes.h"

namespace {
std::string round_trip(std::string_view text) {
  auto v = base::parse_json(text);
  REQUIRE(v);
  auto bytes = api::to_protobuf(*v);
  REQUIRE(bytes);
  CHECK(api::has_protobuf_envelope(*bytes));
  auto back = api::from_protobuf(*bytes);
  if (!back) FAIL(back.error().message);
  CHECK(*back == *v);
  return *bytes;
}
}  // namespace

TEST_CASE("objects survive protobuf") {
  round_trip(
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"a":"1"}},)"
      R"("spec":{"volumes":[{"name":"v","emptyDir":{"sizeLimit":"1Gi"}}],"containers":[{"name":"c","image":"i","env":[{"name":"E","valueFrom":)"
      R"({"configMapKeyRef":{"name":"cm","key":"k"}}}],"livenessProbe":{"httpGet":{"port":"http"},"periodSeconds":5}}],"priority":0},)"
      R"("status":{"phase":"Running"}})");
  round_trip(
      R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"ports":[{"port":80,"targetPort":8080},{"port":81,"targetPort":"x"}]}})");
  round_trip(R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"a":"AAEC"},"type":"Opaque"})");
  round_trip(
      R"({"apiVersion":"apps/v1","kind":"DeploymentList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"d"},"spec":{"replicas":0,)"
      R"("selector":{},"template":{}}}]})");
  round_trip(
      R"({"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"},"spec":{"renewTime":"2026-01-02T03:04:05.678901Z"}})");
  round_trip(
      R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"t"},"status":{"authenticated":true,"user":{"username":"u",)"
      R"("extra":{"k":["a","b"]}}}})");
  round_trip(
      R"({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","spec":{"group":"g","names":{"plural":"xs","kind":"X"},)"
      R"("scope":"Cluster","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","default":{"a":[1]},)"
      R"("properties":{"l":{"items":{"type":"string"},"additionalProperties":false}}}}}]}})");
  round_trip(
      R"({"apiVersion":"metrics.k8s.io/v1beta1","kind":"NodeMetrics","timestamp":"2026-01-02T03:04:05Z","window":"1m30.5s","usage":{"cpu":"1"}})");
  round_trip(R"({"apiVersion":"apps/v1","kind":"DeleteOptions","gracePeriodSeconds":0,"propagationPolicy":"Background"})");
}

TEST_CASE("the bytes are those other implementations write") {
  // Envelope: TypeMeta{apiVersion, kind}, raw, two empty strings. Namespace{metadata{name}}.
  std::string bytes = round_trip(R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"}})");
  CHECK(base::hex_encode(bytes) == "6b3873000a0f0a0276311209" "4e616d657370616365" "12050a030a0178" "1a002200");
  // Verbs stand in a message of their own: resources{name, kind, verbs{items}}.
  bytes = round_trip(
      R"({"apiVersion":"v1","kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"a","kind":"A","verbs":["get","list"]}]})");
  CHECK(base::hex_encode(bytes).find("12130a01611a0141" "220b" "0a03676574" "0a046c697374") != std::string::npos);
}

TEST_CASE("malformed protobuf is refused, never trusted") {
  auto good = api::to_protobuf(
      *base::parse_json(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"abc"},"spec":{"containers":[{"name":"c"}]}})"));
  REQUIRE(good);
  for (size_t n = 0; n < good->size(); ++n) (void)api::from_protobuf(good->substr(0, n));
  for (size_t i = 4; i < good->size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = *good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      (void)api::from_protobuf(bad);
    }
  }
  CHECK(api::from_protobuf("x").error().code == 400);
  CHECK(api::to_protobuf(*base::parse_json(R"({"apiVersion":"meta.k8s.io/v1","kind":"Table"})")).error().code == 406);
}

namespace {

// A value of the type with everything in it, as far down as the depth says.
base::json::value sample(const api::Type& t, int depth) {
  using api::Form;
  switch (t.form) {
    case Form::string:
      return t.values.empty() ? base::json::value("text: 'with' \"marks\"\n#2")
                              : base::json::value(base::json::string_view(t.values[0].data(), t.values[0].size()));
    case Form::bytes: return "AP8=";
    case Form::time: return "2026-01-02T03:04:05Z";
    case Form::micro_time: return "2026-01-02T03:04:05.000006Z";
    case Form::duration: return "1m2.5s";
    case Form::quantity: return "1500m";
    case Form::boolean: return true;
    case Form::int32: return -7;
    case Form::int64: return int64_t{1} << 40;
    case Form::float64: return 0.5;
    case Form::int_or_string: return depth % 2 ? base::json::value("25%") : base::json::value(8080);
    case Form::any:
    case Form::raw_extension: return base::json::object{{"apiVersion", "x/v1"}, {"kind", "X"}, {"n", 1}};
    case Form::json_or_union:
      return t.name == "JSONSchemaPropsOrBool" ? base::json::value(true) : base::json::value(base::json::object{{"type", "string"}});
    case Form::list: return base::json::array{sample(*t.element, depth - 1)};
    case Form::map: return base::json::object{{"a.b/c", sample(*t.element, depth - 1)}};
    case Form::object: break;
  }
  base::json::object o;
  for (const api::Field& f : t.fields) {
    if (f.number == 0 && f.embedded[0] == 0) continue;
    // An empty list says nothing in protobuf, so there are none.
    const bool structured = f.type->form >= Form::object;
    if (structured && depth <= 1) continue;
    o[f.name] = sample(*f.type, depth - 1);
  }
  return o;
}

}  // namespace

TEST_CASE("every kind survives protobuf and YAML with all its fields") {
  size_t checked = 0;
  for (const api::Kind& kind : api::Schema::builtin().kinds()) {
    INFO(kind.api_version() << " " << kind.kind);
    // Not in protobuf: tables, and what only JSON has a form for.
    if (kind.kind == "Table" || kind.kind == "List" || kind.group == "metrics.k8s.io") continue;
    for (int depth : {1, 3, 6}) {
      base::json::value v = sample(*kind.type, depth);
      v.as_object()["apiVersion"] = kind.api_version();
      v.as_object()["kind"] = kind.kind;
      api::normalise(*kind.type, v);
      auto bytes = api::to_protobuf(v);
      if (!bytes) {
        CHECK(bytes.error().code == 406);
        continue;
      }
      auto back = api::from_protobuf(*bytes);
      REQUIRE(back);
      api::normalise(*kind.type, *back);
      if (*back != v) CHECK(base::to_text(*back) == base::to_text(v));
      auto yaml = api::parse_yaml(api::to_yaml(v));
      REQUIRE(yaml);
      CHECK(*yaml == v);
      ++checked;
    }
  }
  CHECK(checked > 200);
}
