#include <catch2/catch.hpp>

#include "server/scheduler/queue.h"

using namespace server::scheduler;
using namespace std::chrono_literals;

namespace {

PodPtr pod(std::string uid, int32_t priority = 0) {
  auto p = std::make_shared<Pod>();
  p->uid = std::move(uid);
  p->priority = priority;
  return p;
}
const base::TimePoint t0{1000s};

}  // namespace

TEST_CASE("the most important pod comes first, then the oldest") {
  Queue q({});
  q.add(pod("a"), t0);
  q.add(pod("b", 5), t0);
  q.add(pod("c"), t0);
  CHECK(q.pop(t0)->uid == "b");
  CHECK(q.pop(t0)->uid == "a");
  CHECK(q.pop(t0)->uid == "c");
  CHECK(q.pop(t0) == nullptr);
}

TEST_CASE("a parked pod wakes for what it waits for, after its back-off") {
  Queue q({1s, 10s, 300s});
  q.add(pod("a"), t0);
  q.pop(t0);
  q.park("a", wait_resources, t0);
  q.moved(wait_pods, t0 + 2s);
  CHECK(q.pop(t0 + 2s) == nullptr);
  q.moved(wait_resources, t0 + 500ms);
  CHECK(q.pop(t0 + 600ms) == nullptr);
  CHECK(q.deadline() == t0 + 1s);
  CHECK(q.pop(t0 + 1s)->uid == "a");
  q.park("a", wait_resources, t0 + 1s);
  q.moved(wait_resources, t0 + 20s);
  CHECK(q.pop(t0 + 20s)->uid == "a");
}

TEST_CASE("a parked pod is tried again after a while without any event") {
  Queue q({1s, 10s, 300s});
  q.add(pod("a"), t0);
  q.pop(t0);
  q.park("a", wait_nodes, t0);
  CHECK(q.deadline() == t0 + 300s);
  CHECK(q.pop(t0 + 300s)->uid == "a");
}

TEST_CASE("removed pods are forgotten in every state") {
  Queue q({});
  for (int state = 0; state < 3; ++state) {
    q.add(pod("a"), t0);
    if (state > 0) q.pop(t0);
    if (state == 1) q.park("a", wait_all, t0);
    if (state == 2) q.put_back("a", t0);
    q.remove("a");
    q.moved(wait_all, t0 + 1h);
    CHECK(q.pop(t0 + 1h) == nullptr);
    CHECK_FALSE(q.deadline());
  }
}
