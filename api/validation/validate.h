// Validation of objects after defaulting: what the schema declares (required, enum) and the rules across fields. Pure functions of the
// objects; what needs other objects (does the service account exist?) is admission. An empty list means valid.
#pragma once

#include <vector>

#include "api/schema.h"
#include "base/error.h"
#include "base/json.h"

namespace api {

std::vector<base::Cause> validate_create(const Kind& kind, const base::json::value& object);
// Includes what may not change. For subresource "status" only metadata and status are looked at.
std::vector<base::Cause> validate_update(const Kind& kind, const base::json::value& before, const base::json::value& after,
                                         std::string_view subresource = {});

}  // namespace api
