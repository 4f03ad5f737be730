#include "api/quota.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace api {

using base::json::array;
using base::json::object;
using base::json::value;

namespace {

constexpr std::string_view containers[] = {"spec.containers", "spec.initContainers"};

void add(Amounts& to, const Amounts& from) {
  for (const auto& [name, q] : from) to[name] += q;
}

void raise(Amounts& to, const Amounts& from) {
  for (const auto& [name, q] : from)
    if (to[name] < q) to[name] = q;
}

Amounts container_amounts(const value& c, std::string_view at = "resources") {
  Amounts out;
  for (std::string_view list : {"requests", "limits"})
    for (auto& [name, q] : amounts_at(c, fmt::format("{}.{}", at, list))) out[fmt::format("{}.{}", list, name)] = q;
  return out;
}

bool finished(const value& pod) {
  std::string_view phase = base::get_string(pod, "status.phase");
  return phase == "Succeeded" || phase == "Failed";
}

bool best_effort(const value& pod) {
  if (std::string_view known = base::get_string(pod, "status.qosClass"); !known.empty()) return known == "BestEffort";
  for (std::string_view list : containers)
    if (const array* all = base::find_array(pod, list))
      for (const value& c : *all)
        for (const auto& [name, q] : container_amounts(c))
          if (!q.is_zero() && (name.ends_with(".cpu") || name.ends_with(".memory"))) return false;
  return true;
}

bool crosses_namespaces(const value& pod) {
  auto crosses = [](const value& term) {
    const array* namespaces = base::find_array(term, "namespaces");
    return (namespaces && !namespaces->empty()) || base::find_object(term, "namespaceSelector");
  };
  for (const char* kind : {"podAffinity", "podAntiAffinity"}) {
    const std::string at = fmt::format("spec.affinity.{}.", kind);
    if (const array* hard = base::find_array(pod, at + "requiredDuringSchedulingIgnoredDuringExecution"))
      for (const value& t : *hard)
        if (crosses(t)) return true;
    if (const array* soft = base::find_array(pod, at + "preferredDuringSchedulingIgnoredDuringExecution"))
      for (const value& t : *soft)
        if (const value* term = base::find(t, "podAffinityTerm"); term && crosses(*term)) return true;
  }
  return false;
}

bool named(std::string_view name, std::string_view op, const array* values) {
  bool listed =
      values && std::any_of(values->begin(), values->end(), [&](const value& v) { return v.is_string() && v.get_string() == name; });
  return op == "In" ? listed : op == "NotIn" ? !listed : op == "DoesNotExist" ? name.empty() : !name.empty();
}

bool in_scope(bool pod, const value& o, std::string_view scope, std::string_view op, const array* values) {
  if (scope == "VolumeAttributesClass") {
    if (pod) return false;
    auto has = [&](std::string_view path) { return named(base::get_string(o, path), op, values); };
    if (op == "NotIn" || op == "DoesNotExist") return has("spec.volumeAttributesClassName");
    return has("spec.volumeAttributesClassName") || has("status.currentVolumeAttributesClassName") ||
           has("status.modifyVolumeStatus.targetVolumeAttributesClassName");
  }
  if (!pod) return false;
  const bool ends = base::find(o, "spec.activeDeadlineSeconds") != nullptr;
  if (scope == "Terminating") return ends;
  if (scope == "NotTerminating") return !ends;
  if (scope == "BestEffort") return best_effort(o);
  if (scope == "NotBestEffort") return !best_effort(o);
  if (scope == "CrossNamespacePodAffinity") return crosses_namespaces(o);
  return scope == "PriorityClass" && named(base::get_string(o, "spec.priorityClassName"), op, values);
}

void charge_pod(Amounts& out, const value& pod) {
  if (finished(pod)) return;
  Amounts all = pod_amounts(pod);
  for (std::string_view name : {"cpu", "memory", "ephemeral-storage"})
    if (auto it = all.find(fmt::format("requests.{}", name)); it != all.end()) out[std::string(name)] = it->second;
  for (const auto& [name, q] : all) {
    if (name.starts_with("requests.hugepages-")) out[name.substr(9)] = q;
    // Of extended resources, only requests count.
    bool extended = name.find('/') != name.npos;
    if (!extended || name.starts_with("requests.")) out[name] = q;
  }
  out["pods"] = Quantity::of_value(1);
}

void charge_service(Amounts& out, const value& o) {
  std::string_view type = base::get_string(o, "spec.type");
  const array* ports = base::find_array(o, "spec.ports");
  int64_t count = ports ? int64_t(ports->size()) : 0;
  out["services"] = Quantity::of_value(1);
  if (type == "LoadBalancer") {
    out["services.loadbalancers"] = Quantity::of_value(1);
    if (!base::get_bool(o, "spec.allocateLoadBalancerNodePorts", true))
      count = ports ? std::count_if(ports->begin(), ports->end(), [](const value& p) { return base::get_int(p, "nodePort") != 0; }) : 0;
  }
  if (type == "NodePort" || type == "LoadBalancer") out["services.nodeports"] = Quantity::of_value(count);
}

void charge_claim(Amounts& out, const value& o) {
  Quantity size = Quantity::of(base::get_string(o, "spec.resources.requests.storage", "0"));
  if (Quantity grown = Quantity::of(base::get_string(o, "status.allocatedResources.storage", "0")); size < grown) size = grown;
  const object* annotations = base::find_object(o, "metadata.annotations");
  const value* old = annotations ? annotations->if_contains("volume.beta.kubernetes.io/storage-class") : nullptr;
  std::string storage_class(old && old->is_string() ? std::string_view(old->get_string()) : base::get_string(o, "spec.storageClassName"));
  out["persistentvolumeclaims"] = Quantity::of_value(1);
  out["requests.storage"] = size;
  if (storage_class.empty()) return;
  out[storage_class + ".storageclass.storage.k8s.io/requests.storage"] = size;
  out[storage_class + ".storageclass.storage.k8s.io/persistentvolumeclaims"] = Quantity::of_value(1);
}

}  // namespace

Amounts amounts_at(const value& from, std::string_view path) {
  Amounts out;
  if (const object* o = base::find_object(from, path))
    for (const auto& [name, q] : *o)
      if (q.is_string()) out[std::string(name)] = Quantity::of(q.get_string());
  return out;
}

Amounts pod_amounts(const value& pod) {
  Amounts sum, sidecars, peak;
  if (const array* list = base::find_array(pod, "spec.containers"))
    for (const value& c : *list) add(sum, container_amounts(c));
  if (const array* list = base::find_array(pod, "spec.initContainers"))
    for (const value& c : *list) {
      if (base::get_string(c, "restartPolicy") == "Always") {
        add(sidecars, container_amounts(c));
        raise(peak, sidecars);
        continue;
      }
      Amounts moment = sidecars;
      add(moment, container_amounts(c));
      raise(peak, moment);
    }
  add(sum, sidecars);
  raise(sum, peak);
  for (auto& [name, q] : container_amounts(pod, "spec.resources")) sum[name] = q;
  for (auto& [name, q] : amounts_at(pod, "spec.overhead"))
    for (const char* prefix : {"requests.", "limits."})
      if (auto it = sum.find(prefix + name); it != sum.end() || *prefix == 'r') sum[prefix + name] += q;
  return sum;
}

Amounts quota_charge(std::string_view qualified, const value& o) {
  Amounts out;
  if (qualified == "pods") charge_pod(out, o);
  else if (qualified == "services") charge_service(out, o);
  else if (qualified == "persistentvolumeclaims") charge_claim(out, o);
  else if (quota_resource(qualified) == qualified && qualified.find('.') == qualified.npos)
    out[std::string(qualified)] = Quantity::of_value(1);
  out[fmt::format("count/{}", qualified)] = Quantity::of_value(1);
  return out;
}

bool quota_takes(const value& quota, std::string_view qualified, const value& o) {
  const array* scopes = base::find_array(quota, "spec.scopes");
  const array* selectors = base::find_array(quota, "spec.scopeSelector.matchExpressions");
  const bool pod = qualified == "pods";
  if (!pod && qualified != "persistentvolumeclaims") return (!scopes || scopes->empty()) && (!selectors || selectors->empty());
  if (scopes)
    for (const value& s : *scopes)
      if (s.is_string() && !in_scope(pod, o, s.get_string(), "Exists", nullptr)) return false;
  if (selectors)
    for (const value& s : *selectors)
      if (!in_scope(pod, o, base::get_string(s, "scopeName"), base::get_string(s, "operator"), base::find_array(s, "values"))) return false;
  return true;
}

std::string quota_resource(std::string_view name) {
  if (name.starts_with("count/")) return std::string(name.substr(6));
  if (name == "persistentvolumeclaims" || name == "requests.storage" || name.find(".storageclass.storage.k8s.io/") != name.npos)
    return "persistentvolumeclaims";
  if (name == "services" || name.starts_with("services.")) return "services";
  for (std::string_view plain : {"configmaps", "secrets", "resourcequotas", "replicationcontrollers"})
    if (name == plain) return std::string(name);
  for (std::string_view prefix : {"requests.", "limits.", "hugepages-"})
    if (name.starts_with(prefix)) return "pods";
  for (std::string_view plain : {"pods", "cpu", "memory", "ephemeral-storage"})
    if (name == plain) return "pods";
  return {};
}

std::string quota_silence(const object& hard, const value& pod) {
  std::map<std::string, std::set<std::string>> missing;
  for (const auto& [name, limit] : hard) {
    std::string_view n = name;
    std::string asked = n == "cpu" || n == "memory" ? fmt::format("requests.{}", n) : std::string(n);
    bool compute = asked == "requests.cpu" || asked == "requests.memory" || asked == "limits.cpu" || asked == "limits.memory";
    if (!compute || base::find(pod, "spec.resources." + asked)) continue;
    for (std::string_view list : containers)
      if (const array* all = base::find_array(pod, list))
        for (const value& c : *all)
          if (!base::find(c, "resources." + asked)) missing[std::string(n)].insert(std::string(base::get_string(c, "name")));
  }
  std::string out;
  for (const auto& [name, who] : missing)
    out += fmt::format("{}{} for: {}", out.empty() ? "must specify " : "; ", name, fmt::join(who, ","));
  return out;
}

}  // namespace api
