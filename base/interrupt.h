// Ends waits that would go on for long, all at once: watches when the server stops. Thread-safe.
#pragma once

#include <atomic>
#include <mutex>
#include <unordered_set>

#include "base/io.h"

namespace base {

class Interrupt {
 public:
  // Once; races that begin afterwards end at once.
  void fire();
  bool fired() const { return fired_.load(std::memory_order_acquire); }

 private:
  friend Task<> race(Task<> a, Task<> b, Interrupt* by);
  std::atomic<bool> fired_ = false;
  std::mutex mutex_;
  std::unordered_set<Event*> waiting_;
};

// As race(a, b); both are also cancelled when the interrupt fires. Null: never.
Task<> race(Task<> a, Task<> b, Interrupt* by);

}  // namespace base
