// ResourceQuota: what is created is charged to the namespace's quotas in the transaction that creates it, so that racing requests never get more than the
// quota allows. Releases are left to the quota controller, which counts afresh.
#include <fmt/format.h>

#include <map>

#include "api/quantity.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/registry/write.h"

namespace server {
namespace {

using api::Quantity;
using base::json::object;
using base::json::value;
using Amounts = std::map<std::string, Quantity>;

void add_list(Amounts& to, const value& container, std::string_view list, const std::string& prefix) {
  if (const object* amounts = base::find_object(container, list))
    for (const auto& [name, q] : *amounts)
      if (q.is_string()) to[prefix + std::string(name)] += Quantity::of(q.get_string());
}

void add_container(Amounts& to, const value& c) {
  add_list(to, c, "resources.requests", "requests.");
  add_list(to, c, "resources.limits", "limits.");
}

// Containers together, or the largest moment of initialisation; sidecars run along with both.
Amounts pod_amounts(const value& pod) {
  Amounts sum, sidecars, peak;
  if (const base::json::array* list = base::find_array(pod, "spec.containers"))
    for (const value& c : *list) add_container(sum, c);
  if (const base::json::array* list = base::find_array(pod, "spec.initContainers"))
    for (const value& c : *list) {
      if (base::get_string(c, "restartPolicy") == "Always") {
        add_container(sidecars, c);
        continue;
      }
      Amounts moment = sidecars;
      add_container(moment, c);
      for (const auto& [name, q] : moment)
        if (peak[name] < q) peak[name] = q;
    }
  for (const auto& [name, q] : sidecars) sum[name] += q;
  for (const auto& [name, q] : peak)
    if (sum[name] < q) sum[name] = q;
  Amounts overhead;
  add_list(overhead, pod, "spec.overhead", "");
  for (const auto& [name, q] : overhead)
    for (const char* prefix : {"requests.", "limits."})
      if (auto it = sum.find(prefix + name); it != sum.end()) it->second += q;
  for (const char* name : {"cpu", "memory", "ephemeral-storage"})
    if (auto it = sum.find(std::string("requests.") + name); it != sum.end()) sum[name] = it->second;
  sum["pods"] = Quantity::of_value(1);
  return sum;
}

Amounts charge_of(const ResourceInfo& r, const value& o) {
  Amounts out;
  if (r.group.empty() && r.resource == "pods") {
    out = pod_amounts(o);
  } else if (r.group.empty() && r.resource == "services") {
    out["services"] = Quantity::of_value(1);
    std::string_view type = base::get_string(o, "spec.type");
    if (type == "LoadBalancer") out["services.loadbalancers"] = Quantity::of_value(1);
    const base::json::array* ports = base::find_array(o, "spec.ports");
    if (type == "NodePort" || (type == "LoadBalancer" && base::get_bool(o, "spec.allocateLoadBalancerNodePorts", true)))
      out["services.nodeports"] = Quantity::of_value(ports ? static_cast<int64_t>(ports->size()) : 0);
  } else if (r.group.empty() && r.resource == "persistentvolumeclaims") {
    Quantity storage = Quantity::of(base::get_string(o, "spec.resources.requests.storage", "0"));
    std::string storage_class(base::get_string(o, "spec.storageClassName"));
    out["persistentvolumeclaims"] = Quantity::of_value(1);
    out["requests.storage"] = storage;
    if (!storage_class.empty()) {
      out[storage_class + ".storageclass.storage.k8s.io/requests.storage"] = storage;
      out[storage_class + ".storageclass.storage.k8s.io/persistentvolumeclaims"] = Quantity::of_value(1);
    }
  } else if (r.group.empty()) {
    for (std::string_view counted : {"configmaps", "secrets", "resourcequotas", "replicationcontrollers"})
      if (r.resource == counted) out[r.resource] = Quantity::of_value(1);
  }
  out["count/" + r.qualified] = Quantity::of_value(1);
  return out;
}

bool best_effort(const value& pod) { return base::get_string(pod, "status.qosClass") == "BestEffort"; }

bool in_scope(const value& pod, std::string_view scope, std::string_view op, const base::json::array* values) {
  bool deadline = base::find(pod, "spec.activeDeadlineSeconds") != nullptr;
  if (scope == "Terminating") return deadline;
  if (scope == "NotTerminating") return !deadline;
  if (scope == "BestEffort") return best_effort(pod);
  if (scope == "NotBestEffort") return !best_effort(pod);
  if (scope != "PriorityClass") return true;
  std::string_view name = base::get_string(pod, "spec.priorityClassName");
  bool listed = false;
  if (values)
    for (const value& v : *values) listed |= v.is_string() && v.get_string() == name;
  return op == "In" ? listed : op == "NotIn" ? !listed : op == "DoesNotExist" ? name.empty() : !name.empty();
}

bool matches(const value& quota, const ResourceInfo& r, const value& o) {
  const base::json::array* scopes = base::find_array(quota, "spec.scopes");
  const base::json::array* selectors = base::find_array(quota, "spec.scopeSelector.matchExpressions");
  const bool pod = r.group.empty() && r.resource == "pods";
  if (((scopes && !scopes->empty()) || (selectors && !selectors->empty())) && !pod) return false;
  if (scopes)
    for (const value& s : *scopes)
      if (s.is_string() && !in_scope(o, s.get_string(), "Exists", nullptr)) return false;
  if (selectors)
    for (const value& s : *selectors)
      if (!in_scope(o, base::get_string(s, "scopeName"), base::get_string(s, "operator"), base::find_array(s, "values"))) return false;
  return true;
}

std::string listed(const Amounts& amounts) {
  std::string out;
  for (const auto& [name, q] : amounts) out += fmt::format("{}{}={}", out.empty() ? "" : ",", name, q.to_string());
  return out;
}

class ResourceQuota final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "ResourceQuota"; }
  bool handles(const Admit& a) const override {
    return a.operation == Operation::create && a.attempt.resource.namespaced && !a.attempt.resource.is_virtual && a.attempt.resource.resource != "events" &&
           a.attempt.store.count(collection_prefix("", "resourcequotas", a.attempt.ns)) > 0;
  }

  base::Task<Result<>> validate(Admit a) override {
    auto all = co_await a.attempt.store.list(collection_prefix("", "resourcequotas", a.attempt.ns));
    if (!all) co_return std::unexpected(std::move(all).error());
    const Amounts charge = charge_of(a.attempt.resource, *a.object);
    for (const datastore::RecordPtr& record : all->records) CO_CHECK_OK(take(a, *record, charge));
    co_return Result<>{};
  }

 private:
  static Result<> take(const Admit& a, const datastore::Record& record, const Amounts& charge) {
    TRY(value quota, base::parse_json(*record.value, 256));
    if (!matches(quota, a.attempt.resource, *a.object)) return {};
    const object* hard = base::find_object(quota, "spec.hard");
    if (!hard) return {};
    const std::string quota_name(name_in_key(record.key));
    auto refuse = [&](std::string why) { return base::forbidden(a.attempt.resource.qualified, a.attempt.name, why); };
    const bool pod = is_resource(a, "", "pods");
    Amounts requested, used, limited;
    std::string missing, unknown;
    object now;
    if (const object* before = base::find_object(quota, "status.used")) now = *before;
    for (const auto& [name, limit] : *hard) {
      auto it = charge.find(std::string(name));
      if (it == charge.end()) {
        // A quota on compute makes stating it a duty.
        std::string_view n = name;
        bool compute = n == "cpu" || n == "memory" || n.starts_with("limits.") || n == "requests.cpu" || n == "requests.memory";
        if (pod && compute) missing += fmt::format("{}{}", missing.empty() ? "" : ",", n);
        continue;
      }
      if (it->second.is_zero()) continue;
      const value* spent = now.if_contains(name);
      if (!spent || !spent->is_string()) {
        unknown += fmt::format("{}{}", unknown.empty() ? "" : ",", std::string_view(name));
        continue;
      }
      Quantity was = Quantity::of(spent->get_string()), most = limit.is_string() ? Quantity::of(limit.get_string()) : Quantity();
      if (was + it->second > most) {
        requested[std::string(name)] = it->second;
        used[std::string(name)] = was;
        limited[std::string(name)] = most;
      }
      now[name] = (was + it->second).to_string();
    }
    if (!missing.empty()) return refuse(fmt::format("failed quota: {}: must specify {}", quota_name, missing));
    if (!unknown.empty()) return refuse(fmt::format("status unknown for quota: {}, resources: {}", quota_name, unknown));
    if (!requested.empty())
      return refuse(fmt::format("exceeded quota: {}, requested: {}, used: {}, limited: {}", quota_name, listed(requested), listed(used), listed(limited)));
    const object* before = base::find_object(quota, "status.used");
    if (a.attempt.call.dry_run || (before && *before == now)) return {};
    base::make_object(quota, "status")["used"] = std::move(now);
    // The row of quotas, for its attributes.
    static const ResourceInfo row = [] {
      ResourceInfo r;
      r.resource = "resourcequotas";
      return r;
    }();
    a.attempt.also.push_back(object_write(row, record.key, quota, record.revision));
    return {};
  }
};

}  // namespace

std::unique_ptr<AdmissionPlugin> make_resource_quota_admission() { return std::make_unique<ResourceQuota>(); }

}  // namespace server
