#include "server/apiserver/admission/all.h"

namespace server {

AdmissionChain make_admission(const Authorizer& authorizer, const ApiServerOptions& options) {
  AdmissionChain chain;
  chain.push_back(make_event_rate_limit_admission(options.event_rate_limit));  // first: it saves the work of the others
  chain.push_back(make_service_account_admission());
  chain.push_back(make_priority_admission());
  chain.push_back(make_default_tolerations_admission());
  chain.push_back(make_default_class_admission());
  chain.push_back(make_escalation_admission(authorizer));
  chain.push_back(make_node_restriction_admission());
  chain.push_back(make_limit_ranger_admission());
  chain.push_back(make_certificate_approval_admission(authorizer));
  chain.push_back(make_resource_quota_admission());
  return chain;
}

}  // namespace server
