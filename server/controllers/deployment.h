// Deployment: replaces the pods of one template by those of the next through ReplicaSets, within maxSurge and maxUnavailable.
//
// Everything that is decided is decided here, from the Deployment and its ReplicaSets; deployment.cc carries it out. A plan makes at most one kind of
// step: the change it causes brings the Deployment back.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/types/apps_v1.h"
#include "server/controllers/objects.h"

namespace server::controllers {

using SetPtr = std::shared_ptr<const api::apps::ReplicaSet>;

struct SetChange {  // of a ReplicaSet that exists
  SetPtr set;
  std::optional<int32_t> replicas;
  std::map<std::string, std::string> annotations;  // to be set
  std::optional<int32_t> min_ready_seconds;
};

struct DeploymentPlan {
  std::optional<api::apps::ReplicaSet> create;
  std::vector<SetChange> change;
  std::vector<SetPtr> remove;                           // of the history
  std::map<std::string, std::string> annotations;       // of the Deployment: the revision
  api::apps::DeploymentStatus status;
  std::optional<base::WallClock::duration> again;       // the progress deadline
};

// `sets` are those the Deployment controls; old_pods_run: pods of old sets have not ended yet (Recreate waits for them).
DeploymentPlan plan_deployment(const api::apps::Deployment& d, std::vector<SetPtr> sets, bool old_pods_run, WallTime now);

struct Fenceposts {
  int32_t surge = 0, unavailable = 0;
};
// maxSurge rounded up, maxUnavailable rounded down; not both 0.
Fenceposts fenceposts(const api::apps::Deployment& d);

// The set whose template is the Deployment's; the oldest of several.
SetPtr current_set(const api::apps::Deployment& d, const std::vector<SetPtr>& sets);

// Name of the set for the Deployment's template.
std::string set_name(const api::apps::Deployment& d);

inline constexpr const char* revision_annotation = "deployment.kubernetes.io/revision";
int64_t revision_of(const api::meta::ObjectMeta& m);

}  // namespace server::controllers
