// The pods that wait for a node: active (by priority, then age), backing off, or parked until something changes that can help.
// Time is a parameter. Not thread-safe: belongs to the scheduler's strand.
#pragma once

#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "base/io.h"
#include "server/scheduler/model.h"

namespace server::scheduler {

// What may make a parked pod schedulable.
enum Wait : uint8_t { wait_nodes = 1, wait_resources = 2, wait_pods = 4, wait_volumes = 8, wait_all = 15 };

class Queue {
 public:
  struct Backoff {
    base::Duration first = std::chrono::milliseconds(50), longest = std::chrono::seconds(10), park = std::chrono::minutes(5);
  };
  explicit Queue(Backoff backoff) : backoff_(backoff) {}

  // A new pod, or a changed one: it is tried (again).
  void add(PodPtr pod, base::TimePoint now);
  void remove(const std::string& uid);
  // The next pod to try; it stays known (attempts, age) until remove(), and must be parked or put back.
  PodPtr pop(base::TimePoint now);
  void park(const std::string& uid, uint8_t waits, base::TimePoint now);
  void put_back(const std::string& uid, base::TimePoint now);  // tries again after back-off
  // Something of these kinds changed.
  void moved(uint8_t kinds, base::TimePoint now);
  // When pop() may have something though nothing was added.
  std::optional<base::TimePoint> deadline() const;
  PodPtr find(const std::string& uid) const;
  size_t active() const { return active_.size(); }

 private:
  enum class State { active, backing_off, parked, popped };
  using Order = std::tuple<int64_t, uint64_t, std::string>;  // -priority, age, uid
  struct Entry {
    PodPtr pod;
    State state = State::active;
    uint64_t age = 0;
    int attempts = 0;
    uint8_t waits = 0;
    base::TimePoint attempted, wake;
  };
  base::TimePoint backoff_end(const Entry& e) const;
  void unlink(const std::string& uid, Entry& e);
  void activate(const std::string& uid, Entry& e);
  void sleep_until(const std::string& uid, Entry& e, State state, base::TimePoint wake);

  Backoff backoff_;
  std::unordered_map<std::string, Entry> entries_;
  std::set<Order> active_;
  std::set<std::pair<base::TimePoint, std::string>> sleeping_;  // backing off and parked, by wake
  uint64_t next_age_ = 0;
};

}  // namespace server::scheduler
