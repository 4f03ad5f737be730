#include "server/apiserver/admission/all.h"

namespace server {

AdmissionChain make_admission(const Authorizer& authorizer, const ApiServerOptions& options) {
  AdmissionChain chain;
  chain.push_back(make_event_rate_limit_admission(options.event_rate_limit));  // first: it saves the work of the others
  chain.push_back(make_warnings_admission());
  chain.push_back(make_service_account_admission());
  chain.push_back(make_priority_admission());
  chain.push_back(make_runtime_class_admission());
  chain.push_back(make_default_tolerations_admission());
  chain.push_back(make_taint_nodes_admission());
  chain.push_back(make_default_class_admission());
  chain.push_back(make_storage_protection_admission());
  chain.push_back(make_escalation_admission(authorizer));
  if (options.owner_references_permission) chain.push_back(make_owner_references_admission(authorizer));
  chain.push_back(make_node_restriction_admission(options.node_name));
  chain.push_back(make_limit_ranger_admission());
  chain.push_back(make_pod_security_admission());
  chain.push_back(make_claim_resize_admission());
  chain.push_back(make_certificate_approval_admission(authorizer));
  chain.push_back(make_resource_quota_admission());
  return chain;
}

std::optional<std::string_view> pod_path(const ResourceInfo& r) {
  struct Row {
    std::string_view group, resource, path;
  };
  static constexpr Row rows[] = {
      {"", "pods", ""},
      {"", "podtemplates", "template"},
      {"", "replicationcontrollers", "spec.template"},
      {"apps", "replicasets", "spec.template"},
      {"apps", "deployments", "spec.template"},
      {"apps", "daemonsets", "spec.template"},
      {"apps", "statefulsets", "spec.template"},
      {"batch", "jobs", "spec.template"},
      {"batch", "cronjobs", "spec.jobTemplate.spec.template"},
  };
  for (const Row& row : rows)
    if (row.group == r.group && row.resource == r.resource) return row.path;
  return std::nullopt;
}

}  // namespace server
