#include "api/validation/rules.h"

#include <unordered_map>

namespace api::validation {
namespace {

// "io.k8s.api.core.v1" and "Probe" are "core.v1.Probe".
bool is_named(const Type& t, std::string_view name) {
  if (t.name.empty() || !name.ends_with(t.name)) return false;
  std::string_view rest = name.substr(0, name.size() - t.name.size());
  if (rest.empty() || rest.back() != '.') return false;
  rest.remove_suffix(1);
  return t.package.ends_with(rest) && (t.package.size() == rest.size() || t.package[t.package.size() - rest.size() - 1] == '.');
}

std::unordered_map<const Type*, const TypeRule*> by_type() {
  std::unordered_map<const Type*, const TypeRule*> out;
  std::unordered_map<std::string_view, std::vector<const TypeRule*>> by_name;
  for (auto table : {container_type_rules(), scheduling_type_rules(), volume_type_rules(), network_type_rules(), autoscaling_type_rules(),
                     admission_type_rules(), device_type_rules(), flow_type_rules()}) {
    for (const TypeRule& r : table) by_name[r.type.substr(r.type.rfind('.') + 1)].push_back(&r);
  }
  for (const Type& t : Schema::builtin().types()) {
    auto found = by_name.find(t.name);
    if (found == by_name.end()) continue;
    for (const TypeRule* r : found->second) {
      if (is_named(t, r->type)) out[&t] = r;
    }
  }
  return out;
}

std::unordered_map<const Type*, const KindRule*> by_kind() {
  std::unordered_map<const Type*, const KindRule*> out;
  for (auto table :
       {pod_rules(), workload_rules(), job_rules(), autoscaling_rules(), service_rules(), network_rules(), data_rules(), storage_rules(),
        cluster_rules(), access_rules(), admission_rules(), extension_rules(), device_rules(), event_rules()}) {
    for (const KindRule& r : table) {
      for (const Kind& k : Schema::builtin().kinds()) {
        if (k.group == r.group && k.kind == r.kind) out[k.type] = &r;
      }
    }
  }
  return out;
}

}  // namespace

const TypeRule* rule_of(const Type& type) {
  static const auto rules = by_type();
  auto it = rules.find(&type);
  return it == rules.end() ? nullptr : it->second;
}

const KindRule* rule_of(const Kind& kind) {
  static const auto rules = by_kind();
  auto it = rules.find(kind.type);
  return it == rules.end() ? nullptr : it->second;
}

}  // namespace api::validation
