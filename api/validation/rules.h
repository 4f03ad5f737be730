// The rules across fields, as tables: by type, applied wherever the type occurs, and by kind, applied to the whole object.
#pragma once

#include <span>

#include "api/validation/checker.h"

namespace api::validation {

struct TypeRule {
  std::string_view type;  // "core.v1.Probe"
  void (*check)(Checker& c, const object& o, const std::string& path);
};

struct KindRule {
  std::string_view group, kind;
  // `before` is null on creation.
  void (*check)(Checker& c, const object* before, const object& o);
  // Of the status subresource; null: what the schema declares is all.
  void (*check_status)(Checker& c, const object& before, const object& o) = nullptr;
};

// Null when a type or kind has none.
const TypeRule* rule_of(const Type& type);
const KindRule* rule_of(const Kind& kind);

// The tables of each file.
std::span<const TypeRule> container_type_rules();
std::span<const TypeRule> scheduling_type_rules();
std::span<const TypeRule> volume_type_rules();
std::span<const TypeRule> network_type_rules();
std::span<const TypeRule> autoscaling_type_rules();
std::span<const TypeRule> admission_type_rules();
std::span<const TypeRule> device_type_rules();
std::span<const TypeRule> flow_type_rules();
std::span<const KindRule> pod_rules();
std::span<const KindRule> workload_rules();
std::span<const KindRule> job_rules();
std::span<const KindRule> autoscaling_rules();
std::span<const KindRule> service_rules();
std::span<const KindRule> network_rules();
std::span<const KindRule> data_rules();
std::span<const KindRule> storage_rules();
std::span<const KindRule> cluster_rules();
std::span<const KindRule> access_rules();
std::span<const KindRule> admission_rules();
std::span<const KindRule> extension_rules();
std::span<const KindRule> device_rules();
std::span<const KindRule> event_rules();

}  // namespace api::validation
