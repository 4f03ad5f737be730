#include <catch2/catch.hpp>

#include "api/types/core_v1.h"
#include "base/io.h"
#include "server/scheduler/scheduler.h"
#include "tests/unit/server/eventually.h"
#include "tests/unit/server/fake_client.h"

using namespace std::chrono_literals;
namespace core = api::core;
using testing::eventually;

namespace {

core::Node node(std::string name, std::string cpu = "4") {
  core::Node n;
  n.metadata.name = std::move(name);
  n.status.allocatable = {{"cpu", cpu}, {"memory", "8Gi"}, {"pods", "110"}};
  return n;
}
core::Pod pod(std::string name, std::string cpu = "100m") {
  core::Pod p;
  p.metadata.name = std::move(name);
  p.metadata.namespace_ = "default";
  core::Container c;
  c.name = "c";
  c.image = "i";
  c.resources.emplace().requests = {{"cpu", std::move(cpu)}};
  p.spec.containers.push_back(std::move(c));
  return p;
}

}  // namespace

TEST_CASE("pods are bound as they come, and wait for a node when none fits") {
  base::Runtime runtime(2);
  testing::FakeClient client;
  server::Scheduler scheduler(runtime, client);
  base::run_to_end(runtime, [](testing::FakeClient& c, server::Scheduler& s) -> base::Task<> {
    c.put(pod("early"));
    s.start();
    co_await eventually([&] { return !c.find<core::Pod>("default", "early")->status.conditions.empty(); });
    auto early = *c.find<core::Pod>("default", "early");
    CHECK(early.status.conditions.at(0).type == "PodScheduled");
    CHECK(early.status.conditions.at(0).status == "False");
    CHECK(early.status.conditions.at(0).reason == "Unschedulable");
    CHECK(early.status.conditions.at(0).message.starts_with("no nodes available"));
    c.put(node("n1", "1"));
    co_await eventually([&] { return c.find<core::Pod>("default", "early")->spec.nodeName == "n1"; });
    c.put(pod("big", "2"));
    co_await eventually([&] { return !c.find<core::Pod>("default", "big")->status.conditions.empty(); });
    CHECK(c.find<core::Pod>("default", "big")->status.conditions.at(0).message ==
          "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming "
          "pod.");
    c.put(node("n2"));
    co_await eventually([&] { return c.find<core::Pod>("default", "big")->spec.nodeName == "n2"; });
    for (int i = 0; i < 20; ++i) c.put(pod("p" + std::to_string(i), "10m"));
    co_await eventually([&] {
      for (auto& p : c.all<core::Pod>())
        if (p.spec.nodeName.empty()) return false;
      return true;
    });
    co_await eventually([&] {
      int scheduled = 0;
      for (auto& e : c.all<core::Event>()) scheduled += e.reason == "Scheduled" ? 1 : 0;
      return scheduled == 22;
    });
    co_await s.stop();
  }(client, scheduler));
  CHECK(client.writes()["create pods/binding"] == 22);
}

TEST_CASE("an idle scheduler writes nothing, heartbeats included") {
  base::Runtime runtime(2);
  testing::FakeClient client;
  server::Scheduler scheduler(runtime, client);
  base::run_to_end(runtime, [](testing::FakeClient& c, server::Scheduler& s) -> base::Task<> {
    c.put(node("n1", "1"));
    c.put(pod("big", "2"));
    s.start();
    co_await eventually([&] { return c.writes()["create events"] == 1 && c.writes()["patch pods/status"] == 1; });
    int before = c.total_writes();
    for (int i = 0; i < 5; ++i) {
      core::Node n = node("n1", "1");
      core::NodeCondition ready;
      ready.type = "Ready";
      ready.lastHeartbeatTime = std::to_string(i);
      n.status.conditions.push_back(ready);
      c.put(n);
      co_await base::sleep_for(10ms);
    }
    co_await base::sleep_for(100ms);
    CHECK(c.total_writes() == before);
    co_await s.stop();
  }(client, scheduler));
}

TEST_CASE("an important pod takes the place of a lesser one") {
  base::Runtime runtime(2);
  testing::FakeClient client;
  server::Scheduler scheduler(runtime, client);
  base::run_to_end(runtime, [](testing::FakeClient& c, server::Scheduler& s) -> base::Task<> {
    c.put(node("n1", "1"));
    c.put(pod("low", "800m"));
    s.start();
    co_await eventually([&] { return c.find<core::Pod>("default", "low")->spec.nodeName == "n1"; });
    core::Pod vip = pod("vip", "800m");
    vip.spec.priority = 1000;
    c.put(vip);
    co_await eventually([&] { return !c.find<core::Pod>("default", "low")->metadata.deletionTimestamp.empty(); });
    co_await eventually([&] { return c.find<core::Pod>("default", "vip")->status.nominatedNodeName == "n1"; });
    c.erase<core::Pod>("default", "low");
    co_await eventually([&] { return c.find<core::Pod>("default", "vip")->spec.nodeName == "n1"; });
    co_await s.stop();
  }(client, scheduler));
}

TEST_CASE("a failed bind is tried again") {
  base::Runtime runtime(2);
  testing::FakeClient client;
  server::Scheduler scheduler(runtime, client);
  base::run_to_end(runtime, [](testing::FakeClient& c, server::Scheduler& s) -> base::Task<> {
    auto failures = std::make_shared<std::atomic<int>>(2);
    c.fail_when([failures](const std::string& write) -> std::optional<base::Error> {
      if (write == "create pods/binding" && failures->fetch_sub(1) > 0) return base::unavailable("try later").error();
      return std::nullopt;
    });
    c.put(node("n1", "1"));
    c.put(pod("p"));
    s.start();
    co_await eventually([&] { return c.find<core::Pod>("default", "p")->spec.nodeName == "n1"; });
    co_await s.stop();
  }(client, scheduler));
}
