// Cron schedules: five fields (minute, hour, day of month, month, day of week) or a macro such as @daily. Pure; times are UTC.
#pragma once

#include <bitset>
#include <optional>
#include <string_view>

#include "base/time.h"

namespace server::controllers {

class CronSchedule {
 public:
  static base::Result<CronSchedule> parse(std::string_view text);
  // The first time after t that matches; nothing within the next five years.
  std::optional<base::WallTime> next(base::WallTime t) const;

 private:
  std::bitset<60> minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;
  std::bitset<13> months_;
  std::bitset<7> weekdays_;
  bool any_day_ = false, any_weekday_ = false;  // with both restricted, either matches
};

}  // namespace server::controllers
