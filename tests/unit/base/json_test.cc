#include "base/json.h"

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
