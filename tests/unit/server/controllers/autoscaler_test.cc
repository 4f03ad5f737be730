#include <catch2/catch.hpp>

#include "server/controllers/autoscaler.h"

using namespace server::controllers;
using namespace std::chrono_literals;
namespace scaling = api::autoscalingv2;
namespace core = api::core;

namespace {

scaling::HorizontalPodAutoscalerSpec spec(int32_t least, int32_t most) {
  scaling::HorizontalPodAutoscalerSpec out;
  out.minReplicas = least;
  out.maxReplicas = most;
  return out;
}
scaling::MetricSpec share(int32_t percent) {
  scaling::MetricSpec m;
  m.type = "Resource";
  auto& r = m.resource.emplace();
  r.name = "cpu";
  r.target.type = "Utilization";
  r.target.averageUtilization = percent;
  return m;
}
// Requests 100m; `milli` nothing: no figures.
PodUsage pod(std::optional<int64_t> milli, bool ready = true) {
  core::Pod p;
  p.metadata.name = "p";
  p.status.phase = "Running";
  core::PodCondition c;
  c.type = "Ready";
  c.status = ready ? "True" : "False";
  p.status.conditions.push_back(c);
  core::Container container;
  container.name = "c";
  container.resources.emplace().requests["cpu"] = "100m";
  p.spec.containers.push_back(std::move(container));
  PodUsage out{std::make_shared<const core::Pod>(std::move(p)), {}};
  if (milli) out.containers.emplace()["c"]["cpu"] = api::Quantity::of_milli(*milli);
  return out;
}
int32_t wanted(int32_t percent, std::vector<PodUsage> pods) {
  return evaluate_metric(share(percent), spec(1, 10), int32_t(pods.size()), pods).replicas;
}

}  // namespace

TEST_CASE("the number of pods follows their use, with tolerance") {
  CHECK(wanted(50, {pod(100), pod(100)}) == 4);
  CHECK(wanted(50, {pod(54), pod(54)}) == 2);  // within a tenth
  CHECK(wanted(50, {pod(10), pod(10), pod(10), pod(10)}) == 1);
  auto answer = evaluate_metric(share(50), spec(1, 10), 2, {pod(100), pod(60)});
  CHECK(answer.status.resource->current.averageUtilization == 80);
  CHECK(answer.status.resource->current.averageValue == "80m");
  scaling::MetricSpec by_value = share(0);
  by_value.resource->target = {};
  by_value.resource->target.type = "AverageValue";
  by_value.resource->target.averageValue = "20m";
  CHECK(evaluate_metric(by_value, spec(1, 10), 2, {pod(50), pod(50)}).replicas == 5);
}

TEST_CASE("pods without figures speak against a change") {
  CHECK(wanted(50, {pod(100), pod({})}) == 2);                       // 100 of 200, with nothing used by the missing one: as wanted
  CHECK(wanted(50, {pod(10), pod({})}) == 2);                        // fewer, but the missing one is taken to use all it asked for
  CHECK(wanted(50, {pod(200), pod(0, false), pod(0, false)}) == 4);  // unready ones use nothing, yet count
  CHECK(evaluate_metric(share(50), spec(1, 10), 1, {pod({})}).failure.find("did not receive metrics") != std::string::npos);
  auto silent = pod(50);
  core::Pod p = *silent.pod;
  p.spec.containers[0].resources.reset();
  silent.pod = std::make_shared<const core::Pod>(p);
  CHECK(evaluate_metric(share(50), spec(1, 10), 1, {silent}).failure ==
        "failed to get cpu utilization: missing request for cpu in container c of Pod p");
  scaling::MetricSpec external;
  external.type = "External";
  CHECK(!evaluate_metric(external, spec(1, 10), 1, {pod(1)}).failure.empty());
}

TEST_CASE("scaling keeps bounds, rates and stabilisation windows") {
  ScalingHistory history;
  WallTime now{1000h};
  // Up: the larger of 4 pods and twice as many in 15 s.
  ScalingLimit up = limit_scaling(spec(1, 20), 1, 20, history, now);
  CHECK(up.replicas == 5);
  CHECK(up.reason == "ScaleUpLimit");
  history.changed.push_back({now, 4});
  CHECK(limit_scaling(spec(1, 20), 5, 20, history, now + 1s).replicas == 5);
  CHECK(limit_scaling(spec(1, 20), 5, 20, history, now + 16s).replicas == 10);
  CHECK(limit_scaling(spec(1, 8), 5, 20, history, now + 16s).reason == "TooManyReplicas");
  // Down: five minutes after the last wish for more.
  CHECK(limit_scaling(spec(2, 20), 10, 1, history, now + 30s).replicas == 10);
  ScalingLimit down = limit_scaling(spec(2, 20), 10, 1, history, now + 10min);
  CHECK(down.replicas == 2);
  CHECK(down.reason == "TooFewReplicas");
  // Said otherwise.
  auto own = spec(1, 20);
  auto& rules = own.behavior.emplace().scaleDown.emplace();
  rules.stabilizationWindowSeconds = 0;
  scaling::HPAScalingPolicy one;
  one.type = "Pods", one.value = 1, one.periodSeconds = 60;
  rules.policies = {one};
  CHECK(limit_scaling(own, 10, 1, history, now + 20min).replicas == 9);
  own.behavior->scaleDown->selectPolicy = "Disabled";
  CHECK(limit_scaling(own, 10, 1, history, now + 30min).replicas == 10);
}
