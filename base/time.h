// Wall-clock times as Kubernetes writes them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/error.h"

namespace base {

using WallClock = std::chrono::system_clock;
using WallTime = WallClock::time_point;

std::string rfc3339(WallTime t);          // 2026-01-02T03:04:05Z (metav1.Time)
std::string rfc3339_micro(WallTime t);    // 2026-01-02T03:04:05.678901Z (metav1.MicroTime)
std::string rfc3339_nano(WallTime t);     // nine digits, for CRI log lines
// Any RFC 3339 text, with fraction and offset.
Result<WallTime> parse_rfc3339(std::string_view text);
inline std::string now_rfc3339() { return rfc3339(WallClock::now()); }

}  // namespace base
