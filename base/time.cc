#include "base/time.h"

#include <ctime>
#include <limits>
#include <type_traits>

#include <fmt/format.h>

namespace base {
namespace {

using namespace std::chrono;

std::string format(Moment m, int digits) {
  time_t s = m.seconds;
  tm u{};
  gmtime_r(&s, &u);
  std::string out =
      fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", u.tm_year + 1900, u.tm_mon + 1, u.tm_mday, u.tm_hour, u.tm_min, u.tm_sec);
  if (digits > 0) out += '.' + fmt::format("{:09}", m.nanos).substr(0, static_cast<size_t>(digits));
  return out + 'Z';
}

Moment moment_of(WallTime t) {
  auto s = floor<seconds>(t);
  return {s.time_since_epoch().count(), static_cast<int32_t>(duration_cast<nanoseconds>(t - s).count())};
}

}  // namespace

std::string rfc3339(Moment m) { return format(m, 0); }
std::string rfc3339_micro(Moment m) { return format(m, 6); }
std::string rfc3339(WallTime t) { return format(moment_of(t), 0); }
std::string rfc3339_micro(WallTime t) { return format(moment_of(t), 6); }
std::string rfc3339_nano(WallTime t) { return format(moment_of(t), 9); }

Result<Moment> parse_moment(std::string_view text) {
  auto bad = [&] { return bad_request(fmt::format("\"{}\" is not an RFC 3339 time", text)); };
  auto number = [&](size_t at, size_t n) {
    int v = 0;
    for (size_t i = at; i < at + n; ++i) {
      if (i >= text.size() || text[i] < '0' || text[i] > '9') return -1;
      v = v * 10 + (text[i] - '0');
    }
    return v;
  };
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't') || text[13] != ':' || text[16] != ':')
    return bad();
  tm u{};
  u.tm_year = number(0, 4) - 1900;
  u.tm_mon = number(5, 2) - 1;
  u.tm_mday = number(8, 2);
  u.tm_hour = number(11, 2);
  u.tm_min = number(14, 2);
  u.tm_sec = number(17, 2);
  if (u.tm_year < -1900 || u.tm_mon < 0 || u.tm_mon > 11 || u.tm_mday < 1 || u.tm_mday > 31 || u.tm_hour < 0 || u.tm_hour > 23 ||
      u.tm_min < 0 || u.tm_min > 59 || u.tm_sec < 0 || u.tm_sec > 59)
    return bad();
  const int year = u.tm_year + 1900;
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  constexpr int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (u.tm_mday > days[u.tm_mon] + (u.tm_mon == 1 && leap ? 1 : 0)) return bad();
  size_t at = 19;
  int64_t nanos = 0;
  if (text[at] == '.') {
    ++at;
    int64_t scale = 100'000'000;
    if (number(at, 1) < 0) return bad();
    for (; number(at, 1) >= 0; ++at, scale /= 10) nanos += number(at, 1) * scale;
  }
  int64_t offset = 0;
  if (at < text.size() && (text[at] == 'Z' || text[at] == 'z')) {
    ++at;
  } else if (at + 6 <= text.size() && (text[at] == '+' || text[at] == '-') && text[at + 3] == ':') {
    int h = number(at + 1, 2), m = number(at + 4, 2);
    if (h < 0 || h > 23 || m < 0 || m > 59) return bad();
    offset = (h * 60 + m) * 60 * (text[at] == '+' ? 1 : -1);
    at += 6;
  } else {
    return bad();
  }
  if (at != text.size()) return bad();
  Moment moment{timegm(&u) - offset, static_cast<int32_t>(nanos)};
  constexpr int64_t first = -62167219200, last = 253402300799;  // of the years 0 and 9999
  if (moment.seconds < first || moment.seconds > last) return bad();
  return moment;
}

Result<WallTime> parse_rfc3339(std::string_view text) {
  TRY(Moment m, parse_moment(text));
  constexpr int64_t most = std::numeric_limits<int64_t>::max() / 1'000'000'000;
  static_assert(std::is_same_v<WallClock::duration, nanoseconds>);
  if (m.seconds >= most) return WallTime(seconds(most));
  if (m.seconds < -most) return WallTime(seconds(-most));
  return WallTime(seconds(m.seconds) + nanoseconds(m.nanos));
}

}  // namespace base
