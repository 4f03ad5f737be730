// The io runtime: one Asio io_context, a few threads, coroutines on strands, a pool for what blocks.
//
// Rules. Every coroutine runs on a strand (Tasks::spawn makes one when none is given); state shared between coroutines
// belongs to one strand, is immutable behind shared_ptr<const T>, or is guarded by a mutex that is never held
// across co_await. Blocking work (SQLite, fsync, unpacking, waitpid) goes through offload().
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "base/error.h"

namespace base {

template <class T = void>
using Task = boost::asio::awaitable<T>;
using Executor = boost::asio::any_io_executor;
using Clock = std::chrono::steady_clock;
using Duration = Clock::duration;
using TimePoint = Clock::time_point;
using namespace std::chrono_literals;

// Owns the io_context, its threads and the blocking pool.
class Runtime {
 public:
  // threads = 0: one per core, at most 4.
  explicit Runtime(unsigned threads = 0);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // A new serial executor. Coroutines spawned on it never run at the same time.
  Executor strand();
  // Runs the loop on all threads; returns after stop(). The calling thread takes part.
  void run();
  // Makes run() return. Safe from any thread; not from a signal handler.
  void stop();
  // Calls f once for each of the signals, on a strand of its own, until the runtime is destroyed.
  void on_signal(std::vector<int> signals, std::function<void(int)> f);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// The strand the calling coroutine runs on.
Task<Executor> this_executor();

// Suspends for d. Ends early, by an exception, when the task is cancelled.
Task<> sleep_for(Duration d);
Task<> sleep_until(TimePoint t);

// Runs f on the blocking pool and resumes on the caller's strand. Not cancellable once f has begun. An exception of f is rethrown.
// The pool grows to at most 16 threads, which end after 10 s without work.
Task<> run_blocking(std::move_only_function<void()> f);

template <class F>
Task<std::invoke_result_t<F>> offload(F f) {
  using R = std::invoke_result_t<F>;
  if constexpr (std::is_void_v<R>) {
    co_await run_blocking(std::move(f));
  } else {
    std::optional<R> result;
    co_await run_blocking([&] { result.emplace(f()); });
    co_return std::move(*result);
  }
}

// Queues f on the strand; returns at once.
void post(const Executor& strand, std::move_only_function<void()> f);

// A condition coroutines can wait for. Safe from any thread: notify() wakes all who wait now.
// Check the condition, then wait(version seen before the check): a notify in between is not lost.
class Event {
 public:
  Event();
  ~Event();
  uint64_t version() const;
  void notify();
  // Returns when version() differs from seen; true. With a deadline: false when it passed first.
  Task<bool> wait(uint64_t seen, std::optional<TimePoint> deadline = std::nullopt);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Background work with one owner: spawn() starts it, stop() cancels everything and waits for its end.
// What escapes a task as an exception is logged with its name. Safe from any thread.
class Tasks {
 public:
  explicit Tasks(Runtime& runtime);
  // Requires that stop() has completed or the runtime no longer runs.
  ~Tasks();
  // On a new strand, or on the one given. After stop() the coroutine is destroyed unstarted.
  void spawn(std::string name, Task<> task);
  void spawn(std::string name, Executor strand, Task<> task);
  // Cancels all (their next co_await throws) and waits for their end.
  Task<> stop();
  size_t running() const;
  Runtime& runtime() { return runtime_; }

 private:
  struct State;
  Runtime& runtime_;
  std::shared_ptr<State> state_;
};

// Races task against the deadline; cancels it and returns 504 Timeout when the deadline comes first.
// Instantiate for few types: void and the ones listed in io.cc.
Task<Result<>> with_timeout(Duration d, Task<Result<>> task);

// Runs both on the caller's strand; when one ends (or the caller is cancelled) cancels the other and waits for its end. What references the two
// hold therefore only has to outlive this call. An exception of the one that ended first is rethrown.
Task<> race(Task<> a, Task<> b);

// Runs a coroutine to its end on a private runtime: for tests and one-shot commands.
void run_to_end(Runtime& runtime, Task<> task);

}  // namespace base
