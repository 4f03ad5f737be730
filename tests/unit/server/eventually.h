// Waits in a test until a condition holds, looking every few milliseconds; fails the test after ten seconds.
#pragma once

#include <catch2/catch.hpp>

#include "base/io.h"

namespace testing {

template <class F>
base::Task<> eventually(F condition) {
  auto end = base::Clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (base::Clock::now() > end) FAIL("the condition did not come true");
    co_await base::sleep_for(std::chrono::milliseconds(3));
  }
}

}  // namespace testing
