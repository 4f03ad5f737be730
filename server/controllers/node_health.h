// What the state of a node means for its conditions, its taints and the pods on it. Pure.
#pragma once

#include <optional>
#include <vector>

#include "server/controllers/objects.h"

namespace server::controllers {

// Conditions of a node that has not been heard of for the grace period: what it reported last is unknown now. True when something changed.
bool mark_unknown(api::core::Node& node, WallTime now);

// The taints the node should have: those that follow from its conditions and from cordoning, and the others it has.
std::vector<api::core::Taint> wanted_taints(const api::core::Node& node, WallTime now);

// When a pod has to leave a node with these taints; nothing: it may stay. A time in the past: now.
std::optional<WallTime> eviction_time(const api::core::Pod& pod, const std::vector<api::core::Taint>& taints, WallTime now);

bool tolerates(const api::core::Toleration& t, const api::core::Taint& taint);
bool node_ready(const api::core::Node& node);

}  // namespace server::controllers
