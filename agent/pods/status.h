// What a pod's containers add up to: phase and conditions (Kubernetes, "Pod Lifecycle"). Pure.
#pragma once

#include <string>
#include <vector>

#include "api/types/core_v1.h"
#include "base/json.h"

namespace agent {

bool is_sidecar(const api::core::Container& container);  // an init container with restartPolicy Always

// Whether a container that ended with this code is to be started again.
bool should_restart(const api::core::Pod& pod, const api::core::Container& container, bool init, int exit_code);

std::string pod_phase(const api::core::Pod& pod, const api::core::PodStatus& status);

// Conditions that the node writes; all others are somebody else's.
bool owns_condition(std::string_view type);

// Adds the condition or brings it up to date; the transition time is kept while the status is.
void set_condition(std::vector<api::core::PodCondition>& list, const std::string& type, bool value, std::string reason, std::string message,
                   const std::string& now, std::optional<int64_t> generation);
// Sets the conditions that the node owns, keeping transition times of what did not change and all other conditions.
// `pod` is the latest from the API: readiness gates are read from its status.
void set_conditions(const api::core::Pod& pod, api::core::PodStatus& status, bool sandbox_ready, const std::string& now);

// The strategic merge patch that turns `before` (as last sent) into `after`; empty when they agree.
std::string status_patch(const std::string& uid, const base::json::object& before, const base::json::object& after);

}  // namespace agent
