// ReplicaSet: keeps spec.replicas pods of its template. The pure part: which pods to remove, and the status.
#pragma once

#include "api/types/apps_v1.h"
#include "server/controllers/objects.h"

namespace server::controllers {

struct ReplicaSetPlan {
  size_t create = 0;
  std::vector<PodPtr> remove;  // the least useful first
};
// `pods` are the active ones the set controls.
ReplicaSetPlan plan_replicas(const api::apps::ReplicaSet& set, std::vector<PodPtr> pods, WallTime now);

// A total order: pods that are removed first come first (unassigned, pending, not ready, cheap, crowded, young).
void sort_for_removal(std::vector<PodPtr>& pods);

struct ReplicaSetStatusPlan {
  api::apps::ReplicaSetStatus status;
  std::optional<base::WallClock::duration> again;  // when another pod becomes available by mere passing of time
};
ReplicaSetStatusPlan plan_status(const api::apps::ReplicaSet& set, const std::vector<PodPtr>& active, WallTime now);

}  // namespace server::controllers
