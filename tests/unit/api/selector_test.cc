#include "api/selector.h"

#include <catch2/catch.hpp>

using api::FieldSelector;
using api::LabelSelector;

TEST_CASE("label selectors match as documented") {
  api::Labels labels{{"app", "web"}, {"tier", "front"}, {"weight", "7"}, {"empty", ""}};
  auto [text, expected] = GENERATE(table<const char*, bool>({
      {"", true}, {"app=web", true}, {"app==web", true}, {"app = web , tier != back", true}, {"app!=web", false}, {"none!=x", true},
      {"app in (web, api)", true}, {"app notin (web)", false}, {"none notin (a)", true}, {"app", true}, {"!app", false}, {"!none", true},
      {"weight>5", true}, {"weight<5", false}, {"empty=", true}, {"app=", false}, {"empty in (,x)", true}, {"example.com/a=b", false},
  }));
  INFO(text);
  auto s = LabelSelector::parse(text);
  REQUIRE(s);
  CHECK(s->matches(labels) == expected);
}

TEST_CASE("bad label selectors are refused") {
  const char* text = GENERATE("a=b,", ",a", "a in b", "a in (b", "a b", "=b", "a=-b-", "a>x", "!", "a/b/c=d");
  INFO(text);
  auto s = LabelSelector::parse(text);
  CHECK_FALSE(s);
}

TEST_CASE("label selectors print themselves") {
  CHECK(LabelSelector::parse("a=b,c!=d, e in (g,f), !h,i,j notin (k,l)")->to_string() == "a=b,c!=d,e in (f,g),!h,i,j notin (k,l)");
}

TEST_CASE("field selectors match and unescape") {
  auto s = FieldSelector::parse("metadata.name=a\\,b,status.phase!=Running");
  REQUIRE(s);
  CHECK(s->required_value("metadata.name") == "a,b");
  auto pod = base::parse_json(R"({"metadata":{"name":"a,b"},"status":{"phase":"Pending"}})");
  CHECK(s->matches(*pod));
  CHECK(FieldSelector::parse("spec.unschedulable=false")->matches(*pod));
  CHECK_FALSE(FieldSelector::parse("nonsense"));
}
