// API Priority and Fairness: how many requests run at a time, by priority level, and who waits (KEP-1040).
//
// A request is matched to a FlowSchema and runs at its level. A level has seats: a share of all, part of which others may borrow while it is idle. Without
// a free seat a request waits in one of a few queues its flow was dealt, and queues are served by start-time fair queueing; or it is refused. What it costs
// when nobody waits: a match over the schemas and two short locks. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/io.h"
#include "server/apiserver/flow/schema.h"

namespace server::flow {

using base::Result;
using base::Task;

struct Level;
struct Schema;
struct Config;
struct Waiter;
class FlowControl;

// A request's place: it waits, runs (until release() or the end of this object), or was refused.
class Ticket {
 public:
  enum class State { none, running, waiting, refused };
  Ticket() = default;
  Ticket(Ticket&& other) noexcept { *this = std::move(other); }
  Ticket& operator=(Ticket&& other) noexcept;
  ~Ticket() { release(); }
  State state() const { return state_; }
  void release();
  // Of the FlowSchema and the PriorityLevelConfiguration, for the response's headers; valid while this is.
  std::string_view schema_uid() const;
  std::string_view level_uid() const;

 private:
  friend class FlowControl;
  FlowControl* control_ = nullptr;
  std::shared_ptr<const Config> config_;  // keeps the two below
  const Schema* schema_ = nullptr;
  Level* level_ = nullptr;
  std::shared_ptr<Waiter> waiter_;
  base::TimePoint begun_{};
  unsigned seats_ = 0;
  int queue_ = -1;
  State state_ = State::none;
  bool watch_ = false;
};

class FlowControl {
 public:
  explicit FlowControl(unsigned total_seats);
  ~FlowControl();

  // Takes the objects as they are now; requests that run or wait keep their level. A schema whose level is missing is left out; the mandatory objects are
  // there even when they are not given.
  void configure(std::vector<api::flowcontrol::FlowSchema> schemas, std::vector<api::flowcontrol::PriorityLevelConfiguration> levels);

  // Decides at once. `seats` is capped by what the level may have.
  Ticket admit(const RequestView& request, unsigned seats);
  // For a ticket that waits: until it runs, or 429 when the time is up.
  Task<Result<>> wait(Ticket& ticket, base::Duration limit = std::chrono::seconds(15));
  static base::Failure refusal();

  // Prometheus text of the apiserver_flowcontrol_* series.
  void write_metrics(std::string& out) const;

 private:
  friend class Ticket;
  void finish(Ticket& ticket);
  bool fits(const Level& level, unsigned seats, bool borrow) const;
  void take(Level& level, unsigned seats);
  void give_back(Level& level, unsigned seats);
  bool grant_next(Level& level, bool borrow, std::vector<std::shared_ptr<Waiter>>& granted);
  void grant(std::vector<std::shared_ptr<Waiter>>& granted);

  const unsigned total_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Config> config_;
  unsigned pool_ = 0;        // seats of all levels together
  unsigned pool_used_ = 0;   // taken, or kept by levels that do not lend them
  unsigned waiting_ = 0;     // requests, over all levels
};

}  // namespace server::flow
