#include "base/io.h"

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <list>
#include <thread>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/interrupt.h"
#include "base/log.h"

namespace base {
namespace asio = boost::asio;

namespace {

// Threads for blocking work: started on demand, gone after ten idle seconds, or joined at the end of the last runtime. That is before the
// process's end: a thread that outlived OpenSSL's clean-up would leave what OpenSSL keeps for it.
class BlockingPool {
 public:
  static constexpr size_t kMaxThreads = 16;

  void enter() {
    std::scoped_lock lock(mutex_);
    ++runtimes_;
  }
  void leave() {
    std::unique_lock lock(mutex_);
    quiet_.wait(lock, [&] { return queue_.empty() && busy_ == 0; });
    if (--runtimes_ > 0) return;
    stopping_ = true;
    wake_.notify_all();
    std::list<std::thread> all;
    all.swap(threads_);
    lock.unlock();
    for (std::thread& t : all) t.join();
    lock.lock();
    stopping_ = false;
  }

  void run(std::move_only_function<void()> f) {
    std::unique_lock lock(mutex_);
    queue_.push_back(std::move(f));
    if (queue_.size() <= idle_ || threads_.size() == kMaxThreads) {
      wake_.notify_one();
      return;
    }
    threads_.emplace_back([this] { work(); });
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      while (!queue_.empty()) {
        auto f = std::move(queue_.front());
        queue_.pop_front();
        ++busy_;
        lock.unlock();
        f();
        f = nullptr;
        lock.lock();
        if (--busy_ == 0) quiet_.notify_all();
      }
      if (stopping_) break;
      ++idle_;
      bool woken = wake_.wait_for(lock, 10s, [&] { return stopping_ || !queue_.empty(); });
      --idle_;
      if (!woken) break;
    }
    if (stopping_) return;  // and is joined
    auto self =
        std::find_if(threads_.begin(), threads_.end(), [](const std::thread& t) { return t.get_id() == std::this_thread::get_id(); });
    self->detach();
    threads_.erase(self);
  }

  std::mutex mutex_;
  std::condition_variable wake_, quiet_;
  std::deque<std::move_only_function<void()>> queue_;
  std::list<std::thread> threads_;
  size_t runtimes_ = 0, idle_ = 0, busy_ = 0;
  bool stopping_ = false;
};

BlockingPool& blocking_pool() {
  static BlockingPool& pool = *new BlockingPool;  // a process may exit in the middle of things
  return pool;
}

}  // namespace

struct Runtime::Impl {
  unsigned threads;
  asio::io_context context;
  asio::executor_work_guard<asio::io_context::executor_type> guard;
  std::list<asio::signal_set> signal_sets;

  explicit Impl(unsigned n) : threads(n), context(static_cast<int>(n)), guard(context.get_executor()) {}
};

Runtime::Runtime(unsigned threads) {
  if (threads == 0) threads = std::min(4u, std::max(1u, std::thread::hardware_concurrency()));
  impl_ = std::make_unique<Impl>(threads);
  blocking_pool().enter();
}

// The pool's work holds executors of this runtime and frames of its coroutines.
Runtime::~Runtime() { blocking_pool().leave(); }

Executor Runtime::strand() { return asio::make_strand(impl_->context); }

void Runtime::run() {
  auto loop = [this] {
    for (;;) {
      try {
        impl_->context.run();
        return;
      } catch (const std::exception& e) {
        log::error("runtime", "an exception escaped a handler: {}", e.what());
      }
    }
  };
  std::vector<std::jthread> others;
  for (unsigned i = 1; i < impl_->threads; ++i) others.emplace_back(loop);
  loop();
}

void Runtime::stop() { impl_->context.stop(); }

void Runtime::on_signal(std::vector<int> signals, std::function<void(int)> f) {
  auto& set = impl_->signal_sets.emplace_back(strand());
  for (int s : signals) set.add(s);
  auto wait = std::make_shared<std::function<void()>>();
  *wait = [&set, f = std::move(f), weak = std::weak_ptr(wait)] {
    set.async_wait([f, self = weak.lock()](const boost::system::error_code& ec, int signal) {
      if (ec) return;
      f(signal);
      if (self) (*self)();
    });
  };
  (*wait)();
}

Task<Executor> this_executor() { co_return co_await asio::this_coro::executor; }

Task<> sleep_until(TimePoint t) {
  asio::steady_timer timer(co_await asio::this_coro::executor, t);
  co_await timer.async_wait(asio::use_awaitable);
}

Task<> sleep_for(Duration d) { return sleep_until(Clock::now() + d); }

void post(const Executor& strand, std::move_only_function<void()> f) {
  asio::post(strand, [f = std::make_shared<std::move_only_function<void()>>(std::move(f))] { (*f)(); });
}

Task<> run_blocking(std::move_only_function<void()> f) {
  std::exception_ptr failure;
  auto executor = co_await asio::this_coro::executor;
  auto initiate = [&](auto handler) {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    // Keeps the loop alive while only the pool works.
    auto work = asio::make_work_guard(executor);
    blocking_pool().run([&f, &failure, executor, shared, work = std::move(work)]() mutable {
      try {
        f();
      } catch (...) {
        failure = std::current_exception();
      }
      asio::post(executor, [shared] { std::move (*shared)(); });
    });
  };
  // The slot is left empty: cancelling must not resume the caller while the pool still uses its frame.
  co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(initiate, asio::use_awaitable);
  if (failure) std::rethrow_exception(failure);
}

// --- Event

struct Event::State {
  struct Waiter {
    asio::steady_timer timer;
    bool fired = false;  // touched on the timer's strand only
    explicit Waiter(const Executor& e) : timer(e) {}
  };
  mutable std::mutex mutex;
  uint64_t version = 1;
  std::vector<std::shared_ptr<Waiter>> waiters;
};

Event::Event() : state_(std::make_shared<State>()) {}
Event::~Event() = default;

uint64_t Event::version() const {
  std::scoped_lock lock(state_->mutex);
  return state_->version;
}

void Event::notify() {
  std::vector<std::shared_ptr<State::Waiter>> waiters;
  {
    std::scoped_lock lock(state_->mutex);
    ++state_->version;
    waiters.swap(state_->waiters);
  }
  for (auto& w : waiters) {
    asio::post(w->timer.get_executor(), [w] {
      w->fired = true;
      w->timer.cancel();
    });
  }
}

Task<bool> Event::wait(uint64_t seen, std::optional<TimePoint> deadline) {
  auto state = state_;  // the Event may be destroyed while we wait
  auto executor = co_await asio::this_coro::executor;
  auto waiter = std::make_shared<State::Waiter>(executor);
  {
    std::scoped_lock lock(state->mutex);
    if (state->version != seen) co_return true;
    state->waiters.push_back(waiter);
  }
  struct Remove {
    State& state;
    std::shared_ptr<State::Waiter>& waiter;
    ~Remove() {
      std::scoped_lock lock(state.mutex);
      std::erase(state.waiters, waiter);
    }
  } remove{*state, waiter};
  waiter->timer.expires_at(deadline.value_or(TimePoint::max()));
  boost::system::error_code ec;
  co_await waiter->timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  if (waiter->fired) co_return true;
  auto cancelled = co_await asio::this_coro::cancellation_state;
  if (cancelled.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(asio::error::operation_aborted);
  std::scoped_lock lock(state->mutex);
  co_return state->version != seen;
}

// --- Tasks

struct Tasks::State {
  struct Entry {
    std::string name;
    Executor strand;
    asio::cancellation_signal cancel;
  };
  mutable std::mutex mutex;
  std::list<std::shared_ptr<Entry>> entries;
  bool stopping = false;
  Event ended;
};

Tasks::Tasks(Runtime& runtime) : runtime_(runtime), state_(std::make_shared<State>()) {}
Tasks::~Tasks() = default;

void Tasks::spawn(std::string name, Task<> task) { spawn(std::move(name), runtime_.strand(), std::move(task)); }

void Tasks::spawn(std::string name, Executor strand, Task<> task) {
  auto entry = std::make_shared<State::Entry>();
  entry->name = std::move(name);
  entry->strand = strand;
  {
    std::scoped_lock lock(state_->mutex);
    if (state_->stopping) return;
    state_->entries.push_back(entry);
  }
  auto done = [state = state_, entry](std::exception_ptr failure) {
    if (failure) {
      try {
        std::rethrow_exception(failure);
      } catch (const boost::system::system_error& e) {
        if (e.code() != asio::error::operation_aborted) log::error("tasks", "{} ended by an exception: {}", entry->name, e.what());
      } catch (const std::exception& e) {
        log::error("tasks", "{} ended by an exception: {}", entry->name, e.what());
      }
    }
    {
      std::scoped_lock lock(state->mutex);
      state->entries.remove(entry);
    }
    state->ended.notify();
  };
  // Spawned from the strand, so that the cancellation slot is only touched there.
  post(strand, [strand, entry, task = std::move(task), done = std::move(done)]() mutable {
    asio::co_spawn(strand, std::move(task), asio::bind_cancellation_slot(entry->cancel.slot(), std::move(done)));
  });
}

Task<> Tasks::stop() {
  {
    std::scoped_lock lock(state_->mutex);
    state_->stopping = true;
    for (auto& e : state_->entries) {
      asio::post(e->strand, [e] { e->cancel.emit(asio::cancellation_type::terminal); });
    }
  }
  for (;;) {
    uint64_t seen = state_->ended.version();
    if (running() == 0) co_return;
    if (co_await state_->ended.wait(seen, Clock::now() + 3s)) continue;
    std::scoped_lock lock(state_->mutex);
    for (auto& e : state_->entries) log::warn("tasks", "{} takes long to stop", e->name);
  }
}

size_t Tasks::running() const {
  std::scoped_lock lock(state_->mutex);
  return state_->entries.size();
}

// --- with_timeout, run_to_end

Task<Result<>> with_timeout(Duration d, Task<Result<>> task) {
  struct Race {
    std::optional<Result<>> result;
    std::exception_ptr failure;
    asio::cancellation_signal cancel;
    Event done;
  };
  auto race = std::make_shared<Race>();
  auto executor = co_await asio::this_coro::executor;
  uint64_t seen = race->done.version();
  asio::co_spawn(executor, std::move(task), asio::bind_cancellation_slot(race->cancel.slot(), [race](std::exception_ptr e, Result<> r) {
                   race->failure = e;
                   race->result = std::move(r);
                   race->done.notify();
                 }));
  bool cancelled = false;
  std::exception_ptr outer;
  try {
    cancelled = !co_await race->done.wait(seen, Clock::now() + d);
  } catch (...) {
    outer = std::current_exception();
  }
  if (outer || cancelled) race->cancel.emit(asio::cancellation_type::terminal);
  if (outer) std::rethrow_exception(outer);
  if (cancelled) {
    while (!race->result) {
      uint64_t v = race->done.version();
      if (race->result) break;
      co_await race->done.wait(v);
    }
    co_return timeout("the operation did not end in time");
  }
  if (race->failure) std::rethrow_exception(race->failure);
  co_return std::move(*race->result);
}

void Interrupt::fire() {
  fired_.store(true, std::memory_order_release);
  std::scoped_lock lock(mutex_);
  for (Event* e : waiting_) e->notify();
}

Task<> race(Task<> a, Task<> b) { return race(std::move(a), std::move(b), nullptr); }

Task<> race(Task<> a, Task<> b, Interrupt* by) {
  struct Two {
    int ended = 0;
    std::exception_ptr failure;
    asio::cancellation_signal cancel_a, cancel_b;
    Event done;
    void end(std::exception_ptr e) {
      if (ended++ == 0) failure = e;
      done.notify();
    }
  };
  auto two = std::make_shared<Two>();
  auto executor = co_await asio::this_coro::executor;
  asio::co_spawn(executor, std::move(a), asio::bind_cancellation_slot(two->cancel_a.slot(), [two](std::exception_ptr e) { two->end(e); }));
  asio::co_spawn(executor, std::move(b), asio::bind_cancellation_slot(two->cancel_b.slot(), [two](std::exception_ptr e) { two->end(e); }));
  std::exception_ptr outer;
  if (by) {
    std::scoped_lock lock(by->mutex_);
    by->waiting_.insert(&two->done);
  }
  try {
    for (;;) {
      uint64_t seen = two->done.version();
      if (two->ended > 0 || (by && by->fired())) break;
      co_await two->done.wait(seen);
    }
  } catch (...) {
    outer = std::current_exception();
  }
  if (by) {
    std::scoped_lock lock(by->mutex_);
    by->waiting_.erase(&two->done);
  }
  const bool interrupted = two->ended == 0;
  // The end of both is waited for even when the caller is being cancelled; that is raised afterwards.
  co_await asio::this_coro::throw_if_cancelled(false);
  two->cancel_a.emit(asio::cancellation_type::terminal);
  two->cancel_b.emit(asio::cancellation_type::terminal);
  for (;;) {
    uint64_t seen = two->done.version();
    if (two->ended == 2) break;
    try {
      co_await two->done.wait(seen);
    } catch (const boost::system::system_error&) {
    }
  }
  co_await asio::this_coro::throw_if_cancelled(true);
  if (outer) std::rethrow_exception(outer);
  if (two->failure && !interrupted) std::rethrow_exception(two->failure);
}

void run_to_end(Runtime& runtime, Task<> task) {
  std::exception_ptr failure;
  asio::co_spawn(runtime.strand(), std::move(task), [&](std::exception_ptr e) {
    failure = e;
    runtime.stop();
  });
  runtime.run();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace base
