// One decision: filter, score, choose; and which pods would have to go when nothing fits.
//
// Scores follow kube-scheduler's default plugins and weights (taints 3; node affinity, pod affinity, spreading 2; least allocated, balance,
// image locality 1), each over 0..100.
#pragma once

#include "server/scheduler/filter.h"

namespace server::scheduler {

struct Decision {
  std::string node;     // empty: none fits
  std::string message;  // why, as in FailedScheduling ("0/2 nodes are available: ...")
  std::vector<uint32_t> preemptable;  // nodes where removing pods may help
  bool waits_for_resources = false;   // what kinds of change can help
  bool waits_for_pods = false;
  bool waits_for_nodes = false;
  bool waits_for_volumes = false;
};

// `turn` rotates the choice between equals.
Decision decide(const Cluster& cluster, const Pod& pod, uint32_t turn = 0);

// The scores of the given nodes, in their order.
std::vector<double> score(const Cluster& cluster, const Pod& pod, const std::vector<uint32_t>& nodes);

struct Preemption {
  std::string node;  // empty: does not help anywhere
  std::vector<PodPtr> victims;
  std::string message;  // "preemption: 0/2 nodes are available: ..." for the event
};

// The node where the fewest and least important pods of lower priority have to go (budgets kept where possible). The cluster is the same afterwards.
Preemption preempt(Cluster& cluster, const Pod& pod, const std::vector<uint32_t>& candidates, const std::vector<Budget>& budgets);

}  // namespace server::scheduler
