#include <catch2/catch.hpp>

#include "base/time.h"

TEST_CASE("times round trip and offsets are applied") {
  auto t = base::parse_rfc3339("2026-01-02T03:04:05.5+01:00").value();
  CHECK(base::rfc3339(t) == "2026-01-02T02:04:05Z");
  CHECK(base::rfc3339_micro(t) == "2026-01-02T02:04:05.500000Z");
  for (const char* bad : {"", "2026-01-02", "2026-13-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02T03:04:05Zx", "2026-02-29T00:00:00Z",
                          "2026-01-02T03:04:60Z", "2026-01-02T03:04:05+24:00", "0000-01-01T00:00:00+01:00", "9999-12-31T23:59:59-00:01"})
    CHECK_FALSE(base::parse_rfc3339(bad));
}

TEST_CASE("years far away are read and written as they are") {
  for (const char* text : {"0001-01-01T00:00:00Z", "1677-01-01T00:00:00Z", "2263-01-01T00:00:00Z", "9999-12-31T23:59:59Z"}) {
    CHECK(base::rfc3339(base::parse_moment(text).value()) == text);
    CHECK(base::parse_rfc3339(text));
  }
  CHECK(base::parse_rfc3339("0001-01-01T00:00:00Z").value() < base::parse_rfc3339("1700-01-01T00:00:00Z").value());
  CHECK(base::rfc3339_nano(base::parse_rfc3339("1969-12-31T23:59:59.25Z").value()) == "1969-12-31T23:59:59.250000000Z");
}
