// API objects as the scheduler's plain values. What a decision does not read is not kept.
#pragma once

#include "api/types/core_v1.h"
#include "api/types/policy_v1.h"
#include "api/types/storage_v1.h"
#include "server/scheduler/volumes.h"

namespace server::scheduler {

Pod translate(const api::core::Pod& pod);
Node translate(const api::core::Node& node);
Claim translate(const api::core::PersistentVolumeClaim& claim);
Volume translate(const api::core::PersistentVolume& volume);
StorageClass translate(const api::storage::StorageClass& storage_class);
// The name of the claim behind a pod's volume; empty: there is none.
std::string claim_name(const std::string& pod, const api::core::Volume& volume);
Budget translate(const api::policy::PodDisruptionBudget& budget);
// Absent: matches nothing.
Selector translate(const api::meta::LabelSelector* selector);

// What the pod occupies: the larger of the sum of its containers (with sidecars) and the peak of its init containers, or the pod-level amounts; plus overhead.
Resources requests_of(const api::core::PodSpec& spec);

}  // namespace server::scheduler
