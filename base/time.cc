#include "base/time.h"

#include <ctime>

#include <fmt/format.h>

namespace base {
namespace {

using namespace std::chrono;

std::string format(WallTime t, int digits) {
  auto ns = duration_cast<nanoseconds>(t.time_since_epoch()).count();
  time_t s = static_cast<time_t>(ns >= 0 ? ns / 1'000'000'000 : -((-ns + 999'999'999) / 1'000'000'000));
  int64_t fraction = ns - static_cast<int64_t>(s) * 1'000'000'000;
  tm u{};
  gmtime_r(&s, &u);
  std::string out = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", u.tm_year + 1900, u.tm_mon + 1, u.tm_mday, u.tm_hour, u.tm_min, u.tm_sec);
  if (digits > 0) out += '.' + fmt::format("{:09}", fraction).substr(0, static_cast<size_t>(digits));
  return out + 'Z';
}

}  // namespace

std::string rfc3339(WallTime t) { return format(t, 0); }
std::string rfc3339_micro(WallTime t) { return format(t, 6); }
std::string rfc3339_nano(WallTime t) { return format(t, 9); }

Result<WallTime> parse_rfc3339(std::string_view text) {
  auto bad = [&] { return bad_request(fmt::format("\"{}\" is not an RFC 3339 time", text)); };
  auto number = [&](size_t at, size_t n) {
    int v = 0;
    for (size_t i = at; i < at + n; ++i) {
      if (i >= text.size() || text[i] < '0' || text[i] > '9') return -1;
      v = v * 10 + (text[i] - '0');
    }
    return v;
  };
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't') || text[13] != ':' || text[16] != ':') return bad();
  tm u{};
  u.tm_year = number(0, 4) - 1900;
  u.tm_mon = number(5, 2) - 1;
  u.tm_mday = number(8, 2);
  u.tm_hour = number(11, 2);
  u.tm_min = number(14, 2);
  u.tm_sec = number(17, 2);
  if (u.tm_year < -1900 || u.tm_mon < 0 || u.tm_mon > 11 || u.tm_mday < 1 || u.tm_mday > 31 || u.tm_hour < 0 || u.tm_hour > 23 || u.tm_min < 0 ||
      u.tm_min > 59 || u.tm_sec < 0 || u.tm_sec > 60)
    return bad();
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
    if (h < 0 || m < 0) return bad();
    offset = (h * 60 + m) * 60 * (text[at] == '+' ? 1 : -1);
    at += 6;
  } else {
    return bad();
  }
  if (at != text.size()) return bad();
  return WallTime(duration_cast<WallClock::duration>(seconds(timegm(&u) - offset) + nanoseconds(nanos)));
}

}  // namespace base
