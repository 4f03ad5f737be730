// A bounded queue between coroutines, any number of producers and consumers, safe from any thread.
#pragma once

#include <deque>
#include <mutex>
#include <optional>

#include "base/io.h"

namespace base {

template <class T>
class Channel {
 public:
  // When `bound` entries wait, push() refuses.
  explicit Channel(size_t bound) : bound_(bound) {}

  // False when full or closed: the entry is dropped and the caller decides what that means.
  bool push(T value) {
    {
      std::scoped_lock lock(mutex_);
      if (closed_ || queue_.size() >= bound_) return false;
      queue_.push_back(std::move(value));
    }
    event_.notify();
    return true;
  }

  // Waits for an entry. Empty once closed and drained.
  Task<std::optional<T>> pop() {
    for (;;) {
      uint64_t seen = event_.version();
      if (auto v = try_pop()) co_return v;
      if (closed()) co_return std::nullopt;
      co_await event_.wait(seen);
    }
  }

  std::optional<T> try_pop() {
    std::scoped_lock lock(mutex_);
    if (queue_.empty()) return std::nullopt;
    std::optional<T> v(std::move(queue_.front()));
    queue_.pop_front();
    return v;
  }

  // No more entries are taken; those that wait are still handed out.
  void close() {
    {
      std::scoped_lock lock(mutex_);
      closed_ = true;
    }
    event_.notify();
  }

  bool closed() const {
    std::scoped_lock lock(mutex_);
    return closed_;
  }

  size_t size() const {
    std::scoped_lock lock(mutex_);
    return queue_.size();
  }

 private:
  const size_t bound_;
  mutable std::mutex mutex_;
  std::deque<T> queue_;
  bool closed_ = false;
  Event event_;
};

}  // namespace base
