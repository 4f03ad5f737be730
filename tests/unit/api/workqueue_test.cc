#include <catch2/catch.hpp>

#include "api/reconciler.h"
#include "api/workqueue.h"

using namespace base;
using namespace std::chrono_literals;

namespace {

template <class F>
void on_loop(F f) {
  Runtime runtime(2);
  run_to_end(runtime, f());
}

}  // namespace

TEST_CASE("a key added twice is handed out once") {
  on_loop([]() -> Task<> {
    api::WorkQueue q;
    q.add("a");
    q.add("a");
    q.add("b");
    CHECK(*co_await q.get() == "a");
    CHECK(*co_await q.get() == "b");
    CHECK(q.size() == 0);
  });
}

TEST_CASE("a key added while it is worked on comes back after done, not before") {
  on_loop([]() -> Task<> {
    api::WorkQueue q;
    q.add("a");
    auto first = co_await q.get();
    q.add("a");
    CHECK(q.size() == 0);
    q.done(*first);
    CHECK(q.size() == 1);
    CHECK(*co_await q.get() == "a");
  });
}

TEST_CASE("a queue counts what came, waits, is worked on and comes again") {
  on_loop([]() -> Task<> {
    api::WorkQueue q(1ms);
    q.add("a");
    q.add("a");
    q.add("b");
    auto first = co_await q.get();
    q.add("a");
    auto s = q.stats();
    CHECK(s.depth == 1);
    CHECK(s.adds == 3);
    CHECK(s.waited.count == 1);
    CHECK(s.longest > 0);
    q.done(*first);
    q.add_failed("c");
    s = q.stats();
    CHECK(s.depth == 2);
    CHECK(s.worked.count == 1);
    CHECK(s.retries == 1);
    CHECK(s.unfinished == 0);
  });
}

TEST_CASE("delays are kept and the earliest of several wins") {
  on_loop([]() -> Task<> {
    api::WorkQueue q;
    q.add_after("late", 1h);
    q.add_after("late", 20ms);
    q.add("now");
    CHECK(*co_await q.get() == "now");
    auto begin = Clock::now();
    CHECK(*co_await q.get() == "late");
    CHECK(Clock::now() - begin >= 10ms);
  });
}

TEST_CASE("close ends those that wait") {
  on_loop([]() -> Task<> {
    api::WorkQueue q;
    q.close();
    CHECK_FALSE(co_await q.get());
  });
}

TEST_CASE("a reconciler that fails is asked again with back-off, and one that asks for a later visit gets it") {
  struct Flaky final : api::Reconciler {
    int calls = 0;
    Event called;
    std::string_view name() const override { return "flaky"; }
    Task<Result<std::optional<Duration>>> reconcile(api::ObjectKey key) override {
      CHECK(key.ns == "ns");
      CHECK(key.name == "n");
      ++calls;
      called.notify();
      if (calls == 1) co_return internal("not yet");
      if (calls == 2) throw std::runtime_error("a bug");
      if (calls == 3) co_return Duration(1ms);
      co_return std::optional<Duration>();
    }
  } flaky;
  Runtime runtime(1);
  api::WorkQueue queue(1ms);
  run_to_end(runtime, [](Runtime& r, Flaky& f, api::WorkQueue& q) -> Task<> {
    Tasks tasks(r);
    api::run_reconciler(tasks, f, q, 1);
    q.add("ns/n");
    while (f.calls < 4) {
      uint64_t seen = f.called.version();
      if (f.calls < 4) co_await f.called.wait(seen);
    }
    co_await tasks.stop();
  }(runtime, flaky, queue));
  CHECK(flaky.calls == 4);
}
