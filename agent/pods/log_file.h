// Container logs in the CRI format: reading, following, and what rotation leaves. "2026-01-02T03:04:05.123456789Z stdout F text\n"; P instead of F
// marks a line that goes on in the next entry.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/io.h"
#include "base/time.h"

namespace agent {

using base::Result;
using base::Task;

struct LogEntry {
  std::string_view time;    // RFC 3339
  bool err = false;         // stderr
  bool partial = false;
  std::string_view text;    // without the line's end
};
// Of one line without its '\n'; nullopt when malformed.
std::optional<LogEntry> parse_log_line(std::string_view line);

// The last lines, for termination messages: at most so many lines and bytes.
std::string log_tail(const std::string& path, size_t lines, size_t bytes);

// Offset from which the last n entries that end a line begin; 0 when there are fewer. Reads backwards.
Result<uint64_t> tail_offset(int fd, uint64_t size, uint64_t lines);

// Removes the log files of instances before `keep_from` (named <n>.log and <n>.log.<time>).
void remove_old_logs(const std::string& directory, int keep_from);

// The rotated files of a log, oldest first, then the log itself.
std::vector<std::string> log_generations(const std::string& path);

}  // namespace agent
