#include "server/apiserver/bootstrap/default_roles.h"

#include <string_view>

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

// role NAME [in=NAMESPACE] [into=ROLES it is gathered into] [gathers=ROLE]   a ClusterRole, or a Role in the namespace
//   VERBS GROUPS RESOURCES [NAMES]                                           "read", "write" and "follow" stand for verbs, "core" for the group ""
//   VERBS urls PATHS
//   events                                                                   may write events
// controller NAME                                                            role system:controller:NAME, bound to the ServiceAccount kube-system/NAME
//   as in Kubernetes, with "patch" where ours patch what Kubernetes' update, and "delete" for jobs, which ours removes when their time is over
// bind ROLE [in=NAMESPACE] [as=NAME] KIND:SUBJECT...                         SA:namespace/name for ServiceAccounts
constexpr std::string_view table = R"(
role cluster-admin
  * * *
  * urls *
bind cluster-admin Group:system:masters
role system:discovery
  get urls /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/
bind system:discovery Group:system:authenticated
role system:public-info-viewer
  get urls /healthz,/livez,/readyz,/version,/version/
bind system:public-info-viewer Group:system:authenticated Group:system:unauthenticated
role system:monitoring
  get urls /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*
bind system:monitoring Group:system:monitoring
role system:basic-user
  create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews
  create authentication.k8s.io selfsubjectreviews
bind system:basic-user Group:system:authenticated
role system:service-account-issuer-discovery
  get urls /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/
bind system:service-account-issuer-discovery Group:system:serviceaccounts
role admin gathers=admin
role edit gathers=edit into=admin
role view gathers=view into=edit
role system:aggregate-to-admin into=admin
  create authorization.k8s.io localsubjectaccessreviews
  read,write rbac.authorization.k8s.io rolebindings,roles
role system:aggregate-to-edit into=edit
  read core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy
  impersonate core serviceaccounts
  write core pods,pods/attach,pods/exec,pods/portforward,pods/proxy
  create core pods/eviction,serviceaccounts/token
  write core configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy
  write apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale
  write autoscaling horizontalpodautoscalers
  write batch cronjobs,jobs
  write policy poddisruptionbudgets
  write networking.k8s.io ingresses,networkpolicies
  read,write coordination.k8s.io leases
  write resource.k8s.io resourceclaims,resourceclaimtemplates
role system:aggregate-to-view into=view
  read core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status
  read core bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status
  read core namespaces
  read discovery.k8s.io endpointslices
  read apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status
  read autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status
  read batch cronjobs,cronjobs/status,jobs,jobs/status
  read policy poddisruptionbudgets,poddisruptionbudgets/status
  read networking.k8s.io ingresses,ingresses/status,networkpolicies
  read resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates
role system:aggregated-metrics-reader into=view,edit,admin
  read metrics.k8s.io nodes,pods
role system:heapster
  read core events,namespaces,nodes,pods
  read apps deployments
role system:node
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io localsubjectaccessreviews,subjectaccessreviews
  read core endpoints,namespaces,services
  read discovery.k8s.io endpointslices
  read networking.k8s.io ingressclasses,ingresses,networkpolicies
  create,get,list,watch core nodes
  patch,update core nodes,nodes/status
  events
  create,delete,get,list,watch core pods
  patch,update core pods/status
  create core pods/eviction,serviceaccounts/token
  read core configmaps,secrets
  get core persistentvolumeclaims,persistentvolumes
  get,patch,update core persistentvolumeclaims/status
  create,get,list,watch certificates.k8s.io certificatesigningrequests
  read certificates.k8s.io clustertrustbundles
  create,delete,get,patch,update coordination.k8s.io leases
  get storage.k8s.io volumeattachments
  read storage.k8s.io csidrivers
  create,delete,get,patch,update storage.k8s.io csinodes
  read node.k8s.io runtimeclasses
  get resource.k8s.io resourceclaims
  deletecollection resource.k8s.io resourceslices
bind system:node
role system:node-problem-detector
  get core nodes
  patch core nodes/status
  events
role system:kubelet-api-admin
  read core nodes
  proxy core nodes
  * core nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,nodes/stats
role system:node-bootstrapper
  create,get,list,watch certificates.k8s.io certificatesigningrequests
role system:auth-delegator
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
role system:kube-aggregator
  read core endpoints,services
role system:kube-controller-manager
  events
  create coordination.k8s.io leases
  get,update coordination.k8s.io leases kube-controller-manager
  create core secrets,serviceaccounts
  delete core secrets
  get core configmaps,namespaces,secrets,serviceaccounts
  update core secrets,serviceaccounts
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
  follow * *
  create core serviceaccounts/token
bind system:kube-controller-manager User:system:kube-controller-manager
role system:kube-dns
  follow core endpoints,services
  follow discovery.k8s.io endpointslices
bind system:kube-dns SA:kube-system/kube-dns
role system:persistent-volume-provisioner
  create,delete,get,list,watch core persistentvolumes
  get,list,update,watch core persistentvolumeclaims
  read storage.k8s.io storageclasses
  watch core events
  events
role system:volume-scheduler
  read,patch,update core persistentvolumes
  read storage.k8s.io storageclasses
  read,patch,update core persistentvolumeclaims
bind system:volume-scheduler User:system:kube-scheduler
role system:certificates.k8s.io:certificatesigningrequests:nodeclient
  create certificates.k8s.io certificatesigningrequests/nodeclient
role system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
  create certificates.k8s.io certificatesigningrequests/selfnodeclient
role system:certificates.k8s.io:legacy-unknown-approver
  approve certificates.k8s.io signers kubernetes.io/legacy-unknown
role system:certificates.k8s.io:kubelet-serving-approver
  approve certificates.k8s.io signers kubernetes.io/kubelet-serving
role system:certificates.k8s.io:kube-apiserver-client-approver
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client
role system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
role system:node-proxier
  follow core endpoints,services
  read core nodes
  events
  follow discovery.k8s.io endpointslices
  follow networking.k8s.io servicecidrs
bind system:node-proxier User:system:kube-proxy
role system:kube-scheduler
  events
  create coordination.k8s.io leases
  get,list,update,watch coordination.k8s.io leases kube-scheduler
  read core nodes
  delete,get,list,watch core pods
  create core bindings,pods/binding
  patch,update core pods/status
  read core replicationcontrollers,services
  read apps replicasets
  read apps statefulsets
  read policy poddisruptionbudgets
  read core persistentvolumeclaims,persistentvolumes
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
  read storage.k8s.io csinodes
  read core namespaces
  read storage.k8s.io csidrivers
  read storage.k8s.io csistoragecapacities
  read storage.k8s.io volumeattachments
  read resource.k8s.io deviceclasses
  read,patch,update resource.k8s.io resourceclaims
  patch,update resource.k8s.io resourceclaims/status
  read resource.k8s.io resourceslices
bind system:kube-scheduler User:system:kube-scheduler
controller attachdetach-controller
  follow core persistentvolumeclaims,persistentvolumes
  read core nodes
  patch,update core nodes/status
  follow core pods
  events
  create,delete,get,list,watch storage.k8s.io volumeattachments
  read storage.k8s.io csidrivers
  read storage.k8s.io csinodes
controller clusterrole-aggregation-controller
  escalate,get,list,patch,update,watch rbac.authorization.k8s.io clusterroles
controller cronjob-controller
  read,update batch cronjobs
  create,delete,get,list,patch,update,watch batch jobs
  update batch cronjobs/status
  update batch cronjobs/finalizers
  delete,list,watch core pods
  events
controller daemon-set-controller
  read apps daemonsets
  update apps daemonsets/status
  update apps daemonsets/finalizers
  follow core nodes
  create,delete,list,patch,watch core pods
  create core pods/binding
  create,delete,get,list,patch,update,watch apps controllerrevisions
  events
controller deployment-controller
  read,update apps deployments
  patch,update apps deployments/status
  update apps deployments/finalizers
  create,delete,get,list,patch,update,watch apps replicasets
  read,update core pods
  events
controller disruption-controller
  read apps deployments
  read apps replicasets
  read core replicationcontrollers
  read policy poddisruptionbudgets
  read apps statefulsets
  update policy poddisruptionbudgets/status
  patch,update core pods/status
  get * */scale
  events
controller endpoint-controller
  read core pods,services
  create,delete,get,list,update,watch core endpoints
  create core endpoints/restricted
  events
controller endpointslice-controller
  read core nodes,pods,services
  update core services/finalizers
  create,delete,get,list,update,watch discovery.k8s.io endpointslices
  events
controller endpointslicemirroring-controller
  read core endpoints,services
  update core services/finalizers
  update core endpoints/finalizers
  create,delete,get,list,update,watch discovery.k8s.io endpointslices
  events
controller expand-controller
  read,patch,update core persistentvolumes
  patch,update core persistentvolumeclaims/status
  read core persistentvolumeclaims
  get core services
  events
controller ephemeral-volume-controller
  read core pods
  update core pods/finalizers
  create,get,list,watch core persistentvolumeclaims
  events
controller resource-claim-controller
  read core pods
  update core pods/finalizers
  create,delete,get,list,watch resource.k8s.io resourceclaims
  patch,update resource.k8s.io resourceclaims,resourceclaims/status
  patch,update core pods/status
  read resource.k8s.io resourceclaimtemplates
  events
controller generic-garbage-collector
  delete,get,list,patch,update,watch * *
  events
controller horizontal-pod-autoscaler
  read autoscaling horizontalpodautoscalers
  update autoscaling horizontalpodautoscalers/status
  get,patch,update * */scale
  follow core pods
  list metrics.k8s.io pods
  read custom.metrics.k8s.io *
  read external.metrics.k8s.io *
  events
controller job-controller
  delete,read,patch,update batch jobs
  update batch jobs/status
  update batch jobs/finalizers
  create,delete,list,patch,watch core pods
  events
controller namespace-controller
  delete,get,list,watch core namespaces
  update core namespaces/finalize,namespaces/status
  delete,deletecollection,get,list,watch * *
controller node-controller
  delete,get,list,patch,update,watch core nodes
  patch,update core nodes/status
  patch,update core pods/status
  delete,get,list,watch core pods
  events
controller persistent-volume-binder
  create,delete,get,list,patch,update,watch core persistentvolumes
  patch,update core persistentvolumes/status
  read,patch,update core persistentvolumeclaims
  update core persistentvolumeclaims/status
  create,delete,get,list,watch core pods
  read storage.k8s.io storageclasses
  follow core nodes
  watch core events
  get core services
  events
controller pod-garbage-collector
  delete,list,watch core pods
  read core nodes
  patch,update core pods/status
controller replicaset-controller
  read,update apps replicasets
  update apps replicasets/status
  update apps replicasets/finalizers
  create,delete,list,patch,watch core pods
  events
controller replication-controller
  read,update core replicationcontrollers
  update core replicationcontrollers/status
  update core replicationcontrollers/finalizers
  create,delete,list,patch,watch core pods
  events
controller resourcequota-controller
  follow * *
  update core resourcequotas/status
  events
controller route-controller
  follow core nodes
  patch core nodes/status
  events
controller service-account-controller
  create core serviceaccounts
  events
controller service-controller
  read core services
  patch,update core services/status
  follow core nodes
  events
controller service-cidrs-controller
  read,patch,update networking.k8s.io servicecidrs
  patch,update networking.k8s.io servicecidrs/finalizers
  patch,update networking.k8s.io servicecidrs/status
  read networking.k8s.io ipaddresses
  events
controller statefulset-controller
  follow core pods
  read apps statefulsets
  update apps statefulsets/status
  update apps statefulsets/finalizers
  create,delete,get,patch,update core pods
  create,delete,get,list,patch,update,watch apps controllerrevisions
  create,get,list,watch core persistentvolumeclaims
  delete,patch,update core persistentvolumeclaims
  update core pods/finalizers
  events
controller ttl-controller
  list,patch,update,watch core nodes
  events
controller certificate-controller
  delete,get,list,watch certificates.k8s.io certificatesigningrequests
  update certificates.k8s.io certificatesigningrequests/approval,certificatesigningrequests/status
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
  sign certificates.k8s.io signers kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown
  create authorization.k8s.io subjectaccessreviews
  events
controller pvc-protection-controller
  read,patch,update core persistentvolumeclaims
  read core pods
  events
controller pv-protection-controller
  read,patch,update core persistentvolumes
  events
controller volumeattributesclass-protection-controller
  read core persistentvolumeclaims
  read core persistentvolumes
  read,update storage.k8s.io volumeattributesclasses
  events
controller ttl-after-finished-controller
  delete,get,list,watch batch jobs
  events
controller root-ca-cert-publisher
  create,update core configmaps
  events
controller validatingadmissionpolicy-status-controller
  read admissionregistration.k8s.io validatingadmissionpolicies
  get,patch,update admissionregistration.k8s.io validatingadmissionpolicies/status
  events
controller local-path-provisioner
  create,patch core persistentvolumes
  patch core persistentvolumeclaims
  create storage.k8s.io storageclasses
controller legacy-service-account-token-cleaner
  get core configmaps kube-apiserver-legacy-service-account-token-tracking
  delete,patch core secrets
controller selinux-warning-controller
  events
  read core persistentvolumes
  read core persistentvolumeclaims
  read core pods
  read storage.k8s.io csidrivers
role extension-apiserver-authentication-reader in=kube-system
  read core configmaps extension-apiserver-authentication
bind extension-apiserver-authentication-reader in=kube-system as=system::extension-apiserver-authentication-reader User:system:kube-controller-manager User:system:kube-scheduler
role system:controller:bootstrap-signer in=kube-system
  read core secrets
bind system:controller:bootstrap-signer in=kube-system SA:kube-system/bootstrap-signer
role system:controller:cloud-provider in=kube-system
  create,get,list,watch core configmaps
bind system:controller:cloud-provider in=kube-system SA:kube-system/cloud-provider
role system:controller:token-cleaner in=kube-system
  delete,get,list,watch core secrets
  events
bind system:controller:token-cleaner in=kube-system SA:kube-system/token-cleaner
role system::leader-locking-kube-controller-manager in=kube-system
  watch core configmaps
  get,update core configmaps kube-controller-manager
  create,get,list,update,watch coordination.k8s.io leases
bind system::leader-locking-kube-controller-manager in=kube-system User:system:kube-controller-manager SA:kube-system/kube-controller-manager SA:kube-system/leader-election-controller
role system::leader-locking-kube-scheduler in=kube-system
  watch core configmaps
  get,update core configmaps kube-scheduler
bind system::leader-locking-kube-scheduler in=kube-system User:system:kube-scheduler SA:kube-system/kube-scheduler
role system:controller:bootstrap-signer in=kube-public
  read core configmaps
  update core configmaps cluster-info
  events
bind system:controller:bootstrap-signer in=kube-public SA:kube-system/bootstrap-signer
)";

constexpr std::string_view api_group = "rbac.authorization.k8s.io";

// The text up to the separator; `rest` continues after it.
std::string_view cut(std::string_view& rest, char separator) {
  size_t end = rest.find(separator);
  std::string_view out = rest.substr(0, end);
  rest = end == rest.npos ? std::string_view() : rest.substr(end + 1);
  return out;
}

array list(std::string_view text) {
  array out;
  while (!text.empty()) {
    std::string_view one = cut(text, ',');
    if (one == "read") {
      for (std::string_view verb : {"get", "list", "watch"}) out.emplace_back(verb);
    } else if (one == "follow") {
      for (std::string_view verb : {"list", "watch"}) out.emplace_back(verb);
    } else if (one == "write") {
      for (std::string_view verb : {"create", "delete", "deletecollection", "patch", "update"}) out.emplace_back(verb);
    } else {
      out.emplace_back(one == "core" ? std::string_view() : one);
    }
  }
  return out;
}

object rule(std::string_view line) {
  if (line == "events") line = "create,patch,update core,events.k8s.io events";
  object out{{"verbs", list(cut(line, ' '))}};
  std::string_view groups = cut(line, ' '), what = cut(line, ' ');
  if (groups == "urls") {
    out["nonResourceURLs"] = list(what);
    return out;
  }
  out["apiGroups"] = list(groups);
  out["resources"] = list(what);
  if (!line.empty()) out["resourceNames"] = list(line);
  return out;
}

object head(std::string_view kind, std::string_view ns, std::string_view name) {
  object metadata{{"name", name}, {"labels", object{{"kubernetes.io/bootstrapping", "rbac-defaults"}}}, {"annotations", object{{"rbac.authorization.kubernetes.io/autoupdate", "true"}}}};
  if (!ns.empty()) metadata["namespace"] = ns;
  return {{"apiVersion", "rbac.authorization.k8s.io/v1"}, {"kind", std::string(ns.empty() ? "Cluster" : "") + std::string(kind)}, {"metadata", std::move(metadata)}};
}

std::string gathering_label(std::string_view role) { return "rbac.authorization.k8s.io/aggregate-to-" + std::string(role); }

// What follows the name in a line: options, then subjects.
struct Words {
  std::string_view ns, as, into, gathers;
  array subjects;
};

Words words(std::string_view line) {
  Words out;
  while (!line.empty()) {
    std::string_view word = cut(line, ' ');
    if (word.starts_with("in=")) out.ns = word.substr(3);
    else if (word.starts_with("as=")) out.as = word.substr(3);
    else if (word.starts_with("into=")) out.into = word.substr(5);
    else if (word.starts_with("gathers=")) out.gathers = word.substr(8);
    else if (std::string_view kind = cut(word, ':'); kind == "SA") {
      std::string_view ns = cut(word, '/');
      out.subjects.push_back(object{{"kind", "ServiceAccount"}, {"name", word}, {"namespace", ns}});
    } else {
      out.subjects.push_back(object{{"kind", kind}, {"apiGroup", api_group}, {"name", word}});
    }
  }
  return out;
}

object make_role(std::string_view name, const Words& w) {
  object out = head("Role", w.ns, name);
  object& labels = out["metadata"].as_object()["labels"].as_object();
  for (std::string_view rest = w.into; !rest.empty();) labels[gathering_label(cut(rest, ','))] = "true";
  if (!w.gathers.empty())
    out["aggregationRule"] = object{{"clusterRoleSelectors", array{object{{"matchLabels", object{{gathering_label(w.gathers), "true"}}}}}}};
  out["rules"] = array{};
  return out;
}

object make_binding(std::string_view role, Words w) {
  object out = head("RoleBinding", w.ns, w.as.empty() ? role : w.as);
  out["roleRef"] = object{{"apiGroup", api_group}, {"kind", w.ns.empty() ? "ClusterRole" : "Role"}, {"name", role}};
  if (!w.subjects.empty()) out["subjects"] = std::move(w.subjects);
  return out;
}

}  // namespace

std::vector<object> default_roles() {
  std::vector<object> roles, bindings;
  for (std::string_view rest = table; !rest.empty();) {
    std::string_view line = cut(rest, '\n');
    if (line.starts_with("  ")) {
      roles.back()["rules"].as_array().push_back(rule(line.substr(2)));
      continue;
    }
    std::string_view what = cut(line, ' '), name = cut(line, ' ');
    if (what == "role") {
      roles.push_back(make_role(name, words(line)));
    } else if (what == "controller") {
      const std::string role = "system:controller:" + std::string(name), account = "SA:kube-system/" + std::string(name);
      roles.push_back(make_role(role, {}));
      bindings.push_back(make_binding(role, words(account)));
    } else if (what == "bind") {
      bindings.push_back(make_binding(name, words(line)));
    }
  }
  roles.insert(roles.end(), std::make_move_iterator(bindings.begin()), std::make_move_iterator(bindings.end()));
  return roles;
}

}  // namespace server
