#include <catch2/catch.hpp>

#include "agent/pods/resources.h"
#include "agent/pods/status.h"

using namespace agent;

namespace {

using api::core::ContainerStatus;

ContainerStatus waiting(std::string name) {
  ContainerStatus s;
  s.name = std::move(name);
  s.state.emplace().waiting.emplace().reason = "ContainerCreating";
  return s;
}
ContainerStatus running(std::string name, bool ready = true) {
  ContainerStatus s;
  s.name = std::move(name);
  s.state.emplace().running.emplace();
  s.ready = ready;
  s.started = true;
  return s;
}
ContainerStatus ended(std::string name, int code) {
  ContainerStatus s;
  s.name = std::move(name);
  s.state.emplace().terminated.emplace().exitCode = code;
  return s;
}
ContainerStatus crashed(std::string name, int code) {
  ContainerStatus s = waiting(std::move(name));
  s.lastState.emplace().terminated.emplace().exitCode = code;
  return s;
}
api::core::Pod pod(std::string policy, std::vector<std::string> names, std::vector<std::string> init = {}) {
  api::core::Pod p;
  p.spec.restartPolicy = std::move(policy);
  for (auto& n : names) p.spec.containers.emplace_back().name = n;
  for (auto& n : init) p.spec.initContainers.emplace_back().name = n;
  return p;
}
const api::core::PodCondition& condition(const api::core::PodStatus& s, const std::string& type) {
  for (const auto& c : s.conditions)
    if (c.type == type) return c;
  throw std::runtime_error("no condition " + type);
}

}  // namespace

TEST_CASE("phase") {
  api::core::PodStatus s;
  SECTION("waiting containers are Pending") {
    s.containerStatuses = {running("a"), waiting("b")};
    CHECK(pod_phase(pod("Always", {"a", "b"}), s) == "Pending");
  }
  SECTION("a crash loop is Running") {
    s.containerStatuses = {crashed("a", 1)};
    CHECK(pod_phase(pod("Always", {"a"}), s) == "Running");
  }
  SECTION("one runs, one has ended") {
    s.containerStatuses = {running("a"), ended("b", 0)};
    CHECK(pod_phase(pod("Never", {"a", "b"}), s) == "Running");
  }
  SECTION("all ended well") {
    s.containerStatuses = {ended("a", 0), ended("b", 0)};
    CHECK(pod_phase(pod("Never", {"a", "b"}), s) == "Succeeded");
    CHECK(pod_phase(pod("OnFailure", {"a", "b"}), s) == "Succeeded");
    CHECK(pod_phase(pod("Always", {"a", "b"}), s) == "Running");
  }
  SECTION("one ended badly") {
    s.containerStatuses = {ended("a", 0), ended("b", 3)};
    CHECK(pod_phase(pod("Never", {"a", "b"}), s) == "Failed");
    CHECK(pod_phase(pod("OnFailure", {"a", "b"}), s) == "Running");
  }
  SECTION("init containers keep it Pending") {
    s.initContainerStatuses = {running("i")};
    s.containerStatuses = {waiting("a")};
    CHECK(pod_phase(pod("Always", {"a"}, {"i"}), s) == "Pending");
  }
  SECTION("a failed init container ends a pod that never restarts") {
    s.initContainerStatuses = {ended("i", 1)};
    s.containerStatuses = {waiting("a")};
    CHECK(pod_phase(pod("Never", {"a"}, {"i"}), s) == "Failed");
    CHECK(pod_phase(pod("OnFailure", {"a"}, {"i"}), s) == "Pending");
  }
}

TEST_CASE("restart policies") {
  api::core::Container c;
  auto always = pod("Always", {"a"}), failure = pod("OnFailure", {"a"}), never = pod("Never", {"a"});
  CHECK(should_restart(always, c, false, 0));
  CHECK_FALSE(should_restart(failure, c, false, 0));
  CHECK(should_restart(failure, c, false, 1));
  CHECK_FALSE(should_restart(never, c, false, 1));
  CHECK_FALSE(should_restart(always, c, true, 0));
  CHECK(should_restart(always, c, true, 1));
  CHECK_FALSE(should_restart(never, c, true, 1));
  c.restartPolicy = "Always";
  CHECK(should_restart(never, c, true, 0));
}

TEST_CASE("conditions follow the containers and keep their transition times") {
  auto p = pod("Always", {"a", "b"}, {"i"});
  api::core::PodStatus s;
  s.initContainerStatuses = {running("i")};
  s.containerStatuses = {waiting("a"), waiting("b")};
  s.phase = "Pending";
  set_conditions(p, s, true, "t1");
  CHECK(condition(s, "PodReadyToStartContainers").status == "True");
  CHECK(condition(s, "Initialized").message == "containers with incomplete status: [i]");
  CHECK(condition(s, "Ready").message == "containers with unready status: [a b]");
  s.initContainerStatuses = {ended("i", 0)};
  s.containerStatuses = {running("a"), running("b")};
  s.phase = "Running";
  set_conditions(p, s, true, "t2");
  CHECK(condition(s, "Ready").status == "True");
  CHECK(condition(s, "Ready").lastTransitionTime == "t2");
  CHECK(condition(s, "PodReadyToStartContainers").lastTransitionTime == "t1");
  p.spec.readinessGates.emplace_back().conditionType = "example.org/up";
  set_conditions(p, s, true, "t3");
  CHECK(condition(s, "ContainersReady").status == "True");
  CHECK(condition(s, "Ready").reason == "ReadinessGatesNotReady");
}

TEST_CASE("a status patch holds only what changed and nulls for what went") {
  base::json::object before{{"phase", "Pending"}, {"message", "x"}, {"podIP", "1"}}, after{{"phase", "Running"}, {"podIP", "1"}};
  CHECK(status_patch("u", before, after) == R"({"metadata":{"uid":"u"},"status":{"phase":"Running","message":null}})");
  CHECK(status_patch("u", after, after).empty());
}

TEST_CASE("a status patch says what is gone from lists that are merged by key") {
  using base::json::object;
  using base::json::array;
  object waits{{"type", "Ready"}, {"status", "False"}, {"reason", "ContainersNotReady"}}, ready{{"type", "Ready"}, {"status", "True"}};
  object other{{"type", "PodResizePending"}, {"status", "True"}};
  object before{{"conditions", array{waits, other}}, {"podIPs", array{object{{"ip", "1.1.1.1"}}}}};
  object after{{"conditions", array{ready}}, {"podIPs", array{object{{"ip", "2.2.2.2"}}}}};
  CHECK(
      status_patch("u", before, after) ==
      R"({"metadata":{"uid":"u"},"status":{"conditions":[{"type":"Ready","status":"True","reason":null},{"type":"PodResizePending","$patch":"delete"}],)"
      R"("podIPs":[{"ip":"2.2.2.2"},{"ip":"1.1.1.1","$patch":"delete"}]}})");
}

TEST_CASE("QoS classes and their cgroups") {
  auto p = pod("Always", {"a"});
  p.metadata.uid = "u";
  CHECK(qos_class(p) == Qos::best_effort);
  CHECK(pod_cgroup(p) == "/kubepods/besteffort/podu");
  p.spec.containers[0].resources.emplace().requests = {{"cpu", "100m"}};
  CHECK(qos_class(p) == Qos::burstable);
  p.spec.containers[0].resources->limits = {{"cpu", "100m"}, {"memory", "1Gi"}};
  CHECK(qos_class(p) == Qos::guaranteed);
  CHECK(pod_cgroup(p) == "/kubepods/podu");
  auto r = container_resources(p.spec.containers[0]);
  CHECK(*r.cpu_shares == 102);
  CHECK(*r.cpu_quota_us == 10000);
  CHECK(*r.memory_bytes == 1 << 30);
  CHECK(*pod_resources(p).memory_bytes == 1 << 30);
  CHECK(oom_score_adj(p, p.spec.containers[0], 1LL << 32) == -997);
}

TEST_CASE("a pod's request is its containers or its largest init container") {
  auto p = pod("Always", {"a", "b"}, {"i"});
  p.spec.containers[0].resources.emplace().requests = {{"cpu", "100m"}, {"memory", "100"}};
  p.spec.containers[1].resources.emplace().requests = {{"cpu", "200m"}};
  p.spec.initContainers[0].resources.emplace().requests = {{"cpu", "1"}};
  CHECK(pod_request(p).cpu_milli == 1000);
  CHECK(pod_request(p).memory_bytes == 100);
  p.spec.initContainers[0].restartPolicy = "Always";
  CHECK(pod_request(p).cpu_milli == 1300);
}
