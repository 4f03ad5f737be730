// The door: every HTTP request is identified, limited, authorised and sent where it belongs.
#pragma once

#include <atomic>

#include "server/apiserver/http/discovery.h"
#include "server/apiserver/http/metrics.h"
#include "server/apiserver/http/openapi_documents.h"
#include "server/apiserver/http/resource_handler.h"
#include "server/apiserver/join/join.h"
#include "server/apiserver/tunnel/connect.h"
#include "server/apiserver/tunnel/resource_metrics.h"

namespace server {

struct FrontParts {
  Operations& operations;
  const Authenticator& authenticator;
  const Authorizer& authorizer;
  const ServiceAccountTokens& tokens;
  const Discovery& discovery;
  OpenApiDocuments& openapi;
  ResourceHandler& resources;
  Connect& connect;
  ResourceMetrics& usage;
  NodeStreams& streams;
  Join& join;
  std::string ca_pem;
  size_t max_reads, max_writes;
};

class Front {
 public:
  explicit Front(FrontParts parts) : p_(std::move(parts)) {}
  Task<> handle(base::http::Request& request, base::http::Response& response);
  void set_ready(bool ready) { ready_ = ready; }

 private:
  Task<> serve(Exchange& x);
  Task<> non_resource(Exchange& x);
  Task<> tunnel(Exchange& x);
  Task<> health(Exchange& x);
  FrontParts p_;
  Metrics metrics_;
  std::atomic<bool> ready_{false};
};

// git version as /version tells it: v1.36.0+appliance<product version>.
std::string server_version();

}  // namespace server
