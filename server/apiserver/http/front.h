// The door: every HTTP request is identified, limited, authorised and sent where it belongs.
#pragma once

#include <atomic>

#include "base/interrupt.h"
#include "datastore/keyring.h"
#include "server/apiserver/http/discovery.h"
#include "server/apiserver/http/health.h"
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
  std::string ca_pem, version;
  flow::FlowControl& flow;
  audit::Auditor* auditor;           // may be null
  const datastore::Keyring* keyring;  // may be null
  bool log_requests;
  const std::function<void(std::string& out)>& more_metrics;
};

class Front {
 public:
  explicit Front(FrontParts parts) : p_(std::move(parts)), health_(p_.operations.registry().store()) {}
  Task<> handle(base::http::Request& request, base::http::Response& response);
  // Not ready: /readyz fails, and everything is served.
  void set_ready(bool ready) { health_.set_ready(ready); }
  // Watches end, and new requests are sent away; those that run go on.
  void drain();

 private:
  Task<> serve(Exchange& x, std::optional<audit::Entry>& entry);
  Task<> admitted(Exchange& x);
  // A seat, after a wait when there is none; the error has been sent when it is refused.
  Task<bool> take_seat(Exchange& x, flow::Ticket& ticket);
  unsigned seats_for(const Exchange& x) const;
  void log(const Exchange& x, base::Duration took) const;
  Task<> non_resource(Exchange& x);
  Task<> tunnel(Exchange& x);
  FrontParts p_;
  Metrics metrics_;
  Health health_;
  base::Interrupt stopping_;
};

// git version as /version tells it: v1.36.0+appliance<product version>.
std::string server_version();

}  // namespace server
