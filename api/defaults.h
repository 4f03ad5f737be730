// Defaults: those declared in the schema and those that depend on other fields (imagePullPolicy, requests from limits, target ports ...).
// Idempotent. What depends on the cluster (cluster IPs, node ports, service account, priority) is admission's or the registry's.
#pragma once

#include "api/schema.h"
#include "base/json.h"

namespace api {

void apply_defaults(const Kind& kind, base::json::value& object);
// Declared defaults only, of any type.
void apply_schema_defaults(const Type& type, base::json::value& part);

}  // namespace api
