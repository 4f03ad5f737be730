// The patch formats of the API as functions over JSON values: RFC 6902, RFC 7386 and strategic merge patch.
#pragma once

#include "api/schema.h"
#include "base/error.h"
#include "base/json.h"

namespace api {

// RFC 6902. At most 10,000 operations (413); a failed test or missing path is 422 Invalid, a malformed patch 400.
base::Result<base::json::value> json_patch(const base::json::value& document, const base::json::value& patch);
// RFC 7386.
base::json::value merge_patch(const base::json::value& document, const base::json::value& patch);
// With merge keys and the directives $patch, $retainKeys, $deleteFromPrimitiveList/x and $setElementOrder/x.
base::Result<base::json::value> strategic_merge_patch(const Type& type, const base::json::value& document, const base::json::value& patch);

}  // namespace api
