// The supervisor's event loop: descriptors and timers, one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "base/fd.h"

namespace runtime {

class Loop {
 public:
  Loop();
  // f gets the epoll events. Watching again replaces both.
  void watch(int fd, uint32_t events, std::function<void(uint32_t)> f);
  void unwatch(int fd);
  // Calls f once, in so many milliseconds; the number cancels it.
  uint64_t after(uint64_t milliseconds, std::function<void()> f);
  void cancel(uint64_t timer);
  // Until stop().
  void run();
  void stop() { stopped_ = true; }

 private:
  static uint64_t now();

  base::Fd epoll_;
  std::map<int, std::function<void(uint32_t)>> watched_;
  std::map<std::pair<uint64_t, uint64_t>, std::function<void()>> timers_;  // by time and number
  uint64_t next_timer_ = 1;
  bool stopped_ = false;
};

}  // namespace runtime
