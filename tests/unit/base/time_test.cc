#include <catch2/catch.hpp>

#include "base/time.h"

TEST_CASE("times round trip and offsets are applied") {
  auto t = base::parse_rfc3339("2026-01-02T03:04:05.5+01:00").value();
  CHECK(base::rfc3339(t) == "2026-01-02T02:04:05Z");
  CHECK(base::rfc3339_micro(t) == "2026-01-02T02:04:05.500000Z");
  for (const char* bad : {"", "2026-01-02", "2026-13-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02T03:04:05Zx"}) CHECK_FALSE(base::parse_rfc3339(bad));
}
