// The ClusterRoles and bindings every cluster has (Kubernetes documentation, "Default roles and role bindings").
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace server {

// Objects without uid and the like: ClusterRoles, ClusterRoleBindings, Roles and RoleBindings, complete with apiVersion and kind.
std::vector<base::json::object> default_roles();

}  // namespace server
