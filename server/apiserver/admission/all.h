// Every admission plugin, in the order they run.
#pragma once

#include "server/apiserver/apiserver.h"
#include "server/apiserver/auth/authorizer.h"
#include "server/apiserver/registry/admission.h"

namespace server {

AdmissionChain make_admission(const Authorizer& authorizer, const ApiServerOptions& options);

std::unique_ptr<AdmissionPlugin> make_service_account_admission();
std::unique_ptr<AdmissionPlugin> make_priority_admission();
std::unique_ptr<AdmissionPlugin> make_default_tolerations_admission();
std::unique_ptr<AdmissionPlugin> make_default_class_admission();  // StorageClass of claims, IngressClass of Ingresses
std::unique_ptr<AdmissionPlugin> make_escalation_admission(const Authorizer& authorizer);
std::unique_ptr<AdmissionPlugin> make_node_restriction_admission();
std::unique_ptr<AdmissionPlugin> make_limit_ranger_admission();
std::unique_ptr<AdmissionPlugin> make_certificate_approval_admission(const Authorizer& authorizer);
// `limits`: "server=QPS:BURST,namespace=QPS:BURST,user=...,source-and-object=..."; what is not named is not limited.
std::unique_ptr<AdmissionPlugin> make_event_rate_limit_admission(const std::string& limits);
Result<> check_event_rate_limit(const std::string& limits);
std::unique_ptr<AdmissionPlugin> make_resource_quota_admission();  // last: it charges

inline bool is_resource(const Admit& a, std::string_view group, std::string_view resource) {
  return a.attempt.resource.resource == resource && a.attempt.resource.group == group;
}

}  // namespace server
