#include "api/workqueue.h"

#include <algorithm>
#include <deque>

namespace api {

// Invariants: `queued` holds exactly the keys in `order`, `due` those in `delayed` by their time; a key in `processing` that is added goes to `dirty` and is queued by done().
struct WorkQueue::State {
  base::Duration first, longest;
  mutable std::mutex mutex;
  std::deque<std::pair<std::string, base::TimePoint>> order;
  std::set<std::string> queued, dirty;
  std::map<std::string, base::TimePoint> processing;  // since when
  Stats stats;
  std::map<std::string, base::TimePoint> delayed;
  std::set<std::pair<base::TimePoint, std::string>> due;
  std::map<std::string, int> failures;
  bool closed = false;
  base::Event changed;

  void add_locked(const std::string& key) {
    if (closed) return;
    if (processing.contains(key)) {
      if (dirty.insert(key).second) ++stats.adds;
    } else if (queued.insert(key).second) {
      order.emplace_back(key, base::Clock::now());
      ++stats.adds;
    }
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
    if (!inserted) {
      if (it->second <= at) return;
      state_->due.erase({it->second, it->first});
      it->second = at;
    }
    state_->due.emplace(at, it->first);
  }
  state_->changed.notify();
}

void WorkQueue::add_failed(std::string key) {
  base::Duration delay;
  {
    std::scoped_lock lock(state_->mutex);
    int n = state_->failures[key]++;
    ++state_->stats.retries;
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
      while (!state_->due.empty() && state_->due.begin()->first <= now) {
        auto first = state_->due.extract(state_->due.begin());
        state_->add_locked(first.value().second);
        state_->delayed.erase(first.value().second);
      }
      if (!state_->due.empty()) next = state_->due.begin()->first;
      if (!state_->order.empty()) {
        auto [key, since] = std::move(state_->order.front());
        state_->order.pop_front();
        state_->queued.erase(key);
        state_->processing.emplace(key, now);
        state_->stats.waited.add(now - since);
        co_return std::move(key);
      }
    }
    co_await state_->changed.wait(seen, next);
  }
}

void WorkQueue::done(const std::string& key) {
  {
    std::scoped_lock lock(state_->mutex);
    if (auto it = state_->processing.find(key); it != state_->processing.end()) {
      state_->stats.worked.add(base::Clock::now() - it->second);
      state_->processing.erase(it);
    }
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

void WorkQueue::Durations::add(base::Duration d) {
  const double s = std::chrono::duration<double>(d).count();
  size_t i = 0;
  for (double bound = 1e-8; i < kBuckets && s > bound; bound *= 10) ++i;
  if (i < kBuckets) ++buckets[i];
  ++count;
  seconds += s;
}

WorkQueue::Stats WorkQueue::stats() const {
  std::scoped_lock lock(state_->mutex);
  Stats out = state_->stats;
  out.depth = state_->order.size();
  auto now = base::Clock::now();
  for (const auto& [key, since] : state_->processing) {
    const double s = std::chrono::duration<double>(now - since).count();
    out.unfinished += s;
    out.longest = std::max(out.longest, s);
  }
  return out;
}

size_t WorkQueue::size() const {
  std::scoped_lock lock(state_->mutex);
  return state_->order.size() + state_->delayed.size();
}

}  // namespace api
