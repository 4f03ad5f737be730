#include "server/apiserver/registry/resources.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "server/apiserver/registry/conversion.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using Name = std::pair<std::string_view, std::string_view>;  // group, plural

bool one_of(const ResourceInfo& r, std::initializer_list<Name> names) {
  return std::any_of(names.begin(), names.end(), [&](const Name& n) { return n.first == r.group && n.second == r.resource; });
}

bool has_generation(const ResourceInfo& r) {
  return one_of(r, {{"apps", "deployments"}, {"apps", "replicasets"}, {"apps", "statefulsets"}, {"apps", "daemonsets"}, {"batch", "jobs"}, {"batch", "cronjobs"},
                    {"", "replicationcontrollers"}, {"", "pods"}, {"policy", "poddisruptionbudgets"}, {"networking.k8s.io", "ingresses"},
                    {"networking.k8s.io", "ingressclasses"}, {"networking.k8s.io", "networkpolicies"}, {"flowcontrol.apiserver.k8s.io", "flowschemas"},
                    {"flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"}, {"discovery.k8s.io", "endpointslices"},
                    {"scheduling.k8s.io", "priorityclasses"}, {"apiextensions.k8s.io", "customresourcedefinitions"},
                    {"admissionregistration.k8s.io", "validatingwebhookconfigurations"}, {"admissionregistration.k8s.io", "mutatingwebhookconfigurations"},
                    {"admissionregistration.k8s.io", "validatingadmissionpolicies"}, {"admissionregistration.k8s.io", "validatingadmissionpolicybindings"},
                    {"resource.k8s.io", "resourceslices"}, {"resource.k8s.io", "deviceclasses"}, {"storage.k8s.io", "csidrivers"}});
}

bool returns_object(const ResourceInfo& r) {
  return one_of(r, {{"", "pods"}, {"", "services"}, {"", "serviceaccounts"}, {"", "persistentvolumes"}, {"", "persistentvolumeclaims"},
                    {"", "podtemplates"}, {"", "resourcequotas"}, {"storage.k8s.io", "storageclasses"}, {"storage.k8s.io", "volumeattachments"},
                    {"storage.k8s.io", "csinodes"}, {"storage.k8s.io", "csidrivers"}, {"resource.k8s.io", "resourceclaims"}});
}

NameRule name_rule(const ResourceInfo& r) {
  if (r.group == "rbac.authorization.k8s.io" ||
      one_of(r, {{"certificates.k8s.io", "clustertrustbundles"}, {"networking.k8s.io", "ipaddresses"}}))
    return NameRule::path_segment;
  if (one_of(r, {{"", "services"}})) return NameRule::rfc1035_label;
  if (one_of(r, {{"", "namespaces"}})) return NameRule::label;
  return NameRule::subdomain;
}

std::vector<std::string> subresources(const ResourceInfo& r) {
  std::vector<std::string> out;
  if (r.has_status) out.push_back("status");
  if (one_of(r, {{"apps", "deployments"}, {"apps", "replicasets"}, {"apps", "statefulsets"}, {"", "replicationcontrollers"}}))
    out.push_back("scale");
  if (one_of(r, {{"", "pods"}}))
    for (const char* s : {"attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize"})
      out.push_back(s);
  if (one_of(r, {{"", "services"}, {"", "nodes"}})) out.push_back("proxy");
  if (one_of(r, {{"", "serviceaccounts"}})) out.push_back("token");
  if (one_of(r, {{"", "namespaces"}})) out.push_back("finalize");
  if (one_of(r, {{"certificates.k8s.io", "certificatesigningrequests"}})) out.push_back("approval");
  return out;
}

}  // namespace

Resources::Resources(const std::function<const Strategy*(std::string_view, std::string_view)>& strategy_of) {
  // No resources of their own: served as subresources, by other means, or not at all yet.
  static const std::set<std::string_view> not_served = {"scales", "evictions"};
  for (const api::Kind& kind : api::Schema::builtin().kinds()) {
    if (kind.plural.empty() || not_served.contains(kind.plural)) continue;
    ResourceInfo r;
    r.kind = &kind;
    r.group = kind.group;
    r.version = kind.version;
    r.resource = kind.plural;
    r.qualified = kind.group.empty() ? kind.plural : kind.plural + "." + kind.group;
    r.api_version = kind.api_version();
    r.prefix = collection_prefix(kind.group, kind.plural);
    r.namespaced = kind.namespaced;
    const bool metrics = kind.group == "metrics.k8s.io";
    const bool own_state = kind.plural == "componentstatuses" || kind.plural == "apiservices";
    r.is_virtual = kind.is_virtual || metrics || own_state;
    r.has_status = !r.is_virtual && kind.type->field("status") != nullptr;
    r.has_generation = has_generation(r);
    r.generation_counts = r.has_generation && !one_of(r, {{"scheduling.k8s.io", "priorityclasses"}});
    r.annotations_count = one_of(r, {{"apps", "deployments"}});
    r.deletion_returns_object = returns_object(r);
    r.orphans_by_default = one_of(r, {{"batch", "jobs"}, {"", "replicationcontrollers"}});
    r.name_rule = name_rule(r);
    r.subresources = subresources(r);
    if (metrics || own_state) r.verbs = {"get", "list"};
    else if (r.is_virtual) r.verbs = {"create"};
    else r.verbs = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"};
    if (r.group.empty() && r.resource == "namespaces") std::erase(r.verbs, "deletecollection");
    r.strategy = strategy_of(r.group, r.resource);
    rows_.push_back(std::move(r));
  }
  for (ResourceInfo& r : rows_) {
    by_name_[fmt::format("{}/{}/{}", r.group, r.version, r.resource)] = &r;
    by_kind_[fmt::format("{}/{}/{}", r.group, r.version, r.kind->kind)] = &r;
    r.stored = &r;
  }
  auto store_as = [&](const ResourceInfo* from, const ResourceInfo* to, const Conversion* conversion) {
    if (!from || !to) return;
    auto* row = const_cast<ResourceInfo*>(from);
    row->stored = to;
    row->conversion = conversion;
  };
  store_as(find("events.k8s.io", "v1", "events"), find("", "v1", "events"), &event_conversion());
  store_as(find("autoscaling", "v1", "horizontalpodautoscalers"), find("autoscaling", "v2", "horizontalpodautoscalers"),
           &autoscaler_conversion());
  for (const ResourceInfo& r : rows_)
    if (r.stored == &r) by_store_[fmt::format("{}/{}", r.group.empty() ? "core" : r.group, r.resource)] = &r;
}

const ResourceInfo* Resources::find(std::string_view group, std::string_view version, std::string_view resource) const {
  auto it = by_name_.find(fmt::format("{}/{}/{}", group, version, resource));
  return it == by_name_.end() ? nullptr : it->second;
}

const ResourceInfo* Resources::by_kind(std::string_view group, std::string_view version, std::string_view kind) const {
  auto it = by_kind_.find(fmt::format("{}/{}/{}", group, version, kind));
  return it == by_kind_.end() ? nullptr : it->second;
}

const ResourceInfo* Resources::stored(std::string_view group, std::string_view resource) const {
  auto it = by_store_.find(fmt::format("{}/{}", group, resource));
  return it == by_store_.end() ? nullptr : it->second;
}

}  // namespace server
