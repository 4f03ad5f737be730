// What has become of a default role or binding in a cluster, and what it should be (Kubernetes documentation, "Auto-reconciliation").
#pragma once

#include <optional>

#include "base/json.h"

namespace server {

// The object as it should be stored instead of `live`: rules, subjects, selectors, labels and annotations that are missing are added back, nothing is
// taken away. nullopt when nothing is missing, or when its annotation rbac.authorization.kubernetes.io/autoupdate is "false".
// `replaced`: the role a binding refers to cannot be changed, so that it must be a new object (with metadata of its own).
struct Reconciled {
  base::json::object object;
  bool replaced = false;
};
std::optional<Reconciled> reconcile_role(const base::json::object& wanted, const base::json::object& live);

}  // namespace server
