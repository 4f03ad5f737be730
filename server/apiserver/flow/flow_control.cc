#include "server/apiserver/flow/flow_control.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include <fmt/format.h>

#include "api/codec.h"
#include "server/apiserver/flow/defaults.h"
#include "server/apiserver/flow/level.h"

namespace server::flow {

using api::flowcontrol::FlowSchema;
using api::flowcontrol::PriorityLevelConfiguration;

namespace {

constexpr unsigned kWidest = 10;        // seats of one request
constexpr double kGuess = 0.003;        // seconds a request is taken to need until it is known

template <class T>
bool has_name(const std::vector<T>& list, std::string_view name) {
  return std::any_of(list.begin(), list.end(), [&](const T& o) { return o.metadata.name == name; });
}

void add_mandatory(std::vector<FlowSchema>& schemas, std::vector<PriorityLevelConfiguration>& levels) {
  for (const DefaultObject& d : default_objects()) {
    if (!d.mandatory) continue;
    base::json::value v(d.object);
    std::string_view kind = base::get_string(v, "kind"), name = base::get_string(v, "metadata.name");
    if (kind == "FlowSchema" && !has_name(schemas, name)) {
      if (auto o = api::decode<FlowSchema>(v)) schemas.push_back(std::move(*o));
    } else if (kind != "FlowSchema" && !has_name(levels, name)) {
      if (auto o = api::decode<PriorityLevelConfiguration>(v)) levels.push_back(std::move(*o));
    }
  }
}

unsigned at_least_zero(int32_t n) { return n < 0 ? 0u : static_cast<unsigned>(n); }

void read_level(Level& l, const PriorityLevelConfiguration& o) {
  l.quiescing = false;
  l.shares = l.exempt ? 0 : 30;
  l.lendable_percent = 0;
  l.borrowing_percent = -1;
  l.queuing = false;
  if (l.exempt) {
    if (o.spec.exempt) l.shares = at_least_zero(o.spec.exempt->nominalConcurrencyShares.value_or(0));
    return;
  }
  if (!o.spec.limited) return;
  const auto& limited = *o.spec.limited;
  l.shares = at_least_zero(limited.nominalConcurrencyShares.value_or(30));
  l.lendable_percent = std::min(100u, at_least_zero(limited.lendablePercent.value_or(0)));
  l.borrowing_percent = limited.borrowingLimitPercent ? static_cast<int>(at_least_zero(*limited.borrowingLimitPercent)) : -1;
  if (!limited.limitResponse || limited.limitResponse->type != "Queue") return;
  l.queuing = true;
  const auto* q = limited.limitResponse->queuing.get();
  auto setting = [](std::optional<int32_t> given, unsigned otherwise) {
    return given && *given > 0 ? static_cast<unsigned>(*given) : otherwise;
  };
  unsigned count = q ? setting(q->queues, 64) : 64;
  constexpr unsigned most_queues = 10'000;
  count = std::min(count, most_queues);
  if (!l.queues.empty() && count != l.queue_count && l.waiting == 0) l.queues.clear();
  if (l.queues.empty()) l.queue_count = count;
  l.hand = std::min(q ? setting(q->handSize, 8) : 8, l.queue_count);
  l.queue_limit = q ? setting(q->queueLengthLimit, 50) : 50;
}

// Seats by shares (KEP-1040, "nominal concurrency limit").
void share_seats(std::vector<std::shared_ptr<Level>>& levels, unsigned total) {
  unsigned shares = 0;
  for (auto& l : levels)
    if (!l->quiescing) shares += l->shares;
  unsigned pool = 0;
  for (auto& l : levels) {
    if (!l->quiescing && !l->exempt) {
      double part = shares ? static_cast<double>(total) * l->shares / shares : 0;
      l->nominal = std::max(1u, static_cast<unsigned>(std::ceil(part)));
    }
    l->kept = l->exempt ? 0 : l->nominal - static_cast<unsigned>(std::lround(l->nominal * l->lendable_percent / 100.0));
    if (!l->exempt) pool += l->nominal;
  }
  for (auto& l : levels) {
    l->most = pool;
    if (l->borrowing_percent >= 0)
      l->most = std::min(pool, l->nominal + static_cast<unsigned>(std::lround(l->nominal * l->borrowing_percent / 100.0)));
  }
}

}  // namespace

Ticket& Ticket::operator=(Ticket&& other) noexcept {
  if (this == &other) return *this;
  release();
  control_ = other.control_;
  config_ = std::move(other.config_);
  schema_ = other.schema_;
  level_ = other.level_;
  waiter_ = std::move(other.waiter_);
  begun_ = other.begun_;
  seats_ = other.seats_;
  queue_ = other.queue_;
  state_ = std::exchange(other.state_, State::none);
  watch_ = other.watch_;
  return *this;
}

void Ticket::release() {
  if (state_ == State::running || state_ == State::waiting) control_->finish(*this);
  state_ = State::none;
}

std::string_view Ticket::schema_uid() const { return schema_ ? std::string_view(schema_->object.metadata.uid) : std::string_view(); }
std::string_view Ticket::level_uid() const { return level_ ? std::string_view(level_->uid) : std::string_view(); }

FlowControl::FlowControl(unsigned total_seats) : total_(std::max(1u, total_seats)) { configure({}, {}); }
FlowControl::~FlowControl() = default;

void FlowControl::configure(std::vector<FlowSchema> schemas, std::vector<PriorityLevelConfiguration> levels) {
  add_mandatory(schemas, levels);
  auto next = std::make_shared<Config>();
  std::vector<std::shared_ptr<Waiter>> granted;
  {
    std::scoped_lock lock(mutex_);
    std::vector<std::shared_ptr<Level>> known;
    std::unordered_map<std::string_view, std::shared_ptr<SchemaCounters>> counters;
    if (config_) {
      known = config_->levels;
      for (const Schema& s : config_->schemas) counters[s.object.metadata.name] = s.counters;
    }
    for (const auto& o : levels) {
      auto it = std::find_if(known.begin(), known.end(), [&](const auto& l) { return l->is(o); });
      std::shared_ptr<Level> l = it == known.end() ? std::make_shared<Level>(o) : *it;
      if (it != known.end()) known.erase(it);
      read_level(*l, o);
      next->levels.push_back(std::move(l));
    }
    // Gone from the configuration, but with requests: served to their end with the seats they have.
    const size_t live = next->levels.size();
    for (const auto& l : known) {
      if (l->in_use == 0 && l->waiting == 0) continue;
      l->quiescing = true;
      next->levels.push_back(l);
    }
    share_seats(next->levels, total_);
    for (auto& o : schemas) {
      auto end = next->levels.begin() + static_cast<ptrdiff_t>(live);
      auto l =
          std::find_if(next->levels.begin(), end, [&](const auto& one) { return one->name == o.spec.priorityLevelConfiguration.name; });
      if (l == end) continue;
      Schema s;
      s.by = distinguisher_of(o);
      s.level = *l;
      auto it = counters.find(o.metadata.name);
      s.counters = it == counters.end() ? std::make_shared<SchemaCounters>() : it->second;
      s.object = std::move(o);
      s.object.metadata.managedFields.clear();
      next->schemas.push_back(std::move(s));
    }
    std::sort(next->schemas.begin(), next->schemas.end(), [](const Schema& a, const Schema& b) {
      int32_t x = a.object.spec.matchingPrecedence.value_or(1000), y = b.object.spec.matchingPrecedence.value_or(1000);
      return x != y ? x < y : a.object.metadata.name < b.object.metadata.name;
    });
    pool_ = pool_used_ = 0;
    for (const auto& l : next->levels) {
      if (l->exempt) continue;
      pool_ += l->nominal;
      pool_used_ += std::max(l->in_use, l->kept);
    }
    config_ = next;
    grant(granted);
  }
  for (auto& w : granted) w->granted_event.notify();
}

bool FlowControl::fits(const Level& l, unsigned seats, bool borrow) const {
  if (l.in_use == 0) return true;  // something always runs
  if (l.in_use + seats > (borrow ? l.most : l.nominal)) return false;
  return pool_used_ - std::max(l.in_use, l.kept) + std::max(l.in_use + seats, l.kept) <= pool_;
}

void FlowControl::take(Level& l, unsigned seats) {
  if (!l.exempt) pool_used_ -= std::max(l.in_use, l.kept);
  l.in_use += seats;
  ++l.running;
  if (!l.exempt) pool_used_ += std::max(l.in_use, l.kept);
}

void FlowControl::give_back(Level& l, unsigned seats) {
  if (!l.exempt) pool_used_ -= std::max(l.in_use, l.kept);
  l.in_use -= seats;
  --l.running;
  if (!l.exempt) pool_used_ += std::max(l.in_use, l.kept);
}

Ticket FlowControl::admit(const RequestView& request, unsigned seats) {
  Ticket t;
  t.control_ = this;
  t.begun_ = base::Clock::now();
  t.watch_ = request.verb == "watch";
  std::unique_lock lock(mutex_);
  do {
    t.config_ = config_;
    lock.unlock();
    // Somebody without any group matches nothing: the last one is for all.
    t.schema_ = &t.config_->schemas.back();
    for (const Schema& s : t.config_->schemas) {
      if (!matches(s.object, request)) continue;
      t.schema_ = &s;
      break;
    }
    t.level_ = t.schema_->level.get();
    if (t.level_->exempt) {
      t.level_->exempt_running.fetch_add(1, std::memory_order_relaxed);
      t.schema_->counters->dispatched.fetch_add(1, std::memory_order_relaxed);
      t.schema_->counters->waited.add(0);
      t.state_ = Ticket::State::running;
      return t;
    }
    lock.lock();
  } while (t.config_ != config_);  // a level that is not configured any more gets no more seats
  Level& l = *t.level_;
  SchemaCounters& counters = *t.schema_->counters;
  t.seats_ = std::clamp(seats, 1u, std::min(kWidest, l.nominal));
  // Nobody who waits is passed over.
  const bool at_once = l.waiting == 0 && fits(l, t.seats_, waiting_ == 0);
  if (!at_once && !l.queuing) {
    counters.refused[concurrency_limit].fetch_add(1, std::memory_order_relaxed);
    t.state_ = Ticket::State::refused;
    return t;
  }
  if (!at_once || !l.queues.empty()) {
    if (l.queues.empty()) l.queues.resize(l.queue_count);
    uint64_t hash = flow_hash(t.schema_->object.metadata.name, distinguish(t.schema_->by, request));
    uint32_t shortest = 0;
    bool first = true;
    for (uint32_t i : deal(hash, l.queue_count, l.hand)) {
      const Queue &a = l.queues[i], &b = l.queues[shortest];
      if (first || a.length < b.length || (a.length == b.length && a.start < b.start)) shortest = i;
      first = false;
    }
    t.queue_ = static_cast<int>(shortest);
  }
  if (at_once) {
    take(l, t.seats_);
    if (t.queue_ >= 0) {
      Queue& q = l.queues[static_cast<size_t>(t.queue_)];
      q.start = std::max(q.start, l.virtual_time) + t.seats_ * kGuess;
    }
    lock.unlock();
    counters.dispatched.fetch_add(1, std::memory_order_relaxed);
    counters.waited.add(0);
    t.state_ = Ticket::State::running;
    return t;
  }
  if (l.queues[static_cast<size_t>(t.queue_)].length >= l.queue_limit) {
    counters.refused[queue_full].fetch_add(1, std::memory_order_relaxed);
    t.state_ = Ticket::State::refused;
    return t;
  }
  t.waiter_ = std::make_shared<Waiter>();
  t.waiter_->seats = t.seats_;
  t.waiter_->queue = t.queue_;
  l.push(t.waiter_);
  ++waiting_;
  t.state_ = Ticket::State::waiting;
  return t;
}

Task<Result<>> FlowControl::wait(Ticket& t, base::Duration limit) {
  const base::TimePoint deadline = t.begun_ + limit;
  std::shared_ptr<Waiter> w = t.waiter_;
  for (;;) {
    uint64_t seen = w->granted_event.version();
    bool granted;
    {
      std::scoped_lock lock(mutex_);
      granted = w->granted;
    }
    if (granted) break;
    bool in_time = co_await w->granted_event.wait(seen, deadline);
    if (in_time) continue;
    std::scoped_lock lock(mutex_);
    if (w->granted) break;
    t.level_->remove(w.get());
    --waiting_;
    t.schema_->counters->refused[time_out].fetch_add(1, std::memory_order_relaxed);
    t.state_ = Ticket::State::refused;
    co_return refusal();
  }
  auto now = base::Clock::now();
  t.schema_->counters->dispatched.fetch_add(1, std::memory_order_relaxed);
  t.schema_->counters->waited.add(std::chrono::duration<double>(now - t.begun_).count());
  t.begun_ = now;
  t.state_ = Ticket::State::running;
  co_return Result<>{};
}

void FlowControl::finish(Ticket& t) {
  Level& l = *t.level_;
  if (t.seats_ == 0) {  // of an exempt level
    l.exempt_running.fetch_sub(1, std::memory_order_relaxed);
    t.schema_->counters->executed.add(std::chrono::duration<double>(base::Clock::now() - t.begun_).count());
    return;
  }
  double took = std::chrono::duration<double>(base::Clock::now() - t.begun_).count();
  std::vector<std::shared_ptr<Waiter>> granted;
  {
    std::scoped_lock lock(mutex_);
    if (t.state_ == Ticket::State::waiting && !t.waiter_->granted) {  // given up: the request was cancelled
      l.remove(t.waiter_.get());
      --waiting_;
      return;
    }
    give_back(l, t.seats_);
    // What it really took is charged to its queue in place of the guess.
    if (t.queue_ >= 0 && static_cast<size_t>(t.queue_) < l.queues.size()) {
      Queue& q = l.queues[static_cast<size_t>(t.queue_)];
      q.start = std::max(0.0, q.start + t.seats_ * (took - kGuess));
    }
    if (waiting_ > 0) grant(granted);
  }
  t.schema_->counters->executed.add(took);
  for (auto& w : granted) w->granted_event.notify();
}

bool FlowControl::grant_next(Level& l, bool borrow, std::vector<std::shared_ptr<Waiter>>& granted) {
  Queue* q = l.earliest();
  if (!q || !fits(l, q->head->seats, borrow)) return false;
  std::shared_ptr<Waiter> w = l.pop(*q);
  --waiting_;
  l.virtual_time = std::max(l.virtual_time, q->start);
  q->start += w->seats * kGuess;
  take(l, w->seats);
  w->granted = true;
  granted.push_back(std::move(w));
  return true;
}

// Each level its own seats first; then what is left over is lent.
void FlowControl::grant(std::vector<std::shared_ptr<Waiter>>& granted) {
  for (bool borrow : {false, true}) {
    for (const auto& l : config_->levels) {
      while (waiting_ > 0 && l->waiting > 0 && grant_next(*l, borrow, granted)) {
      }
    }
  }
}

base::Failure FlowControl::refusal() { return base::too_many_requests("Too many requests, please try again later.", 1); }

}  // namespace server::flow
