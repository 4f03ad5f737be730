// Steps that creating, updating and deleting share.
#pragma once

#include "server/apiserver/registry/registry.h"

namespace server {

// "Deployment.apps" or "Pod": how messages of invalid objects name the kind.
std::string kind_name(const ResourceInfo& r);
// 422 unless causes is empty.
Result<> check_causes(const ResourceInfo& r, std::string_view name, std::vector<base::Cause> causes);
// The store's record of an object that is not stored (dry run).
RecordPtr unsaved_record(const ResourceInfo& r, const std::string& key, const base::json::value& object, Revision revision);
// A write of the object under the key, with attributes.
datastore::Write object_write(const ResourceInfo& r, std::string key, const base::json::value& object, std::optional<Revision> expected);
// Whether a failed transaction failed because of this key's precondition.
bool lost_race(const base::Error& e, const std::string& key);
// Members of metadata and status aside, do two objects say the same?
bool same_desired(const base::json::object& a, const base::json::object& b);
// The same but for the times in managedFields and the resourceVersion.
bool same_object(const base::json::object& a, const base::json::object& b);
base::Failure modified_meanwhile(const ResourceInfo& r, std::string_view name);

constexpr int most_attempts = 100;

}  // namespace server
