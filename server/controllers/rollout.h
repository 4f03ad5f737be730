// The steps of a rollout as arithmetic over replica counts: how far the new set may grow and the old ones shrink, and how a change of
// spec.replicas is shared between sets in the middle of one.
#pragma once

#include "server/controllers/deployment.h"

namespace server::controllers {

struct Scale {
  SetPtr set;
  int32_t replicas;
};

// New size of the current set during a rolling update.
int32_t next_size_of_new(const api::apps::Deployment& d, int32_t new_size, int32_t total, int32_t surge);
// Old sets to shrink, oldest first: unhealthy pods at once, healthy ones as far as maxUnavailable allows.
std::vector<Scale> shrink_old(const api::apps::Deployment& d, const SetPtr& current, const std::vector<SetPtr>& old);
// Shares spec.replicas (plus surge) among the sets in proportion to their sizes.
std::vector<Scale> share_replicas(const api::apps::Deployment& d, const SetPtr& current, const std::vector<SetPtr>& sets);

int32_t size_of(const api::apps::ReplicaSet& s);  // spec.replicas
// What spec.replicas was when the set was last scaled; nothing when it was never noted.
std::optional<int32_t> noted(const api::apps::ReplicaSet& s, const char* annotation);

inline constexpr const char* desired_annotation = "deployment.kubernetes.io/desired-replicas";
inline constexpr const char* most_annotation = "deployment.kubernetes.io/max-replicas";

}  // namespace server::controllers
