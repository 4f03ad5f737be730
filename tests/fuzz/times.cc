// RFC 3339 times.
#include "base/time.h"
#include "fuzz.h"

const std::vector<std::string_view> fuzz::seeds = {"2026-01-02T03:04:05Z", "1969-12-31t23:59:60.123456789+14:00",
                                                   "0001-01-01T00:00:00-00:00", "9999-12-31T23:59:59.999999999Z"};

void fuzz::one(std::string_view input) {
  auto t = base::parse_rfc3339(input);
  auto moment = base::parse_moment(input);
  require(t.has_value() == moment.has_value());
  if (!t) return;
  auto same = base::parse_moment(base::rfc3339(*moment));
  require(same && same->seconds == moment->seconds);
  auto again = base::parse_rfc3339(base::rfc3339_nano(*t));
  require(again && *again == *t);
  (void)base::rfc3339(*t);
  (void)base::rfc3339_micro(*t);
}
