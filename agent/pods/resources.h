// From requests and limits to cgroups: QoS classes, their groups, CPU shares and quota, memory limits. Pure.
// (Kubernetes: "Configure Quality of Service for Pods", "Resource Management for Pods and Containers".)
#pragma once

#include <string>

#include "api/types/core_v1.h"
#include "runtime/container/spec.h"

namespace agent {

enum class Qos { guaranteed, burstable, best_effort };
Qos qos_class(const api::core::Pod& pod);
std::string_view qos_name(Qos qos);  // "Guaranteed"

// "/kubepods/burstable/pod<uid>"; guaranteed pods are directly below /kubepods.
std::string pod_cgroup(const api::core::Pod& pod);

runtime::Resources container_resources(const api::core::Container& container);
// Limits of the pod as a whole: set only where every container has one (or spec.resources says so).
runtime::Resources pod_resources(const api::core::Pod& pod);
// What the scheduler counts: containers together or the largest init container (sidecars add up), plus overhead.
struct PodRequest {
  int64_t cpu_milli = 0, memory_bytes = 0, ephemeral_bytes = 0;
};
PodRequest pod_request(const api::core::Pod& pod);

// -997 guaranteed, 1000 best effort, in between by the share of memory requested.
int oom_score_adj(const api::core::Pod& pod, const api::core::Container& container, int64_t node_memory_bytes);

// CPU shares as of cgroup v1.
uint64_t cpu_shares(int64_t milli);

}  // namespace agent
