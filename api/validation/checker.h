// Collects the causes of a validation in Kubernetes' words, and gives short access to members of JSON objects.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/schema.h"
#include "base/error.h"
#include "base/json.h"

namespace api::validation {

using base::json::array;
using base::json::object;
using base::json::value;

class Checker {
 public:
  std::vector<base::Cause> causes;

  void required(std::string path, std::string_view detail = {});
  void invalid(std::string path, const value& bad, std::string_view detail);
  void invalid_text(std::string path, std::string_view bad, std::string_view detail);
  void unsupported(std::string path, std::string_view bad, std::vector<std::string_view> supported);
  void duplicate(std::string path, std::string_view bad);
  void duplicate(std::string path, const value& bad);
  void forbidden(std::string path, std::string_view detail);
  void not_found(std::string path, std::string_view bad);
  void too_long(std::string path, size_t max);
  void too_many(std::string path, size_t count, size_t max);

  void wrong_type(std::string path, const value& bad, std::string_view detail);

  // Adds `problem` as invalid unless it is empty: for the functions of validate_names.h.
  void check_text(std::string path, std::string_view text, const std::string& problem);
  // "must be greater than or equal to 0" for a member that is a negative number.
  void non_negative(const object& o, std::string_view name, const std::string& path);
  void port(const std::string& path, int64_t number);
  // "field is immutable" when the member differs.
  void immutable(const object& before, const object& after, std::string_view name, const std::string& path,
                 std::string_view detail = "field is immutable");
};

// Absent members read as empty.
std::string_view text(const object& o, std::string_view name);
int64_t number(const object& o, std::string_view name, int64_t otherwise = 0);
bool flag(const object& o, std::string_view name);
bool has(const object& o, std::string_view name);
const object& map(const object& o, std::string_view name);
const array& list(const object& o, std::string_view name);
const object& as_object(const value& v);
std::string_view as_text(const value& v);

// The members of `o` among `names` that are there.
std::vector<std::string_view> present(const object& o, std::initializer_list<std::string_view> names);
// Whether the member is the same on both sides; absent ones are.
bool same(const object& before, const object& after, std::string_view name);

// What the schema declares: required members, enums, constraints and what is immutable, in everything but metadata; and the rules of the types
// met on the way (rules.h). `before` is null unless an object is updated. A status is checked for its constraints alone.
struct Declared {
  bool status = false;  // look at nothing but the status
};
void check_declared(Checker& c, const Type& type, const object* before, const value& v, Declared what);

// A custom resource against its OpenAPI schema. Rules in CEL (x-kubernetes-validations) are not evaluated.
void check_custom(Checker& c, const object& schema, const value& v);

// Pieces that several kinds share.
struct PodRules {
  bool is_template = false;
  std::vector<std::string_view> restart_policies;  // allowed ones; empty: all
  std::string_view no_deadline_in = {};            // the kind that allows no activeDeadlineSeconds
  bool updated = false;                            // an existing object: what was taken before is taken still
};
void check_pod_spec(Checker& c, const object& spec, const std::string& path, const PodRules& rules);
void check_pod_template(Checker& c, const object& parent, const std::string& path, const PodRules& rules);
// Annotations that say something about a pod's containers.
void check_pod_update(Checker& c, const object& before, const object& after, std::string_view subresource);
void check_volumes(Checker& c, const object& spec, const std::string& path);
void check_volume_source(Checker& c, const object& source, const std::string& path);
void check_claim_spec(Checker& c, const object& spec, const std::string& path, bool is_template);
void check_volume_spec(Checker& c, const object& spec, const std::string& path, bool inline_spec);
void check_toleration(Checker& c, const object& toleration, const std::string& path);
void check_scheduling(Checker& c, const object& pod_spec, const std::string& path);
void check_node_selector(Checker& c, const object& selector, const std::string& path);
void check_label_selector(Checker& c, const object& selector, const std::string& path);
void check_labels(Checker& c, const object& labels, const std::string& path);
void check_resources(Checker& c, const object& resources, const std::string& path);
void check_resource_name(Checker& c, std::string_view name, const std::string& path);
// One amount: not negative, and whole unless the resource can be divided.
void check_amount(Checker& c, std::string_view resource, const value& amount, const std::string& path);
void check_relative_path(Checker& c, const std::string& path, std::string_view p);
// A number, or a percentage of at most 100%.
void check_count(Checker& c, const object& o, std::string_view name, const std::string& path);

}  // namespace api::validation
