#include "base/json.h"
#include "base/utf8.h"

#include <catch2/catch.hpp>

TEST_CASE("numbers that cannot be written again are refused") {
  for (const char* bad : {"1e999", "[-1e400]", R"({"a":{"b":[1,2e2000]}})"}) {
    INFO(bad);
    auto v = base::parse_json(bad);
    REQUIRE_FALSE(v);
    CHECK(v.error().code == 400);
  }
  CHECK(base::parse_json("1e308"));
  CHECK(base::parse_json("1e-999"));
}

TEST_CASE("text that is no UTF-8 is written so that it can be read") {
  base::json::object o{{"a\xff", "\xc3"}, {"b", "caf\xc3\xa9 \xed\xa0\x80 \xf0\x9f\x98\x80"}};
  auto v = base::parse_json(base::to_text(o));
  REQUIRE(v);
  CHECK(base::get_string(*v, "a\xef\xbf\xbd") == "\xef\xbf\xbd");
  CHECK(base::get_string(*v, "b") == "caf\xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xf0\x9f\x98\x80");
  for (const char* good : {"", "plain ascii text", "\xc2\x80\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", "12345678\xc3\xa9"})
    CHECK(base::is_utf8(good));
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "12345678\xc3"})
    CHECK_FALSE(base::is_utf8(bad));
}
