#include <catch2/catch.hpp>

#include "base/channel.h"
#include "base/io.h"

using namespace base;

TEST_CASE("what is pushed to a channel comes out in order, and close ends the reader") {
  Runtime runtime(2);
  Channel<int> channel(3);
  std::vector<int> got;
  run_to_end(runtime, [&]() -> Task<> {
    Tasks tasks(runtime);
    tasks.spawn("producer", [](Channel<int>& c) -> Task<> {
      for (int i = 0; i < 3; ++i) {
        c.push(i);
        co_await sleep_for(1ms);
      }
      c.close();
    }(channel));
    while (auto v = co_await channel.pop()) got.push_back(*v);
    co_await tasks.stop();
  }());
  CHECK(got == std::vector{0, 1, 2});
  CHECK_FALSE(channel.push(9));
}

TEST_CASE("a full channel refuses") {
  Channel<int> channel(1);
  CHECK(channel.push(1));
  CHECK_FALSE(channel.push(2));
}

TEST_CASE("stop cancels tasks that wait, and with_timeout cancels what is late") {
  Runtime runtime(2);
  bool reached = false;
  Result<> late;
  run_to_end(runtime, [&]() -> Task<> {
    Tasks tasks(runtime);
    Event never;
    tasks.spawn("sleeper", [](bool& r) -> Task<> {
      co_await sleep_for(1h);
      r = true;
    }(reached));
    tasks.spawn("waiter", [](Event& e) -> Task<> { co_await e.wait(e.version()); }(never));
    late = co_await with_timeout(5ms, []() -> Task<Result<>> {
      co_await sleep_for(1h);
      co_return Result<>{};
    }());
    co_await tasks.stop();
    CHECK(tasks.running() == 0);
  }());
  CHECK_FALSE(reached);
  CHECK(late.error().reason == "Timeout");
}

TEST_CASE("offload runs elsewhere and hands back the result or the exception") {
  Runtime runtime(1);
  run_to_end(runtime, []() -> Task<> {
    CHECK(co_await offload([] { return 42; }) == 42);
    CHECK_THROWS_AS(co_await offload([]() -> int { throw std::runtime_error("x"); }), std::runtime_error);
  }());
}
