// Cron schedules: five fields (minute, hour, day of month, month, day of week) or a macro such as @daily. Pure.
#pragma once

#include <bitset>
#include <optional>
#include <string_view>

#include "base/time.h"
#include "server/controllers/time_zone.h"

namespace server::controllers {

class CronSchedule {
 public:
  static base::Result<CronSchedule> parse(std::string_view text);
  // The first time after t that matches; nothing within the next five years.
  std::optional<base::WallTime> next(base::WallTime t) const;
  // The same with the schedule in a zone's local time. Times that a change of the clock skips do not come; those it repeats come once.
  std::optional<base::WallTime> next(base::WallTime t, const TimeZone& zone) const;

 private:
  std::bitset<60> minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;
  std::bitset<13> months_;
  std::bitset<7> weekdays_;
  bool any_day_ = false, any_weekday_ = false;  // with both restricted, either matches
};

}  // namespace server::controllers
