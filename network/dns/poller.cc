#include "network/dns/poller.h"

#include <sys/epoll.h>

#include <algorithm>

namespace network::dns {

Poller::Poller() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

bool Poller::add(int fd, uint32_t events, Handler handler) {
  epoll_event e{};
  e.events = events;
  e.data.u64 = uint64_t{++generation_} << 32 | static_cast<uint32_t>(fd);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) return false;
  watches_[fd] = {generation_, std::make_shared<Handler>(std::move(handler))};
  return true;
}

void Poller::change(int fd, uint32_t events) {
  auto it = watches_.find(fd);
  if (it == watches_.end()) return;
  epoll_event e{};
  e.events = events;
  e.data.u64 = uint64_t{it->second.generation} << 32 | static_cast<uint32_t>(fd);
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &e);
}

void Poller::remove(int fd) {
  if (watches_.erase(fd)) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

uint64_t Poller::at(Clock::time_point when, std::function<void()> f) {
  uint64_t id = next_timer_++;
  timers_[{when, id}] = std::move(f);
  when_[id] = when;
  return id;
}

void Poller::cancel(uint64_t timer) {
  auto it = when_.find(timer);
  if (it == when_.end()) return;
  timers_.erase({it->second, timer});
  when_.erase(it);
}

void Poller::turn() {
  int timeout = -1;
  if (!timers_.empty()) {
    auto left = timers_.begin()->first.first - Clock::now();
    timeout = static_cast<int>(std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(left).count() + 1));
  }
  epoll_event events[64];
  int n = epoll_wait(epoll_.get(), events, 64, timeout);
  for (int i = 0; i < n; ++i) {
    // An earlier handler of this turn may have removed it, or put another descriptor in its place.
    auto it = watches_.find(static_cast<int>(events[i].data.u64 & 0xffffffff));
    if (it == watches_.end() || it->second.generation != events[i].data.u64 >> 32) continue;
    auto handler = it->second.handler;
    (*handler)(events[i].events);
  }
  auto now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto f = std::move(timers_.begin()->second);
    when_.erase(timers_.begin()->first.second);
    timers_.erase(timers_.begin());
    f();
  }
}

}  // namespace network::dns
