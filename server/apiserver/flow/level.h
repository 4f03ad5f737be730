// A priority level and its queues. State is guarded by FlowControl's mutex; the counters are for metrics. Internal to flow/.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/io.h"
#include "server/apiserver/flow/schema.h"

namespace server::flow {

struct Waiter {
  base::Event granted_event;
  bool granted = false;
  unsigned seats = 1;
  int queue = 0;
  std::shared_ptr<Waiter> next;
};

// First come, first served; among queues, the one whose next start is earliest in virtual time.
struct Queue {
  std::shared_ptr<Waiter> head;
  Waiter* tail = nullptr;
  uint32_t length = 0;
  double start = 0;
};

constexpr double kWaitBounds[] = {0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30};

struct Durations {
  std::atomic<uint64_t> buckets[std::size(kWaitBounds) + 1] = {};
  std::atomic<uint64_t> microseconds = 0;
  void add(double seconds) {
    size_t i = 0;
    while (i < std::size(kWaitBounds) && seconds > kWaitBounds[i]) ++i;
    buckets[i].fetch_add(1, std::memory_order_relaxed);
    microseconds.fetch_add(static_cast<uint64_t>(seconds * 1e6), std::memory_order_relaxed);
  }
};

struct Level {
  explicit Level(const api::flowcontrol::PriorityLevelConfiguration& o) : name(o.metadata.name), uid(o.metadata.uid), exempt(exempts(o)) {}
  static bool exempts(const api::flowcontrol::PriorityLevelConfiguration& o) { return o.spec.type == "Exempt"; }
  bool is(const api::flowcontrol::PriorityLevelConfiguration& o) const {
    return name == o.metadata.name && uid == o.metadata.uid && exempt == exempts(o);
  }

  // Requests read these without the lock: what differs in them is another level.
  const std::string name, uid;
  const bool exempt;
  bool queuing = false, quiescing = false;
  unsigned shares = 0, lendable_percent = 0;
  int borrowing_percent = -1;  // -1: no limit
  unsigned queue_count = 0, hand = 0, queue_limit = 0;

  // Seats: its share, what it keeps when others borrow, and the most it can have.
  unsigned nominal = 0, kept = 0, most = 0;
  unsigned in_use = 0, running = 0, waiting = 0;
  double virtual_time = 0;
  std::vector<Queue> queues;  // made when a request first waits
  std::atomic<unsigned> exempt_running = 0;

  void push(std::shared_ptr<Waiter> w) {
    Queue& q = queues[static_cast<size_t>(w->queue)];
    if (q.length == 0) q.start = std::max(q.start, virtual_time);
    Waiter* raw = w.get();
    if (q.tail) q.tail->next = std::move(w);
    else q.head = std::move(w);
    q.tail = raw;
    ++q.length;
    ++waiting;
  }
  std::shared_ptr<Waiter> pop(Queue& q) {
    std::shared_ptr<Waiter> w = std::move(q.head);
    q.head = std::move(w->next);
    if (!q.head) q.tail = nullptr;
    --q.length;
    --waiting;
    return w;
  }
  bool remove(const Waiter* w) {
    Queue& q = queues[static_cast<size_t>(w->queue)];
    Waiter* before = nullptr;
    for (std::shared_ptr<Waiter>* at = &q.head; *at; before = at->get(), at = &(*at)->next) {
      if (at->get() != w) continue;
      if (q.tail == w) q.tail = before;
      std::shared_ptr<Waiter> rest = std::move((*at)->next);
      *at = std::move(rest);
      --q.length;
      --waiting;
      return true;
    }
    return false;
  }
  Queue* earliest() {
    Queue* best = nullptr;
    for (Queue& q : queues)
      if (q.length > 0 && (!best || q.start < best->start)) best = &q;
    return best;
  }
};

enum Refusal { queue_full, concurrency_limit, time_out, refusals };
constexpr std::string_view kRefusals[] = {"queue-full", "concurrency-limit", "time-out"};

// Lives as long as the schema has its name, over changes of the configuration.
struct SchemaCounters {
  std::atomic<uint64_t> dispatched = 0, refused[refusals] = {};
  Durations waited, executed;
};

struct Schema {
  api::flowcontrol::FlowSchema object;
  Distinguisher by = Distinguisher::none;
  std::shared_ptr<Level> level;
  std::shared_ptr<SchemaCounters> counters;
};

struct Config {
  std::vector<Schema> schemas;  // by precedence, then name
  std::vector<std::shared_ptr<Level>> levels;
};

}  // namespace server::flow
