// Delays between attempts: doubling from first to longest, forgotten after a good while. Pure.
#pragma once

#include <algorithm>
#include <chrono>

#include "base/io.h"

namespace agent {

class BackOff {
 public:
  // kubelet's values: 10 s, 5 min, and twice the longest as the healthy time that starts it afresh. free_attempts: how many come without delay
  // (the first restart of a container is immediate, the first repetition of a pull is not).
  explicit BackOff(int free_attempts = 0, base::Duration first = std::chrono::seconds(10), base::Duration longest = std::chrono::minutes(5))
      : free_(free_attempts), first_(first), longest_(longest) {}

  // Notes an attempt that ended at `now` after having gone well for `healthy`; returns when the next one may begin.
  base::TimePoint failed(base::TimePoint now, base::Duration healthy = base::Duration::zero()) {
    if (healthy >= 2 * longest_) reset();
    if (failures_++ < free_) {
      delay_ = base::Duration::zero();
    } else {
      delay_ = delay_ == base::Duration::zero() ? first_ : std::min(delay_ * 2, longest_);
    }
    until_ = now + delay_;
    return until_;
  }
  void reset() {
    failures_ = 0;
    delay_ = base::Duration::zero();
    until_ = {};
  }
  bool waiting(base::TimePoint now) const { return now < until_; }
  base::TimePoint until() const { return until_; }
  base::Duration delay() const { return delay_; }

 private:
  int free_, failures_ = 0;
  base::Duration first_, longest_, delay_{};
  base::TimePoint until_{};
};

}  // namespace agent
