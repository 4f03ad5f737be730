#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <ctime>
#include <string>

#include <fmt/format.h>

namespace base::log {
namespace {

std::atomic<Level> threshold{Level::info};
constexpr std::string_view names[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};

}  // namespace

void set_level(Level level) { threshold.store(level, std::memory_order_relaxed); }
bool enabled(Level level) { return level >= threshold.load(std::memory_order_relaxed); }

void write(Level level, std::string_view component, std::string_view text) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm t{};
  gmtime_r(&now.tv_sec, &t);
  std::string line = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z {} {}: ", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
                                 t.tm_min, t.tm_sec, now.tv_nsec / 1'000'000, names[static_cast<int>(level)], component);
  // Text may come from the network: no control character reaches the terminal.
  for (char c : text) line += (static_cast<unsigned char>(c) < 0x20 && c != '\t') ? ' ' : c;
  line += '\n';
  [[maybe_unused]] auto n = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace base::log
