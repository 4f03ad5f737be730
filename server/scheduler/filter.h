// Which nodes a pod may run on. The order of the checks is kube-scheduler's, so that its reasons are, too.
#pragma once

#include "server/scheduler/topology.h"

namespace server::scheduler {

enum class Verdict : uint8_t { fits, unschedulable, taint, affinity, ports, resources, volume, no_volume, spread, spread_label, pod_affinity, pod_anti_affinity, objected };

// Could removing pods from the node change the verdict?
bool helped_by_preemption(Verdict v);

class Filter {
 public:
  Filter(const Cluster& cluster, const Pod& pod);
  Verdict check(uint32_t node) const;
  // What is wrong with a refused node, in the words of FailedScheduling events ("Insufficient cpu").
  std::vector<std::string> reasons(uint32_t node, Verdict verdict) const;

 private:
  Resources held_for_others(uint32_t node) const;
  bool ports_free(uint32_t node) const;
  bool fits(uint32_t node) const;
  Verdict check_pods(uint32_t node) const;

  const Cluster& cluster_;
  const Pod& pod_;
  std::vector<uint8_t> tolerated_;  // by taint set
  bool tolerates_cordon_ = false, selective_ = false, crowded_ = false, held_ = false;
  std::vector<SpreadState> spread_;
  AffinityState affinity_;
};

}  // namespace server::scheduler
