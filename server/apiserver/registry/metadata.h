// metadata of any object: what the server sets, what may not change, what is valid. Rules of the Kubernetes API conventions and of metav1.ObjectMeta.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace server {

// How names of a kind must look.
enum class NameRule { subdomain, label, rfc1035_label, path_segment };

base::json::object& metadata_of(base::json::object& object);
const base::json::object& metadata_of(const base::json::object& object);
std::string_view text_of(const base::json::object& object, std::string_view name);

// For a new object: uid, creationTimestamp, no resourceVersion, generation, managed deletion fields removed.
void fill_new(base::json::object& meta, std::string_view ns, bool has_generation);
// Causes for moments of an object's life that a client says differently. Absent ones are no change.
void check_system_fields(const base::json::object& meta, const base::json::object& old, std::vector<base::Cause>& causes);
// Puts back what a client cannot change on update: uid, creationTimestamp, generation, deletion fields, generateName, selfLink.
void keep_system_fields(base::json::object& meta, const base::json::object& old);

void validate_metadata(const base::json::object& meta, bool namespaced, NameRule rule, std::vector<base::Cause>& causes);
void validate_metadata_update(const base::json::object& meta, const base::json::object& old, std::vector<base::Cause>& causes);

bool is_dns_label(std::string_view s);
bool is_dns_subdomain(std::string_view s);
bool is_qualified_name(std::string_view s);
bool is_label_value(std::string_view s);

bool has_finalizer(const base::json::object& meta, std::string_view name);
bool has_finalizers(const base::json::object& meta);
// Adds or removes one entry of metadata.finalizers.
void set_finalizer(base::json::object& meta, std::string_view name, bool present);

// The canonical text: apiVersion, kind, metadata (name, namespace, uid, resourceVersion first), the rest as it is.
// resourceVersion is written empty; revision_offset is where its digits belong.
std::string canonical_text(const base::json::object& object, size_t& revision_offset);

// Equality of meaning: members in any order, numbers by value, resourceVersion and managedFields' times left out by the caller.
bool same_value(const base::json::value& a, const base::json::value& b);

base::Cause required(std::string field, std::string_view detail = {});
base::Cause invalid_value(std::string field, const base::json::value& value, std::string_view detail);
base::Cause forbidden_field(std::string field, std::string_view detail);
base::Cause not_supported(std::string field, std::string_view value, const std::vector<std::string_view>& supported);

}  // namespace server
