// A container's log in CRI's format, rotated by size: "2026-01-02T03:04:05.123456789Z stdout F text\n". F ends a line, P is a
// part of one that is longer than 16 KiB.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "runtime/container/spec.h"

namespace runtime {

class LogFile {
 public:
  explicit LogFile(LogSpec spec) : spec_(std::move(spec)) {}

  // Makes directories and file; appends. An error when it cannot; no path is success.
  base::Result<> open();
  // `rest` holds the stream's unfinished line between calls.
  void append(std::string_view stream, std::string_view data, std::string& rest);
  // Writes an unfinished line, as partial: its end never came.
  void finish(std::string_view stream, std::string& rest);
  bool wanted() const { return !spec_.path.empty(); }

 private:
  void write(std::string_view text);
  void rotate();

  LogSpec spec_;
  base::Fd fd_;
  uint64_t size_ = 0;
};

}  // namespace runtime
