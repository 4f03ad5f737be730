// Every strategy, in one list.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "server/apiserver/apiserver.h"
#include "server/apiserver/registry/strategy.h"

namespace server {

// By "group/resource" ("/pods", "apps/deployments").
using Strategies = std::map<std::string, std::unique_ptr<const Strategy>, std::less<>>;
Strategies make_strategies(const ApiServerOptions& options);

std::unique_ptr<const Strategy> make_pod_strategy();
std::unique_ptr<const Strategy> make_service_strategy(const ApiServerOptions& options);
std::unique_ptr<const Strategy> make_service_cidr_strategy();
std::unique_ptr<const Strategy> make_namespace_strategy();
std::unique_ptr<const Strategy> make_secret_strategy();
std::unique_ptr<const Strategy> make_node_strategy(const ApiServerOptions& options);
std::unique_ptr<const Strategy> make_job_strategy();
std::unique_ptr<const Strategy> make_certificate_request_strategy();
std::unique_ptr<const Strategy> make_trust_bundle_strategy();
bool is_signer_name(std::string_view name);
std::unique_ptr<const Strategy> make_volume_strategy();  // PersistentVolume, PersistentVolumeClaim
std::unique_ptr<const Strategy> make_upsert_strategy();  // kinds whose PUT may create
std::unique_ptr<const Strategy> make_plain_strategy();

}  // namespace server
