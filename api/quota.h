// What objects are charged to ResourceQuotas. Used where objects are admitted and where their sum is taken, so that both count alike.
// Pure; rules of Kubernetes' quota evaluators. Resources are named as in "deployments.apps"; objects are JSON of the stored version.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "api/quantity.h"
#include "base/json.h"

namespace api {

using Amounts = std::map<std::string, Quantity, std::less<>>;

// A ResourceList at the path; what is no quantity is left out.
Amounts amounts_at(const base::json::value& from, std::string_view path);
// Requests and limits of a pod as "requests.cpu" and "limits.cpu": containers together, or the largest moment of initialisation (sidecars run along with
// both); amounts given for the pod as a whole; overhead.
Amounts pod_amounts(const base::json::value& pod);

Amounts quota_charge(std::string_view qualified, const base::json::value& object);
// Whether the scopes of the quota's spec take the object.
bool quota_takes(const base::json::value& quota, std::string_view qualified, const base::json::value& object);
// The resource whose objects a name in `hard` counts: "count/jobs.batch" -> "jobs.batch", "requests.cpu" -> "pods".
std::string quota_resource(std::string_view hard_name);
// Why a pod may not be charged to a quota on these names (each of its containers must say what it needs), or "".
std::string quota_silence(const base::json::object& hard, const base::json::value& pod);

}  // namespace api
