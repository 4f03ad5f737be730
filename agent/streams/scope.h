// Structured concurrency on one strand: children end before the scope does, also when it is cancelled; and what children share.
#pragma once

#include <deque>
#include <functional>
#include <span>
#include <string>

#include "base/io.h"

namespace agent {

using base::Result;
using base::Task;

// Runs body with a set of children; when body returns, throws or is cancelled, cancels the children and waits for their end.
// Children should be spawned on the caller's strand (base::this_executor()).
Task<> with_children(base::Runtime& runtime, std::function<Task<>(base::Tasks& children)> body);

// One coroutine at a time; strand-bound. co_await take(), hold the guard.
class Turn {
 public:
  class Guard {
   public:
    explicit Guard(Turn* t) : turn_(t) {}
    Guard(Guard&& o) noexcept : turn_(std::exchange(o.turn_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (turn_) turn_->release();
    }

   private:
    Turn* turn_;
  };
  Task<Guard> take();

 private:
  void release() {
    busy_ = false;
    free_.notify();
  }
  bool busy_ = false;
  base::Event free_;
};

// A bounded byte queue between coroutines of one strand.
class BytePipe {
 public:
  explicit BytePipe(size_t bound = 256 * 1024) : bound_(bound) {}
  // Waits while more than the bound is queued. Dropped when closed for reading.
  Task<> push(std::string bytes);
  // At least one byte; 0 at the end.
  Task<size_t> read(std::span<char> into);
  // No more will come; what is queued can still be read.
  void end();
  // The reader has gone: drops what is queued and what comes.
  void discard();
  bool ended() const { return ended_; }

 private:
  const size_t bound_;
  std::deque<std::string> chunks_;
  size_t offset_ = 0;  // read of chunks_.front()
  size_t size_ = 0;
  bool ended_ = false, discarded_ = false;
  base::Event changed_;
};

}  // namespace agent
