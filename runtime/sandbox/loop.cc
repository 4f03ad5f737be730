#include "runtime/sandbox/loop.h"

#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace runtime {

Loop::Loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

uint64_t Loop::now() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000 + static_cast<uint64_t>(t.tv_nsec) / 1000000;
}

void Loop::watch(int fd, uint32_t events, std::function<void(uint32_t)> f) {
  epoll_event e{};
  e.events = events;
  e.data.fd = fd;
  bool known = watched_.contains(fd);
  ::epoll_ctl(epoll_.get(), known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
  watched_[fd] = std::move(f);
}

void Loop::unwatch(int fd) {
  if (watched_.erase(fd) > 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

uint64_t Loop::after(uint64_t milliseconds, std::function<void()> f) {
  timers_[{now() + milliseconds, next_timer_}] = std::move(f);
  return next_timer_++;
}

void Loop::cancel(uint64_t timer) {
  std::erase_if(timers_, [&](const auto& t) { return t.first.second == timer; });
}

void Loop::run() {
  while (!stopped_) {
    int wait = -1;
    if (!timers_.empty()) {
      uint64_t first = timers_.begin()->first.first, at = now();
      wait = first <= at ? 0 : static_cast<int>(std::min<uint64_t>(first - at, INT_MAX));
    }
    epoll_event events[16];
    int n = ::epoll_wait(epoll_.get(), events, 16, wait);
    if (n < 0 && errno != EINTR) return;
    for (int i = 0; i < n && !stopped_; ++i) {
      // An earlier handler of this round may have closed it.
      auto it = watched_.find(events[i].data.fd);
      if (it == watched_.end()) continue;
      auto f = it->second;
      f(events[i].events);
    }
    while (!timers_.empty() && timers_.begin()->first.first <= now() && !stopped_) {
      auto f = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      f();
    }
  }
}

}  // namespace runtime
