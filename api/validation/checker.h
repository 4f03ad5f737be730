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

// What the schema declares: required members and enums, in everything but metadata and status.
void check_schema(Checker& c, const Type& type, const value& v, const std::string& path);

// A custom resource against its OpenAPI schema. Rules in CEL (x-kubernetes-validations) are not evaluated.
void check_custom(Checker& c, const object& schema, const value& v);

struct PodRules {
  bool is_template = false;
  std::vector<std::string_view> restart_policies;  // allowed ones; empty: all
};
void check_pod_spec(Checker& c, const object& spec, const std::string& path, const PodRules& rules);
void check_pod_update(Checker& c, const object& before, const object& after, std::string_view subresource);
void check_label_selector(Checker& c, const object& selector, const std::string& path);
void check_labels(Checker& c, const object& labels, const std::string& path);
void check_resources(Checker& c, const object& resources, const std::string& path);

// Each group of kinds: true when the kind was theirs. `before` is null on creation.
bool check_workload(Checker& c, const Kind& kind, const object* before, const object& o);
bool check_network(Checker& c, const Kind& kind, const object* before, const object& o);
bool check_data(Checker& c, const Kind& kind, const object* before, const object& o);
bool check_rbac(Checker& c, const Kind& kind, const object* before, const object& o);
bool check_cluster(Checker& c, const Kind& kind, const object* before, const object& o);

}  // namespace api::validation
