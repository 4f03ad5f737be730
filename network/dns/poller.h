// An epoll loop of one thread: descriptors with handlers, deadlines, and removal that is safe while events are handed out.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/files.h"

namespace network::dns {

class Poller {
 public:
  using Clock = std::chrono::steady_clock;
  using Handler = std::function<void(uint32_t events)>;
  Poller();
  bool valid() const { return static_cast<bool>(epoll_); }
  // Watches fd until remove(fd); the descriptor stays the caller's.
  bool add(int fd, uint32_t events, Handler handler);
  void change(int fd, uint32_t events);
  void remove(int fd);
  // Calls f once, not before `when`. The number cancels it.
  uint64_t at(Clock::time_point when, std::function<void()> f);
  void cancel(uint64_t timer);
  // Waits for the next events or deadline and hands them out.
  void turn();

 private:
  base::Fd epoll_;
  struct Watch {
    uint32_t generation;
    std::shared_ptr<Handler> handler;
  };
  std::unordered_map<int, Watch> watches_;
  uint32_t generation_ = 0;
  std::map<std::pair<Clock::time_point, uint64_t>, std::function<void()>> timers_;
  std::unordered_map<uint64_t, Clock::time_point> when_;
  uint64_t next_timer_ = 1;
};

}  // namespace network::dns
