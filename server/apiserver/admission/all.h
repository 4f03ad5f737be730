// Every admission plugin, in the order they run.
#pragma once

#include <algorithm>

#include "server/apiserver/apiserver.h"
#include "server/apiserver/auth/authorizer.h"
#include "server/apiserver/registry/admission.h"

namespace server {

AdmissionChain make_admission(const Authorizer& authorizer, const ApiServerOptions& options);

using Plugin = std::unique_ptr<AdmissionPlugin>;
Plugin make_warnings_admission();
Plugin make_service_account_admission();
Plugin make_priority_admission();
Plugin make_runtime_class_admission();
Plugin make_default_tolerations_admission();
Plugin make_taint_nodes_admission();
Plugin make_default_class_admission();  // StorageClass of claims, IngressClass of Ingresses
Plugin make_storage_protection_admission();
Plugin make_claim_resize_admission();
Plugin make_escalation_admission(const Authorizer& authorizer);
Plugin make_owner_references_admission(const Authorizer& authorizer);
Plugin make_node_restriction_admission(std::string own_node);
Plugin make_limit_ranger_admission();
Plugin make_pod_security_admission();
Plugin make_certificate_approval_admission(const Authorizer& authorizer);
// `limits`: "server=QPS:BURST,namespace=QPS:BURST,user=...,source-and-object=..."; what is not named is not limited.
Plugin make_event_rate_limit_admission(const std::string& limits);
Result<> check_event_rate_limit(const std::string& limits);
Plugin make_resource_quota_admission();  // last: it charges

inline bool is_resource(const Admit& a, std::string_view group, std::string_view resource) {
  return a.attempt.resource.resource == resource && a.attempt.resource.group == group;
}

// Where the pod is in an object of the resource: "" for pods, "spec.template" and the like for workloads; nothing where there is none.
std::optional<std::string_view> pod_path(const ResourceInfo& resource);

// A Warning header; said once, however often the write is tried.
inline void warn(const Admit& a, std::string text) {
  auto& all = a.attempt.call.warnings;
  if (std::find(all.begin(), all.end(), text) == all.end()) all.push_back(std::move(text));
}

}  // namespace server
