// Server-side apply (KEP-555): who owns which field, kept in metadata.managedFields, and merging by ownership.
#pragma once

#include <string>

#include "api/schema.h"
#include "base/error.h"
#include "base/json.h"

namespace api {

struct Manager {
  std::string name;         // at most 128 characters, checked by the caller
  std::string subresource;  // "status", "scale"; empty for the main resource
  std::string time;         // RFC 3339, stamped on entries that change
};

// What makes an applied object unusable, as server-side apply words it: ".spec.foo: field not declared in schema", items of keyed lists
// without key or twice. Empty when there is nothing.
std::string check_applied(const Type& type, const base::json::value& applied);

// Merges what the manager applies into the live object (null: creation). A field owned by others with another value is 409 Conflict
// listing managers and fields, unless forced. Fields the manager owned and no longer applies are removed if nobody else owns them.
// For manager "kubectl", what the annotation of client-side apply holds is no conflict: those who change over keep their fields.
// metadata.managedFields of the result is up to date. The applied object must not carry managedFields.
base::Result<base::json::value> apply(const Kind& kind, const base::json::value& live, const base::json::value& applied,
                                      const Manager& manager, bool force);

// Ordinary create (live is null), update and patch: gives the fields that `object` changes to the manager as operation "Update" and takes
// removed ones from everybody. What the client sent in managedFields replaces the ownership known so far if it can be understood; a list
// of one empty entry removes all ownership.
void track_update(const Kind& kind, const base::json::value& live, base::json::value& object, const Manager& manager);

}  // namespace api
