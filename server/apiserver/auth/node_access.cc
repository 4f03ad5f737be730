#include "server/apiserver/auth/node_access.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/json.h"
#include "server/apiserver/registry/attributes.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::value;

const std::vector<PolicyRule>& fixed_rules() {
  using L = std::vector<std::string>;
  const L read = {"get", "list", "watch"}, core = {""};
  static const std::vector<PolicyRule> rules = {
      {{"create"}, {"authentication.k8s.io"}, {"tokenreviews", "selfsubjectreviews"}, {}, {}},
      {{"create"}, {"authorization.k8s.io"}, {"subjectaccessreviews", "localsubjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}, {}, {}},
      {read, core, {"services", "endpoints", "namespaces", "nodes", "pods", "limitranges"}, {}, {}},
      {{"list", "watch"}, core, {"persistentvolumes"}, {}, {}},
      {read, {"discovery.k8s.io"}, {"endpointslices"}, {}, {}},
      {read, {"networking.k8s.io"}, {"networkpolicies", "ingresses", "ingressclasses"}, {}, {}},
      {{"update", "patch"}, {"networking.k8s.io"}, {"ingresses/status"}, {}, {}},
      {read, {"node.k8s.io"}, {"runtimeclasses"}, {}, {}},
      {read, {"certificates.k8s.io"}, {"clustertrustbundles"}, {}, {}},
      {read, {"storage.k8s.io"}, {"csidrivers", "volumeattachments", "storageclasses"}, {}, {}},
      {{"create", "update", "patch"}, core, {"nodes", "nodes/status", "events"}, {}, {}},
      {{"create", "update", "patch"}, {"events.k8s.io"}, {"events"}, {}, {}},
      {{"create", "delete"}, core, {"pods"}, {}, {}},
      {{"update", "patch"}, core, {"pods/status"}, {}, {}},
      {{"create"}, core, {"pods/eviction"}, {}, {}},
      {{"create", "get", "list", "watch"}, {"certificates.k8s.io"}, {"certificatesigningrequests"}, {}, {}},
      {{"get"}, {}, {}, {}, {"/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/version", "/version/", "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"}},
  };
  return rules;
}

// Whether the pod refers to the object of that name.
bool refers(const value& pod, std::string_view resource, std::string_view name) {
  if (resource == "resourceclaims") {
    for (const char* list : {"spec.resourceClaims", "status.resourceClaimStatuses"})
      if (const base::json::array* claims = base::find_array(pod, list))
        for (const value& c : *claims)
          if (base::get_string(c, "resourceClaimName") == name) return true;
    return false;
  }
  auto each_container = [&](auto f) {
    for (const char* list : {"spec.containers", "spec.initContainers", "spec.ephemeralContainers"})
      if (const base::json::array* a = base::find_array(pod, list))
        for (const value& c : *a)
          if (f(c)) return true;
    return false;
  };
  const bool secret = resource == "secrets", config = resource == "configmaps", claim = resource == "persistentvolumeclaims";
  if (secret)
    if (const base::json::array* pulls = base::find_array(pod, "spec.imagePullSecrets"))
      for (const value& p : *pulls)
        if (base::get_string(p, "name") == name) return true;
  if (const base::json::array* volumes = base::find_array(pod, "spec.volumes"))
    for (const value& v : *volumes) {
      if (secret && base::get_string(v, "secret.secretName") == name) return true;
      if (config && base::get_string(v, "configMap.name") == name) return true;
      if (claim && base::get_string(v, "persistentVolumeClaim.claimName") == name) return true;
      if (claim && base::find(v, "ephemeral") &&
          fmt::format("{}-{}", base::get_string(pod, "metadata.name"), base::get_string(v, "name")) == name)
        return true;
      if (secret)
        for (const char* driver :
             {"csi.nodePublishSecretRef.name", "iscsi.secretRef.name", "cephfs.secretRef.name", "flexVolume.secretRef.name"})
          if (base::get_string(v, driver) == name) return true;
      if (const base::json::array* sources = base::find_array(v, "projected.sources"))
        for (const value& s : *sources)
          if ((secret && base::get_string(s, "secret.name") == name) || (config && base::get_string(s, "configMap.name") == name))
            return true;
    }
  if (!secret && !config) return false;
  return each_container([&](const value& c) {
    if (const base::json::array* from = base::find_array(c, "envFrom"))
      for (const value& e : *from)
        if (base::get_string(e, secret ? "secretRef.name" : "configMapRef.name") == name) return true;
    if (const base::json::array* env = base::find_array(c, "env"))
      for (const value& e : *env)
        if (base::get_string(e, secret ? "valueFrom.secretKeyRef.name" : "valueFrom.configMapKeyRef.name") == name) return true;
    return false;
  });
}

template <class F>
base::Task<bool> any_pod(const datastore::Store& store, std::string ns, std::string node, F f) {
  auto pods = co_await store.list(collection_prefix("", "pods", ns));
  if (!pods) co_return false;
  for (const datastore::RecordPtr& r : pods->records) {
    if (attributes_of(*r).field("spec.nodeName") != node) continue;
    auto pod = base::parse_json(*r->value, 256);
    if (pod && f(*pod)) co_return true;
  }
  co_return false;
}

std::string volume_of_claim(const datastore::Store& store, const std::string& ns, const std::string& claim) {
  auto record = store.get(object_key("", "persistentvolumeclaims", ns, claim));
  auto object = record ? base::parse_json(*record->value, 256) : base::Result<value>(value());
  return object ? std::string(base::get_string(*object, "spec.volumeName")) : std::string();
}

// Whether the volume behind one of the pod's claims needs the Secret to be mounted.
bool volume_refers(const datastore::Store& store, const value& pod, const std::string& ns, const std::string& secret) {
  const base::json::array* volumes = base::find_array(pod, "spec.volumes");
  if (!volumes) return false;
  for (const value& v : *volumes) {
    std::string claim(base::get_string(v, "persistentVolumeClaim.claimName"));
    if (base::find(v, "ephemeral")) claim = fmt::format("{}-{}", base::get_string(pod, "metadata.name"), base::get_string(v, "name"));
    if (claim.empty()) continue;
    auto record = store.get(object_key("", "persistentvolumes", {}, volume_of_claim(store, ns, claim)));
    auto volume = record ? base::parse_json(*record->value, 256) : base::Result<value>(value());
    if (!volume) continue;
    for (const char* path : {"csi.nodePublishSecretRef", "csi.nodeStageSecretRef", "csi.nodeExpandSecretRef", "iscsi.secretRef",
                             "cephfs.secretRef", "rbd.secretRef", "flexVolume.secretRef", "scaleIO.secretRef", "storageos.secretRef"}) {
      const value* reference = base::find(*volume, fmt::format("spec.{}", path));
      if (reference && base::get_string(*reference, "name") == secret && base::get_string(*reference, "namespace", ns) == ns) return true;
    }
    if (base::get_string(*volume, "spec.azureFile.secretName") == secret &&
        base::get_string(*volume, "spec.azureFile.secretNamespace", ns) == ns)
      return true;
  }
  return false;
}

base::Task<bool> ingress_uses(const datastore::Store& store, std::string ns, std::string secret) {
  auto all = co_await store.list(collection_prefix("networking.k8s.io", "ingresses", ns));
  if (!all) co_return false;
  for (const datastore::RecordPtr& r : all->records) {
    auto ingress = base::parse_json(*r->value, 256);
    const base::json::array* tls = ingress ? base::find_array(*ingress, "spec.tls") : nullptr;
    if (!tls) continue;
    for (const value& t : *tls)
      if (base::get_string(t, "secretName") == secret) co_return true;
  }
  co_return false;
}

}  // namespace

std::optional<std::string> node_of(const UserInfo& user) {
  constexpr std::string_view prefix = "system:node:";
  if (!user.name.starts_with(prefix) || user.name.size() == prefix.size() || !user.in_group("system:nodes")) return std::nullopt;
  return user.name.substr(prefix.size());
}

base::Task<Decision> node_access(const datastore::Store& store, std::string node, Access a) {
  for (const PolicyRule& rule : fixed_rules())
    if (rule_allows(rule, a)) co_return Decision{true, "node rule"};
  const bool reading = a.verb == "get" || a.verb == "list" || a.verb == "watch";
  const std::string name = a.name.empty() ? a.selected_name : a.name;
  Decision no{false, fmt::format("no relationship found between node '{}' and this object", node)};
  if (a.group.empty() && (a.resource == "secrets" || a.resource == "configmaps" || a.resource == "persistentvolumeclaims")) {
    const bool grown =
        a.resource == "persistentvolumeclaims" && a.subresource == "status" && (a.verb == "get" || a.verb == "update" || a.verb == "patch");
    if (!grown && (!reading || !a.subresource.empty())) co_return Decision{false, "can only read resources of this type"};
    if (name.empty()) co_return Decision{false, "can only read one named resource of this type at a time"};
    std::string resource = a.resource;
    bool found = co_await any_pod(store, a.ns, node, [&](const value& pod) {
      return refers(pod, resource, name) || (resource == "secrets" && volume_refers(store, pod, a.ns, name));
    });
    if (!found && resource == "secrets") found = co_await ingress_uses(store, a.ns, name);
    co_return found ? Decision{true, "referred to by a pod of the node"} : no;
  }
  // Volumes that are directories of nodes: an agent removes its own and says so. Admission sees to it that it changes nothing else.
  if (a.group.empty() && a.resource == "persistentvolumes" && a.subresource.empty() && a.verb == "patch") {
    auto record = store.get(object_key("", "persistentvolumes", {}, name));
    if (!record) co_return no;
    for (const auto& [label, at] : attributes_of(*record).labels)
      if (label == "appliance.dev/node" && at == node) co_return Decision{true, "a directory of the node"};
    co_return no;
  }
  if (a.group.empty() && a.resource == "persistentvolumes" && reading && !name.empty()) {
    auto record = store.get(object_key("", "persistentvolumes", {}, name));
    auto volume = record ? base::parse_json(*record->value, 256) : base::Result<value>(value());
    if (!volume) co_return no;
    std::string ns(base::get_string(*volume, "spec.claimRef.namespace")), claim(base::get_string(*volume, "spec.claimRef.name"));
    if (ns.empty()) co_return no;
    bool found = co_await any_pod(store, ns, node, [&](const value& pod) { return refers(pod, "persistentvolumeclaims", claim); });
    co_return found ? Decision{true, "claimed by a pod of the node"} : no;
  }
  if (a.group.empty() && a.resource == "serviceaccounts") {
    if (!(a.subresource == "token" && a.verb == "create") && !(a.subresource.empty() && a.verb == "get")) co_return no;
    bool found =
        co_await any_pod(store, a.ns, node, [&](const value& pod) { return base::get_string(pod, "spec.serviceAccountName") == name; });
    co_return found ? Decision{true, "used by a pod of the node"} : no;
  }
  if (a.group == "resource.k8s.io" && a.resource == "resourceclaims" && a.subresource.empty() && a.verb == "get") {
    bool found = co_await any_pod(store, a.ns, node, [&](const value& pod) { return refers(pod, "resourceclaims", name); });
    co_return found ? Decision{true, "used by a pod of the node"} : no;
  }
  if (a.group == "storage.k8s.io" && a.resource == "csinodes" && a.subresource.empty() && a.verb != "list" && a.verb != "watch" &&
      a.verb != "deletecollection") {
    if (a.verb == "create" || name == node) co_return Decision{true, "its own CSINode"};
    co_return Decision{false, "can only access CSINode with the same name as the requesting node"};
  }
  if (a.group == "coordination.k8s.io" && a.resource == "leases" && a.ns == "kube-node-lease") {
    if (a.verb == "create" || name == node) co_return Decision{true, "its own lease"};
    co_return Decision{false, "can only access node lease with the same name as the requesting node"};
  }
  co_return Decision{};
}

}  // namespace server
