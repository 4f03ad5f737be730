#include "server/controllers/cron_schedule.h"

#include <array>
#include <charconv>
#include <cctype>
#include <string>
#include <vector>

namespace server::controllers {
namespace {

using namespace std::chrono;

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> out;
  for (size_t from = 0; from <= text.size();) {
    size_t end = std::min(text.find(at, from), text.size());
    if (at != ' ' || end > from) out.push_back(text.substr(from, end - from));
    from = end + 1;
  }
  return out;
}

constexpr std::array month_names{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array day_names{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

std::optional<int> value(std::string_view text, int first, bool months, bool days) {
  std::string lower(text);
  for (char& c : lower) c = char(std::tolower(static_cast<unsigned char>(c)));
  if (months)
    for (size_t i = 0; i < month_names.size(); ++i)
      if (lower == month_names[i]) return int(i) + first;
  if (days)
    for (size_t i = 0; i < day_names.size(); ++i)
      if (lower == day_names[i]) return int(i);
  int n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

// Sets the bits of one field; true when it was unrestricted. 400 when malformed.
template <size_t N>
base::Result<bool> field(std::string_view text, int first, int last, std::bitset<N>& bits) {
  const bool months = first == 1 && last == 12, days = last == 7;
  bool any = false;
  for (std::string_view part : split(text, ',')) {
    std::string_view range = part;
    int step = 1;
    if (size_t slash = part.find('/'); slash != part.npos) {
      range = part.substr(0, slash);
      auto s = value(part.substr(slash + 1), 0, false, false);
      if (!s || *s < 1) return base::bad_request("bad step in \"" + std::string(part) + "\"");
      step = *s;
    }
    int from = first, to = days ? 6 : last;
    if (range == "*" || range == "?") {
      any = any || step == 1;
    } else {
      size_t dash = range.find('-');
      auto a = value(range.substr(0, dash), first, months, days);
      auto b = dash == range.npos ? (step > 1 ? std::optional<int>(to) : a) : value(range.substr(dash + 1), first, months, days);
      if (!a || !b || *a < first || *b > last || *a > *b) return base::bad_request("bad range \"" + std::string(part) + "\"");
      from = *a;
      to = *b;
    }
    for (int i = from; i <= to; i += step) bits.set(size_t(days && i == 7 ? 0 : i));
  }
  return any;
}

}  // namespace

base::Result<CronSchedule> CronSchedule::parse(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> macros{{{"@yearly", "0 0 1 1 *"},
                                                                                   {"@annually", "0 0 1 1 *"},
                                                                                   {"@monthly", "0 0 1 * *"},
                                                                                   {"@weekly", "0 0 * * 0"},
                                                                                   {"@daily", "0 0 * * *"},
                                                                                   {"@midnight", "0 0 * * *"},
                                                                                   {"@hourly", "0 * * * *"}}};
  for (auto [name, meaning] : macros)
    if (text == name) text = meaning;
  auto fields = split(text, ' ');
  if (fields.size() != 5) return base::bad_request("expected five fields in \"" + std::string(text) + "\"");
  CronSchedule out;
  CHECK_OK(field(fields[0], 0, 59, out.minutes_));
  CHECK_OK(field(fields[1], 0, 23, out.hours_));
  TRY(out.any_day_, field(fields[2], 1, 31, out.days_));
  CHECK_OK(field(fields[3], 1, 12, out.months_));
  TRY(out.any_weekday_, field(fields[4], 0, 7, out.weekdays_));
  return out;
}

std::optional<base::WallTime> CronSchedule::next(base::WallTime t) const {
  auto at = floor<minutes>(t) + minutes(1);
  sys_days day = floor<days>(at);
  for (int i = 0; i < 5 * 366; ++i, day += days(1), at = day) {
    year_month_day date(day);
    if (!months_[unsigned(date.month())]) continue;
    bool by_day = days_[unsigned(date.day())], by_weekday = weekdays_[weekday(day).c_encoding()];
    bool match = any_day_ || any_weekday_ ? by_day && by_weekday : by_day || by_weekday;
    if (!match) continue;
    for (auto m = at; m < day + days(1);) {
      auto since = m - day;
      auto hour = size_t(duration_cast<std::chrono::hours>(since).count()), minute = size_t((since % std::chrono::hours(1)).count());
      if (!hours_[hour]) {
        m = day + std::chrono::hours(hour + 1);
        continue;
      }
      if (minutes_[minute]) return m;
      m += minutes(1);
    }
  }
  return std::nullopt;
}

std::optional<base::WallTime> CronSchedule::next(base::WallTime t, const TimeZone& zone) const {
  base::WallTime local = t + zone.offset_at(t);
  for (int i = 0; i < 200; ++i) {
    auto candidate = next(local);
    if (!candidate) return std::nullopt;
    // The offset at that time, guessed from the one an hour around it.
    base::WallTime utc = *candidate - zone.offset_at(*candidate - zone.offset_at(t));
    utc = *candidate - zone.offset_at(utc);
    if (utc > t && utc + zone.offset_at(utc) == *candidate) return utc;
    local = *candidate;
  }
  return std::nullopt;
}

}  // namespace server::controllers
