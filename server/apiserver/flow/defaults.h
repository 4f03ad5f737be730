// The FlowSchemas and PriorityLevelConfigurations every cluster has, as Kubernetes' (KEP-1040; docs of "API Priority and Fairness").
#pragma once

#include <vector>

#include "base/json.h"

namespace server::flow {

struct DefaultObject {
  base::json::object object;  // whole, with the condition a FlowSchema has whose level exists
  bool mandatory = false;     // put back when changed or deleted; the others only while their autoupdate annotation says so
};
std::vector<DefaultObject> default_objects();

inline constexpr std::string_view kAutoUpdate = "apf.kubernetes.io/autoupdate-spec";

// The Dangling condition of a FlowSchema.
base::json::object dangling_condition(std::string_view level, bool exists, std::string_view since);

}  // namespace server::flow
