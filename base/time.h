// Wall-clock times as Kubernetes writes them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/error.h"

namespace base {

using WallClock = std::chrono::system_clock;
using WallTime = WallClock::time_point;

// A point of time as RFC 3339 can write it, the years 0 to 9999, which is more than WallTime holds (1677 to 2262).
struct Moment {
  int64_t seconds = 0;  // since 1970
  int32_t nanos = 0;    // 0 to 999,999,999
  bool operator==(const Moment&) const = default;
  auto operator<=>(const Moment&) const = default;
};

std::string rfc3339(Moment m);
std::string rfc3339_micro(Moment m);
std::string rfc3339(WallTime t);          // 2026-01-02T03:04:05Z (metav1.Time)
std::string rfc3339_micro(WallTime t);    // 2026-01-02T03:04:05.678901Z (metav1.MicroTime)
std::string rfc3339_nano(WallTime t);     // nine digits, for CRI log lines
// Any RFC 3339 text, with fraction and offset; no leap seconds, as Go has none.
Result<Moment> parse_moment(std::string_view text);
// The same, the nearest second of WallTime where the year is out of its range.
Result<WallTime> parse_rfc3339(std::string_view text);
inline std::string now_rfc3339() { return rfc3339(WallClock::now()); }

}  // namespace base
