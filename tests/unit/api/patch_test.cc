#include "api/patch.h"

#include <catch2/catch.hpp>

namespace {

base::json::value parse(std::string_view text) {
  auto v = base::parse_json(text);
  REQUIRE(v);
  return *v;
}
const api::Type& pod() { return *api::Schema::builtin().kind("v1", "Pod")->type; }
std::string strategic(std::string_view document, std::string_view patch) {
  auto v = api::strategic_merge_patch(pod(), parse(document), parse(patch));
  return v ? base::to_text(*v) : "error: " + v.error().message;
}

}  // namespace

TEST_CASE("JSON patch operations") {
  auto [document, patch, expected] = GENERATE(table<const char*, const char*, const char*>({
      {R"({"a":1})", R"([{"op":"add","path":"/b","value":2}])", R"({"a":1,"b":2})"},
      {R"({"a":[1,3]})", R"([{"op":"add","path":"/a/1","value":2}])", R"({"a":[1,2,3]})"},
      {R"({"a":[1]})", R"([{"op":"add","path":"/a/-","value":2}])", R"({"a":[1,2]})"},
      {R"({"a":1})", R"([{"op":"add","path":"/b"},{"op":"replace","path":"/a"}])", R"({"a":null,"b":null})"},
      {R"({"a":1,"b":2})", R"([{"op":"remove","path":"/a"}])", R"({"b":2})"},
      {R"({"a":1})", R"([{"op":"replace","path":"/a","value":{"x":[]}}])", R"({"a":{"x":[]}})"},
      {R"({"a/b":{"m~n":1}})", R"([{"op":"test","path":"/a~1b/m~0n","value":1},{"op":"move","from":"/a~1b/m~0n","path":"/c"}])",
       R"({"a/b":{},"c":1})"},
      {R"({"a":{"b":1}})", R"([{"op":"copy","from":"/a","path":"/c"}])", R"({"a":{"b":1},"c":{"b":1}})"},
  }));
  INFO(patch);
  auto v = api::json_patch(parse(document), parse(patch));
  REQUIRE(v);
  CHECK(base::to_text(*v) == expected);
}

TEST_CASE("JSON patches that fail") {
  auto [patch, code] = GENERATE(table<const char*, int>({
      {R"([{"op":"remove","path":"/x"}])", 422},
      {R"([{"op":"test","path":"/a","value":2}])", 422},
      {R"([{"op":"add","path":"/x/y","value":2}])", 422},
      {R"([{"op":"add","path":"/l/5","value":2}])", 422},
      {R"([{"op":"frob","path":"/a"}])", 400},
      {R"([{"op":"add","path":"a","value":1}])", 400},
      {R"({"op":"add"})", 400},
      {R"([{"op":"move","from":"/l","path":"/l/0"}])", 422},
  }));
  INFO(patch);
  auto v = api::json_patch(parse(R"({"a":1,"l":[]})"), parse(patch));
  REQUIRE_FALSE(v);
  CHECK(v.error().code == code);
}

TEST_CASE("merge patch follows RFC 7386") {
  auto [document, patch, expected] = GENERATE(table<const char*, const char*, const char*>({
      {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"}, {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"}, {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"}, {R"(["a","b"])", R"(["c"])", R"(["c"])"},
  }));
  CHECK(base::to_text(api::merge_patch(parse(document), parse(patch))) == expected);
}

TEST_CASE("strategic merge patch merges containers by name and ports by number") {
  CHECK(strategic(R"({"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"1"}]}})",
                  R"({"spec":{"containers":[{"name":"b","image":"2"},{"name":"c","image":"3"}]}})") ==
        R"({"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"},{"name":"c","image":"3"}]}})");
  CHECK(strategic(R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":80}]}]}})",
                  R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":81}]}]}})") ==
        R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":80},{"containerPort":81}]}]}})");
  CHECK(strategic(R"({"spec":{"containers":[{"name":"a","args":["x"]}]}})", R"({"spec":{"containers":[{"name":"a","args":["y"]}]}})") ==
        R"({"spec":{"containers":[{"name":"a","args":["y"]}]}})");
}

TEST_CASE("strategic merge patch directives") {
  CHECK(strategic(R"({"spec":{"containers":[{"name":"a"},{"name":"b"}]}})",
                  R"({"spec":{"containers":[{"name":"a","$patch":"delete"}]}})") == R"({"spec":{"containers":[{"name":"b"}]}})");
  CHECK(strategic(R"({"spec":{"containers":[{"name":"a"}]}})", R"({"spec":{"containers":[{"name":"c"},{"$patch":"replace"}]}})") ==
        R"({"spec":{"containers":[{"name":"c"}]}})");
  CHECK(strategic(R"({"spec":{"nodeSelector":{"a":"1","b":"2"}}})", R"({"spec":{"nodeSelector":{"$patch":"replace","c":"3"}}})") ==
        R"({"spec":{"nodeSelector":{"c":"3"}}})");
  CHECK(strategic(R"({"metadata":{"finalizers":["a","b"]}})",
                  R"({"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"finalizers":["c"]}})") ==
        R"({"metadata":{"finalizers":["b","c"]}})");
  CHECK(strategic(R"({"spec":{"volumes":[{"name":"v","emptyDir":{}}]}})",
                  R"({"spec":{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/x"}}]}})") ==
        R"({"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}})");
  CHECK(strategic(R"({"spec":{"containers":[{"name":"a"},{"name":"s"},{"name":"b"}]}})",
                  R"({"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"n"},{"name":"a"}],"containers":[{"name":"n"}]}})") ==
        R"({"spec":{"containers":[{"name":"s"},{"name":"b"},{"name":"n"},{"name":"a"}]}})");
  CHECK(strategic(R"({"spec":{"tolerations":[{"key":"a"}]}})", R"({"spec":{"tolerations":[{"key":"b"}]}})") ==
        R"({"spec":{"tolerations":[{"key":"b"}]}})");
  CHECK(strategic(R"({"metadata":{"labels":{"a":"1"}}})", R"({"metadata":{"labels":{"a":null,"b":"2"}}})") ==
        R"({"metadata":{"labels":{"b":"2"}}})");
  CHECK(strategic(R"({})", R"({"spec":{"containers":[{"image":"x"}]}})").starts_with("error: map: "));
}
