// What a decision must know of the pods that already run: counts by topology value for spreading and for pod (anti-)affinity.
// Computed once per decision, and only for pods that ask for it or when running pods have anti-affinity.
#pragma once

#include <unordered_map>
#include <unordered_set>

#include "server/scheduler/cluster.h"

namespace server::scheduler {

using Counts = std::unordered_map<std::string, int64_t>;  // by topology value

// The value of a label of the node; null when it has none.
const std::string* label(const Node& node, const std::string& key);
// spec.nodeSelector and required node affinity.
bool node_affinity_matches(const Pod& pod, const Node& node);
bool term_matches(const NodeTerm& term, const Node& node);
// The first taint that keeps the pod away; null when it tolerates all NoSchedule and NoExecute ones.
const Taint* untolerated(const Pod& pod, const std::vector<Taint>& taints);

struct SpreadState {
  const Spread* rule;
  Counts counts;      // matching pods per domain, of the nodes that take part
  int64_t least = 0;  // of the emptiest domain
  bool self = false;  // the pod itself counts
};
// For the hard or the soft rules of the pod.
std::vector<SpreadState> spread_states(const Cluster& cluster, const Pod& pod, bool hard);

struct AffinityState {
  std::vector<Counts> affinity, anti_affinity;  // one per required term of the pod
  bool first_of_group = false;                  // nobody matches yet, and the pod matches its own affinity terms
  std::unordered_map<std::string, std::unordered_set<std::string>> refused;  // by topology key: values where running pods object
};
AffinityState affinity_state(const Cluster& cluster, const Pod& pod);

}  // namespace server::scheduler
