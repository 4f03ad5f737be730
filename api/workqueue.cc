#include "api/workqueue.h"

#include <deque>

namespace api {

// Invariants: `queued` holds exactly the keys in `order`; a key in `processing` that is added goes to `dirty` and is queued by done().
struct WorkQueue::State {
  base::Duration first, longest;
  mutable std::mutex mutex;
  std::deque<std::string> order;
  std::set<std::string> queued, dirty, processing;
  std::map<std::string, base::TimePoint> delayed;
  std::map<std::string, int> failures;
  bool closed = false;
  base::Event changed;

  void add_locked(const std::string& key) {
    if (closed) return;
    if (processing.contains(key)) dirty.insert(key);
    else if (queued.insert(key).second) order.push_back(key);
  }
};

WorkQueue::WorkQueue(base::Duration first, base::Duration longest) : state_(std::make_unique<State>()) {
  state_->first = first;
  state_->longest = longest;
}

WorkQueue::~WorkQueue() = default;

void WorkQueue::add(std::string key) {
  {
    std::scoped_lock lock(state_->mutex);
    state_->add_locked(key);
  }
  state_->changed.notify();
}

void WorkQueue::add_after(std::string key, base::Duration delay) {
  if (delay <= base::Duration::zero()) return add(std::move(key));
  {
    std::scoped_lock lock(state_->mutex);
    if (state_->closed) return;
    auto at = base::Clock::now() + delay;
    auto [it, inserted] = state_->delayed.emplace(std::move(key), at);
    if (!inserted) it->second = std::min(it->second, at);
  }
  state_->changed.notify();
}

void WorkQueue::add_failed(std::string key) {
  base::Duration delay;
  {
    std::scoped_lock lock(state_->mutex);
    int n = state_->failures[key]++;
    delay = n > 30 ? state_->longest : std::min<base::Duration>(state_->first * (1LL << n), state_->longest);
  }
  add_after(std::move(key), delay);
}

void WorkQueue::forget(const std::string& key) {
  std::scoped_lock lock(state_->mutex);
  state_->failures.erase(key);
}

base::Task<std::optional<std::string>> WorkQueue::get() {
  for (;;) {
    uint64_t seen = state_->changed.version();
    std::optional<base::TimePoint> next;
    {
      std::scoped_lock lock(state_->mutex);
      if (state_->closed) co_return std::nullopt;
      auto now = base::Clock::now();
      for (auto it = state_->delayed.begin(); it != state_->delayed.end();) {
        if (it->second <= now) {
          state_->add_locked(it->first);
          it = state_->delayed.erase(it);
        } else {
          if (!next || it->second < *next) next = it->second;
          ++it;
        }
      }
      if (!state_->order.empty()) {
        std::string key = std::move(state_->order.front());
        state_->order.pop_front();
        state_->queued.erase(key);
        state_->processing.insert(key);
        co_return key;
      }
    }
    co_await state_->changed.wait(seen, next);
  }
}

void WorkQueue::done(const std::string& key) {
  {
    std::scoped_lock lock(state_->mutex);
    state_->processing.erase(key);
    if (state_->dirty.erase(key) == 0) return;
    state_->add_locked(key);
  }
  state_->changed.notify();
}

void WorkQueue::close() {
  {
    std::scoped_lock lock(state_->mutex);
    state_->closed = true;
  }
  state_->changed.notify();
}

size_t WorkQueue::size() const {
  std::scoped_lock lock(state_->mutex);
  return state_->order.size() + state_->delayed.size();
}

}  // namespace api
