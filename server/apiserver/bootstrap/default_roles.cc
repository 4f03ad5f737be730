#include "server/apiserver/bootstrap/default_roles.h"

#include <map>

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;
using List = std::vector<std::string_view>;

array texts(const List& in) {
  array out;
  for (std::string_view s : in) out.emplace_back(s);
  return out;
}

value rule(const List& groups, const List& resources, const List& verbs) {
  return object{{"verbs", texts(verbs)}, {"apiGroups", texts(groups)}, {"resources", texts(resources)}};
}

value urls(const List& paths, const List& verbs) { return object{{"verbs", texts(verbs)}, {"nonResourceURLs", texts(paths)}}; }

object metadata(std::string_view name) {
  return {{"name", name}, {"labels", object{{"kubernetes.io/bootstrapping", "rbac-defaults"}}}, {"annotations", object{{"rbac.authorization.kubernetes.io/autoupdate", "true"}}}};
}

object role(std::string_view name, array rules) {
  return {{"apiVersion", "rbac.authorization.k8s.io/v1"}, {"kind", "ClusterRole"}, {"metadata", metadata(name)}, {"rules", std::move(rules)}};
}

object aggregated_into(std::string_view into, object r) {
  r["metadata"].as_object()["labels"].as_object()["rbac.authorization.k8s.io/aggregate-to-" + std::string(into)] = "true";
  return r;
}

// admin, edit and view gather the rules of labelled roles; they are written out as well.
object aggregating(std::string_view name, const List& also_into, array rules) {
  object r = role(name, std::move(rules));
  r["aggregationRule"] = object{{"clusterRoleSelectors", array{object{{"matchLabels", object{{"rbac.authorization.k8s.io/aggregate-to-" + std::string(name), "true"}}}}}}};
  for (std::string_view into : also_into) r = aggregated_into(into, std::move(r));
  return r;
}

object binding(std::string_view role_name, array subjects) {
  return {{"apiVersion", "rbac.authorization.k8s.io/v1"},
          {"kind", "ClusterRoleBinding"},
          {"metadata", metadata(role_name)},
          {"roleRef", object{{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "ClusterRole"}, {"name", role_name}}},
          {"subjects", std::move(subjects)}};
}

value subject(std::string_view kind, std::string_view name) { return object{{"kind", kind}, {"apiGroup", "rbac.authorization.k8s.io"}, {"name", name}}; }

const List read = {"get", "list", "watch"};
const List change = {"create", "delete", "deletecollection", "patch", "update"};
const List all_of_them = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"};

array view_rules() {
  return {
      rule({""}, {"configmaps", "endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods", "replicationcontrollers", "replicationcontrollers/scale",
                  "serviceaccounts", "services", "services/status"}, read),
      rule({""}, {"bindings", "events", "limitranges", "namespaces/status", "pods/log", "pods/status", "replicationcontrollers/status", "resourcequotas", "resourcequotas/status"}, read),
      rule({""}, {"namespaces"}, read),
      rule({"discovery.k8s.io"}, {"endpointslices"}, read),
      rule({"apps"}, {"controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale", "deployments/status", "replicasets", "replicasets/scale",
                      "replicasets/status", "statefulsets", "statefulsets/scale", "statefulsets/status"}, read),
      rule({"autoscaling"}, {"horizontalpodautoscalers", "horizontalpodautoscalers/status"}, read),
      rule({"batch"}, {"cronjobs", "cronjobs/status", "jobs", "jobs/status"}, read),
      rule({"policy"}, {"poddisruptionbudgets", "poddisruptionbudgets/status"}, read),
      rule({"networking.k8s.io"}, {"ingresses", "ingresses/status", "networkpolicies"}, read),
      rule({"metrics.k8s.io"}, {"pods", "nodes"}, read),
  };
}

array edit_rules() {
  return {
      rule({""}, {"pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"}, read),
      rule({""}, {"serviceaccounts"}, {"impersonate"}),
      rule({""}, {"pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"}, change),
      rule({""}, {"pods/eviction"}, {"create"}),
      rule({""}, {"configmaps", "events", "persistentvolumeclaims", "replicationcontrollers", "replicationcontrollers/scale", "secrets", "serviceaccounts", "services", "services/proxy"},
           change),
      rule({""}, {"serviceaccounts/token"}, {"create"}),
      rule({"apps"}, {"daemonsets", "deployments", "deployments/rollback", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets", "statefulsets/scale"}, change),
      rule({"autoscaling"}, {"horizontalpodautoscalers"}, change),
      rule({"batch"}, {"cronjobs", "jobs"}, change),
      rule({"policy"}, {"poddisruptionbudgets"}, change),
      rule({"networking.k8s.io"}, {"ingresses", "networkpolicies"}, change),
      rule({"coordination.k8s.io"}, {"leases"}, all_of_them),
  };
}

array admin_rules() {
  return {
      rule({"authorization.k8s.io"}, {"localsubjectaccessreviews"}, {"create"}),
      rule({"rbac.authorization.k8s.io"}, {"rolebindings", "roles"}, all_of_them),
  };
}

array joined(std::initializer_list<array> parts) {
  array out;
  for (const array& p : parts)
    for (const value& v : p) out.push_back(v);
  return out;
}

}  // namespace

std::vector<object> default_roles() {
  const List discovery = {"/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"};
  const List info = {"/healthz", "/livez", "/readyz", "/version", "/version/"};
  const value events = rule({"", "events.k8s.io"}, {"events"}, {"create", "patch", "update"});
  std::vector<object> out;
  out.push_back(role("cluster-admin", {rule({"*"}, {"*"}, {"*"}), urls({"*"}, {"*"})}));
  out.push_back(role("system:discovery", {urls(discovery, {"get"})}));
  out.push_back(role("system:public-info-viewer", {urls(info, {"get"})}));
  out.push_back(role("system:monitoring", {urls({"/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"}, {"get"})}));
  out.push_back(role("system:basic-user", {rule({"authorization.k8s.io"}, {"selfsubjectaccessreviews", "selfsubjectrulesreviews"}, {"create"}),
                                           rule({"authentication.k8s.io"}, {"selfsubjectreviews"}, {"create"})}));
  out.push_back(aggregated_into("view", role("system:aggregate-to-view", view_rules())));
  out.push_back(aggregated_into("edit", role("system:aggregate-to-edit", edit_rules())));
  out.push_back(aggregated_into("admin", role("system:aggregate-to-admin", admin_rules())));
  out.push_back(aggregating("view", {"edit"}, view_rules()));
  out.push_back(aggregating("edit", {"admin"}, joined({edit_rules(), view_rules()})));
  out.push_back(aggregating("admin", {}, joined({admin_rules(), edit_rules(), view_rules()})));
  out.push_back(role("system:auth-delegator", {rule({"authentication.k8s.io"}, {"tokenreviews"}, {"create"}), rule({"authorization.k8s.io"}, {"subjectaccessreviews"}, {"create"})}));
  out.push_back(role("system:service-account-issuer-discovery", {urls({"/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"}, {"get"})}));
  out.push_back(role("system:kubelet-api-admin", {rule({""}, {"nodes"}, read), rule({""}, {"nodes"}, {"proxy"}), rule({""}, {"nodes/log", "nodes/metrics", "nodes/proxy", "nodes/stats"}, {"*"})}));
  out.push_back(role("system:node-bootstrapper", {rule({"certificates.k8s.io"}, {"certificatesigningrequests"}, {"create", "get", "list", "watch"})}));
  out.push_back(role("system:node-problem-detector", {rule({""}, {"nodes"}, {"get"}), rule({""}, {"nodes/status"}, {"patch"}), events}));
  out.push_back(role("system:node-proxier", {rule({""}, {"services", "endpoints"}, {"list", "watch"}), rule({""}, {"nodes"}, read), events, rule({"discovery.k8s.io"}, {"endpointslices"}, {"list", "watch"})}));
  out.push_back(role("system:kube-dns", {rule({""}, {"endpoints", "services"}, {"list", "watch"})}));
  out.push_back(role("system:persistent-volume-provisioner", {rule({""}, {"persistentvolumes"}, {"create", "delete", "get", "list", "watch"}),
                                                              rule({""}, {"persistentvolumeclaims"}, {"get", "list", "update", "watch"}), rule({"storage.k8s.io"}, {"storageclasses"}, read),
                                                              rule({""}, {"events"}, {"watch"}), events}));
  out.push_back(role("system:kube-scheduler",
                     {events, rule({"coordination.k8s.io"}, {"leases"}, all_of_them), rule({""}, {"nodes"}, read), rule({""}, {"pods"}, {"delete", "get", "list", "watch"}),
                      rule({""}, {"bindings", "pods/binding"}, {"create"}), rule({""}, {"pods/status"}, {"patch", "update"}),
                      rule({""}, {"replicationcontrollers", "services", "namespaces"}, read), rule({"apps"}, {"replicasets", "statefulsets"}, read),
                      rule({"policy"}, {"poddisruptionbudgets"}, read), rule({""}, {"persistentvolumeclaims", "persistentvolumes"}, {"get", "list", "patch", "update", "watch"}),
                      rule({"storage.k8s.io"}, {"csinodes", "csidrivers", "csistoragecapacities", "storageclasses"}, read),
                      rule({"authentication.k8s.io"}, {"tokenreviews"}, {"create"}), rule({"authorization.k8s.io"}, {"subjectaccessreviews"}, {"create"})}));
  out.push_back(role("system:kube-controller-manager",
                     {events, rule({"coordination.k8s.io"}, {"leases"}, all_of_them), rule({""}, {"secrets", "serviceaccounts"}, {"create", "get", "update"}), rule({""}, {"secrets"}, {"delete"}),
                      rule({""}, {"namespaces", "configmaps"}, {"get"}), rule({"authentication.k8s.io"}, {"tokenreviews"}, {"create"}),
                      rule({"authorization.k8s.io"}, {"subjectaccessreviews"}, {"create"}), rule({"*"}, {"*"}, {"list", "watch"}), rule({""}, {"serviceaccounts/token"}, {"create"})}));
  // What the node authoriser grants, shown as a role; nobody is bound to it.
  out.push_back(role("system:node", {rule({""}, {"services", "nodes", "pods", "namespaces", "endpoints"}, read), rule({"discovery.k8s.io"}, {"endpointslices"}, read),
                                     rule({"networking.k8s.io"}, {"ingresses", "ingressclasses", "networkpolicies"}, read), rule({""}, {"nodes", "nodes/status"}, {"create", "patch", "update"}),
                                     rule({""}, {"pods/status"}, {"patch", "update"}), rule({""}, {"pods"}, {"create", "delete"}), rule({""}, {"pods/eviction"}, {"create"}), events,
                                     rule({""}, {"configmaps", "secrets", "persistentvolumeclaims", "persistentvolumes"}, {"get", "list", "watch"}),
                                     rule({""}, {"serviceaccounts/token"}, {"create"}), rule({"coordination.k8s.io"}, {"leases"}, {"create", "delete", "get", "patch", "update"}),
                                     rule({"certificates.k8s.io"}, {"certificatesigningrequests"}, {"create", "get", "list", "watch"}), rule({"node.k8s.io"}, {"runtimeclasses"}, read)}));
  for (std::string_view signer : {"kube-apiserver-client-approver", "kube-apiserver-client-kubelet-approver", "kubelet-serving-approver"})
    out.push_back(role("system:certificates.k8s.io:" + std::string(signer), {rule({"certificates.k8s.io"}, {"signers"}, {"approve"})}));
  out.push_back(role("system:certificates.k8s.io:certificatesigningrequests:nodeclient", {rule({"certificates.k8s.io"}, {"certificatesigningrequests/nodeclient"}, {"create"})}));
  out.push_back(role("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", {rule({"certificates.k8s.io"}, {"certificatesigningrequests/selfnodeclient"}, {"create"})}));

  out.push_back(binding("cluster-admin", {subject("Group", "system:masters")}));
  out.push_back(binding("system:discovery", {subject("Group", "system:authenticated")}));
  out.push_back(binding("system:basic-user", {subject("Group", "system:authenticated")}));
  out.push_back(binding("system:public-info-viewer", {subject("Group", "system:authenticated"), subject("Group", "system:unauthenticated")}));
  out.push_back(binding("system:monitoring", {subject("Group", "system:monitoring")}));
  out.push_back(binding("system:service-account-issuer-discovery", {subject("Group", "system:serviceaccounts")}));
  out.push_back(binding("system:kube-scheduler", {subject("User", "system:kube-scheduler")}));
  out.push_back(binding("system:kube-controller-manager", {subject("User", "system:kube-controller-manager")}));
  out.push_back(binding("system:node-proxier", {subject("User", "system:kube-proxy")}));
  out.push_back(binding("system:node", {}));
  return out;
}

}  // namespace server
