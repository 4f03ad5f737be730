// The node's log: one line per entry on standard error, "2026-01-02T03:04:05.678Z INFO  agent: text".
// Safe from any thread; a line is one write(2), never interleaved.
#pragma once

#include <string_view>

#include <fmt/core.h>

namespace base::log {

enum class Level { debug, info, warn, error };

void set_level(Level level);
bool enabled(Level level);
void write(Level level, std::string_view component, std::string_view text);

template <class... A>
void debug(std::string_view component, fmt::format_string<A...> f, A&&... args) {
  if (enabled(Level::debug)) write(Level::debug, component, fmt::format(f, std::forward<A>(args)...));
}
template <class... A>
void info(std::string_view component, fmt::format_string<A...> f, A&&... args) {
  if (enabled(Level::info)) write(Level::info, component, fmt::format(f, std::forward<A>(args)...));
}
template <class... A>
void warn(std::string_view component, fmt::format_string<A...> f, A&&... args) {
  write(Level::warn, component, fmt::format(f, std::forward<A>(args)...));
}
template <class... A>
void error(std::string_view component, fmt::format_string<A...> f, A&&... args) {
  write(Level::error, component, fmt::format(f, std::forward<A>(args)...));
}

}  // namespace base::log
