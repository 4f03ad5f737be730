// Objects every cluster has: namespaces, default roles, the `kubernetes` and DNS services, priority classes, the ingress class.
//
// What is missing is written in one transaction. What exists is left alone, except default roles that lack rules (unless their annotation
// rbac.authorization.kubernetes.io/autoupdate is "false") and the addresses of the API server itself.
#pragma once

#include "server/apiserver/apiserver.h"
#include "server/apiserver/registry/resources.h"

namespace server {

Task<Result<>> bootstrap(datastore::Store& store, const Resources& resources, ApiServerOptions options, uint16_t port, std::string ca_pem);

// What stands behind the `kubernetes` service, after the server's address has changed.
Task<Result<>> write_own_endpoints(datastore::Store& store, const Resources& resources, std::string address, uint16_t port);

// The first address of the service range: that of the `kubernetes` service.
Result<std::string> kubernetes_service_ip(const ApiServerOptions& options);

}  // namespace server
