// Offsets of a named time zone, from the host's /usr/share/zoneinfo (TZif, RFC 9636). Immutable.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace server::controllers {

class TimeZone {
 public:
  // "Europe/Berlin"; 404 when the host does not know it, 400 when the name or the file is malformed.
  static base::Result<TimeZone> load(const std::string& name);
  static base::Result<TimeZone> parse(std::string_view tzif);
  TimeZone() = default;  // UTC
  // What is added to UTC at this time. After the last transition in the file its offset stays.
  std::chrono::seconds offset_at(base::WallTime t) const;

 private:
  std::vector<std::pair<int64_t, int32_t>> changes_;  // from this second on, this offset
  int32_t first_ = 0;
};

}  // namespace server::controllers
