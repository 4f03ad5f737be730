// What a client may ask of a log, and how entries become text. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/http/message.h"
#include "base/time.h"

namespace agent {

struct LogOptions {
  bool follow = false, previous = false, timestamps = false;
  bool out = true, err = true;
  std::optional<int64_t> tail, limit;
  std::string since;  // RFC 3339 with nine digits, UTC; empty: everything
};
base::Result<LogOptions> parse_log_options(const base::http::Query& query, base::WallTime now);

// Whether the last entry of a stream was partial: the next one continues its line.
struct LogState {
  bool inside_out = false, inside_err = false;
};
// Complete lines of a log file to the client's text.
void format_log(std::string_view raw, const LogOptions& options, LogState& state, std::string& out);

}  // namespace agent
