// HorizontalPodAutoscaler: as many pods as their use of cpu and memory asks for. The pure part, by the algorithm Kubernetes documents:
// https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
#pragma once

#include <map>

#include "api/quantity.h"
#include "api/types/autoscaling_v2.h"
#include "server/controllers/objects.h"

namespace server::controllers {

// A pod of the target, and what its containers use (by container, then resource); nothing: there are no figures.
struct PodUsage {
  PodPtr pod;
  std::optional<std::map<std::string, std::map<std::string, api::Quantity>>> containers;
};

struct MetricAnswer {
  int32_t replicas = 0;
  std::string failure, reason;  // why there is no answer
  api::autoscalingv2::MetricStatus status;
};
MetricAnswer evaluate_metric(const api::autoscalingv2::MetricSpec& metric, const api::autoscalingv2::HorizontalPodAutoscalerSpec& spec,
                             int32_t current, const std::vector<PodUsage>& pods);

// What an autoscaler remembers: recommendations for stabilisation, changes for the rates of its policies.
struct ScalingHistory {
  struct Entry {
    WallTime at;
    int32_t replicas;
  };
  std::vector<Entry> recommended, changed;  // `changed` holds differences
};

struct ScalingLimit {
  int32_t replicas = 0;
  std::string reason, message;  // of the condition ScalingLimited
  bool limited = false;
};
// The wish within stabilisation windows, rates and bounds; remembers the wish.
ScalingLimit limit_scaling(const api::autoscalingv2::HorizontalPodAutoscalerSpec& spec, int32_t current, int32_t wish,
                           ScalingHistory& history, WallTime now);

}  // namespace server::controllers
