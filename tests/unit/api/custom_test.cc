#include <catch2/catch.hpp>

#include "api/apply.h"
#include "api/defaults.h"
#include "api/openapi.h"
#include "api/prune.h"
#include "api/schema.h"
#include "api/table.h"
#include "api/validation/validate.h"

namespace {

using base::json::value;

value parse(std::string_view text) {
  auto v = base::parse_json(text);
  REQUIRE(v);
  return *v;
}

std::shared_ptr<const api::CustomKind> widget() {
  value spec = parse(R"({"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","kind":"Widget","shortNames":["wd"]}})");
  value version = parse(R"({"name":"v1","schema":{"openAPIV3Schema":{"type":"object","required":["spec"],"properties":{
    "metadata":{"type":"object"},
    "spec":{"type":"object","required":["size"],"properties":{
      "size":{"type":"integer","minimum":1,"maximum":9},
      "colour":{"type":"string","enum":["red","green"],"default":"red"},
      "name":{"type":"string","pattern":"^[a-z]+$","maxLength":5},
      "port":{"x-kubernetes-int-or-string":true},
      "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true},
      "labels":{"type":"object","additionalProperties":{"type":"string"}},
      "parts":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["id"],
               "items":{"type":"object","properties":{"id":{"type":"string"},"n":{"type":"integer"}}}}}},
    "status":{"type":"object","properties":{"ready":{"type":"boolean"}}}}}},
    "additionalPrinterColumns":[{"name":"Size","type":"integer","jsonPath":".spec.size"},{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}]})");
  auto k = api::custom_kind(spec, version);
  if (!k) FAIL(k.error().message);
  return *k;
}

std::string problems(const value& v) {
  std::string out;
  for (const base::Cause& c : api::validate_create(widget()->kind, v)) out += c.field + ": " + c.message + "\n";
  return out;
}

}  // namespace

TEST_CASE("custom resources are pruned and defaulted by their schema") {
  auto k = widget();
  value v = parse(R"({"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w","bogus":1},"x":1,
    "spec":{"size":3,"y":2,"free":{"any":{"thing":1}},"labels":{"a":"b"},"parts":[{"id":"1","z":0}],"name":""}})");
  std::vector<std::string> found;
  REQUIRE(api::prune(k->kind, v, found));
  CHECK(found.size() == 4);
  api::apply_defaults(k->kind, v);
  api::normalise(*k->kind.type, v);
  CHECK(base::to_text(v) == R"({"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"size":3,)"
                            R"("free":{"any":{"thing":1}},"labels":{"a":"b"},"parts":[{"id":"1"}],"name":"","colour":"red"}})");
}

TEST_CASE("custom resources are validated by their schema") {
  CHECK(problems(parse(R"({"spec":{"size":3,"port":"http"}})")).empty());
  CHECK(problems(parse(R"({})")) == "spec: Required value\n");
  CHECK(problems(parse(R"({"spec":{}})")) == "spec.size: Required value\n");
  CHECK(problems(parse(R"({"spec":{"size":"x"}})")) ==
        "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"\n");
  CHECK(problems(parse(R"({"spec":{"size":0}})")) ==
        "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1\n");
  CHECK(problems(parse(R"({"spec":{"size":1,"colour":"blue"}})")) ==
        "spec.colour: Unsupported value: \"blue\": supported values: \"green\", \"red\"\n");
  CHECK(problems(parse(R"({"spec":{"size":1,"name":"ABC"}})")) ==
        "spec.name: Invalid value: \"ABC\": spec.name in body should match '^[a-z]+$'\n");
  CHECK(problems(parse(R"({"spec":{"size":1,"parts":[{"id":"a"},{"id":"a"}]}})")) == "spec.parts[1]: Duplicate value: {\"id\":\"a\"}\n");
  std::vector<std::string> found;
  for (std::string_view odd : {R"({"spec":[]})", R"({"spec":{"size":{},"parts":{},"labels":[],"name":[1]}})", R"({"spec":5})"}) {
    value v = parse(odd);
    CHECK(api::prune(widget()->kind, v, found));
    CHECK_FALSE(problems(v).empty());
  }
}

TEST_CASE("custom resources are applied, printed and documented like others") {
  auto k = widget();
  auto one = api::apply(k->kind, nullptr, parse(R"({"spec":{"parts":[{"id":"a","n":1}]}})"), {"x", {}, "2026-01-01T00:00:00Z"}, false);
  REQUIRE(one);
  auto two = api::apply(k->kind, *one, parse(R"({"spec":{"parts":[{"id":"b","n":2}]}})"), {"y", {}, "2026-01-01T00:00:00Z"}, false);
  REQUIRE(two);
  CHECK(base::find_array(*two, "spec.parts")->size() == 2);
  CHECK(base::to_text(value(
            api::table_cells(k->kind, parse(R"({"metadata":{"name":"w","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"size":3}})"),
                             "2026-01-01T00:01:00Z"))) == R"(["w",3,"60s"])");
  api::OpenApiInput in{{k}, "v1"};
  auto v3 = base::parse_json(api::openapi_v3_document(in, "apis/example.com/v1"));
  REQUIRE(v3);
  CHECK(base::find_object(*v3, "components.schemas")->contains("com.example.v1.Widget"));
  CHECK(api::openapi_v3_index(in).find("apis/example.com/v1") != std::string::npos);
  CHECK(api::openapi_v2_json(in).find("com.example.v1.WidgetList") != std::string::npos);
}
