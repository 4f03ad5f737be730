// Subresources that are conversations with a node: log, exec, attach, portforward, proxy. Authorised already.
//
// The client's credentials are never passed on, redirects are never followed, and bytes are copied both ways only after the node's real 101.
// A log is also told over a WebSocket, if the client asks for one.
#pragma once

#include "server/apiserver/http/exchange.h"
#include "server/apiserver/tunnel/node_streams.h"
#include "server/apiserver/tunnel/proxied_page.h"

namespace server {

class Connect {
 public:
  Connect(Registry& registry, NodeStreams& streams) : registry_(registry), streams_(streams) {}
  static bool handles(const RequestInfo& info);
  Task<> handle(Exchange& x);

 private:
  // Method and path at a node.
  struct NodeRequest {
    std::string node, path;
    bool text_errors = false;  // a log: failures of the node are 400 with its text
    ProxiedAt at;              // of a proxy
  };
  Result<NodeRequest> pod_request(const Exchange& x) const;
  Task<Result<NodeRequest>> proxy_request(const Exchange& x) const;
  Task<> forward(Exchange& x, NodeRequest to);
  Registry& registry_;
  NodeStreams& streams_;
};

}  // namespace server
