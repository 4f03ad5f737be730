#include "api/yaml.h"

#include <catch2/catch.hpp>

TEST_CASE("YAML scalars become what Kubernetes makes of them") {
  auto [text, expected] = GENERATE(table<const char*, const char*>({
      {"a: 1", R"({"a":1})"}, {"a: 0644", R"({"a":420})"}, {"a: 0o17", R"({"a":15})"}, {"a: 0x1F", R"({"a":31})"}, {"a: \"1\"", R"({"a":"1"})"},
      {"a: yes", R"({"a":true})"}, {"a: 'no'", R"({"a":"no"})"}, {"a: ~", R"({"a":null})"}, {"a:", R"({"a":null})"}, {"a: 1.5", R"({"a":1.5E0})"},
      {"a: 1.2.3", R"({"a":"1.2.3"})"}, {"a: 10Mi", R"({"a":"10Mi"})"}, {"1: true", R"({"1":true})"}, {"a: [1, {b: c}]", R"({"a":[1,{"b":"c"}]})"},
      {"a: |\n  x\n  y\n", R"({"a":"x\ny\n"})"}, {"a: !!str 5", R"({"a":"5"})"}, {"a: 2024-01-01", R"({"a":"2024-01-01"})"},
      {"a: &x {b: 1}\nc: *x", R"({"a":{"b":1},"c":{"b":1}})"}, {"a: &x {b: 1}\nc:\n  <<: *x\n  d: 2", R"({"a":{"b":1},"c":{"d":2,"b":1}})"},
      {"a: 08", R"({"a":8E0})"}, {"", "null"}, {"a: e3", R"({"a":"e3"})"}, {"a: .", R"({"a":"."})"}, {"a: -.5", R"({"a":-5E-1})"},
  }));
  INFO(text);
  auto v = api::parse_yaml(text);
  REQUIRE(v);
  CHECK(base::to_text(*v) == expected);
}

TEST_CASE("escapes of YAML become the characters they name") {
  auto v = api::parse_yaml(R"(["\N\_\L", "\u00e9\N", "\xe9"])");
  REQUIRE(v);
  CHECK(base::to_text(*v) == "[\"\xc2\x85\xc2\xa0\xe2\x80\xa8\",\"\xc3\xa9\xc2\x85\",\"\xc3\xa9\"]");
}

TEST_CASE("malformed and hostile YAML is refused") {
  std::string deep(200, '['), bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) bomb += (j ? ",*a" : "*a") + std::to_string(i - 1);
    bomb += "]\n";
  }
  for (const std::string& text :
       {deep, bomb, std::string("a: [1"), std::string("a: b: c"), std::string("\ta: 1"), std::string("? [a]\n: b"), std::string(", 'q'"),
        std::string("] x"), std::string("a: \xfe\xff"), std::string("\0\0\0a: 1", 7), std::string("a: \1")}) {
    INFO(text.substr(0, 40));
    auto v = api::parse_yaml(text);
    REQUIRE_FALSE(v);
    CHECK(v.error().code == 400);
  }
}

TEST_CASE("a stream holds documents, or JSON objects") {
  CHECK(api::parse_yaml_documents("---\na: 1\n---\n---\nb: 2\n")->size() == 2);
  CHECK(api::parse_yaml_documents("{\"a\":1}\n{\"b\":\"}\"}")->size() == 2);
  CHECK(api::parse_yaml_documents("# nothing\n")->empty());
}

TEST_CASE("written YAML reads back the same and looks like kubectl's") {
  const char* text =
      R"({"kind":"Pod","spec":{"containers":[{"name":"c","args":["-x","a: b","true","","1","#","it's","tab\t","- y"],"env":[]}],)"
      R"("n":5,"...":"...","f":0.5,"t":"a\nb\n","u":"a\nb","w":"a\n\n","nested":[[1,2],{"a":{}}],"k: y":null,"d":"2024-01-01",)"
      R"("breaks":["a\u0085b","\u2028","a\u2029\nb","\ufeffx"]}})";
  auto v = base::parse_json(text);
  std::string yaml = api::to_yaml(*v);
  INFO(yaml);
  auto back = api::parse_yaml(yaml);
  REQUIRE(back);
  CHECK(*back == *v);
  CHECK(yaml.starts_with(
      "kind: Pod\nspec:\n  containers:\n  - name: c\n    args:\n    - -x\n    - 'a: b'\n    - \"true\"\n    - \"\"\n    - \"1\"\n"));
}
