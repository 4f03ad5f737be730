// The Pod Security Standards: what a pod may not ask for at each level. Pure. https://kubernetes.io/docs/concepts/security/pod-security-standards/
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace server {

enum class SecurityLevel { privileged, baseline, restricted };

// Versions count the minor number of Kubernetes; checks that are younger do not apply. Versions before 1.19 are taken as 1.19.
inline constexpr int latest_security = 1000;

std::optional<SecurityLevel> parse_security_level(std::string_view text);
// "latest", "v1.30"
std::optional<int> parse_security_version(std::string_view text);

// What is wrong with a pod (metadata and spec below `pod`), as in "hostPort (container "x" uses hostPort 80), privileged (...)"; empty: nothing.
// `reasons`: without what stands in brackets.
std::string security_violations(const base::json::value& pod, SecurityLevel level, int version, bool reasons_only = false);

}  // namespace server
