// The downward API: fields of a pod and resources of its containers, as text. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "api/types/core_v1.h"
#include "base/error.h"

namespace agent {

using base::Result;

// A pod with what only its node knows.
struct PodFacts {
  const api::core::Pod* pod = nullptr;
  std::vector<std::string> pod_ips, host_ips;
  std::map<std::string, std::string> node_allocatable;  // stands in for limits that are not set
};

// "metadata.name", "metadata.labels['a']", "status.podIP"...; metadata.labels and metadata.annotations as lines of key="value". 400 for others.
Result<std::string> downward_field(const PodFacts& facts, const std::string& path);

// "limits.cpu" and so on, divided by the divisor and rounded up.
Result<std::string> downward_resource(const PodFacts& facts, const api::core::ResourceFieldSelector& selector,
                                      const std::string& container);

// Whether the field's value depends on addresses that are known only once the pod has a network.
bool needs_pod_address(const std::string& path);

}  // namespace agent
