// StatefulSet: pods with stable names and volumes, started, replaced and stopped in order. The pure part: the next step.
#pragma once

#include "api/types/apps_v1.h"
#include "server/controllers/objects.h"

namespace server::controllers {

struct StatefulSetPlan {
  std::vector<api::core::Pod> create;
  std::vector<PodPtr> remove;
  api::apps::StatefulSetStatus status;
  std::optional<base::WallClock::duration> again;
};

struct StatefulSetRevisions {
  std::string current, update;                       // names of the ControllerRevisions
  api::core::PodTemplateSpec current_template, update_template;
};

// `pods` are all the set controls.
StatefulSetPlan plan_statefulset(const api::apps::StatefulSet& set, const std::vector<PodPtr>& pods, const StatefulSetRevisions& revisions,
                                 WallTime now);

// The ordinal of "<set>-<n>".
std::optional<int32_t> ordinal_of(const api::apps::StatefulSet& set, const std::string& pod);
// The claims of one pod, made from volumeClaimTemplates: "<template>-<set>-<n>".
std::vector<api::core::PersistentVolumeClaim> claims_of(const api::apps::StatefulSet& set, int32_t ordinal);

// The owners a claim of the set should have by persistentVolumeClaimRetentionPolicy: the set, when it goes with it; its pod, when that is superfluous and the
// claim goes with it. Other owners stay.
std::vector<api::meta::OwnerReference> claim_owners(const api::apps::StatefulSet& set, const api::meta::ObjectMeta& claim,
                                                    const api::core::Pod& pod);

}  // namespace server::controllers
