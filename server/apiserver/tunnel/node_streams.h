// Streams from the server to nodes (docs/design/tunnel.md): control connections that agents keep, streams they dial when asked, and dialers of agents
// in this process. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/http/client.h"
#include "base/http/server.h"
#include "server/apiserver/apiserver.h"

namespace server {

class NodeStreams {
 public:
  explicit NodeStreams(base::Runtime& runtime) : runtime_(runtime), tasks_(runtime) {}
  // A local agent; a null dialer detaches.
  void attach(const std::string& node, NodeDialer dial);
  // Serves GET /v1-appliance/tunnel until the agent goes away. The caller has authenticated the node.
  Task<> serve_control(std::string node, base::http::Response& response);
  // Serves GET /v1-appliance/tunnel/<id> until the stream ends.
  Task<> serve_stream(std::string node, std::string id, base::http::Response& response);
  // A fresh stream to the node's API, on the caller's strand. 503 when the node has no tunnel, 504 when it does not dial in time.
  Task<Result<std::unique_ptr<base::http::Stream>>> open(std::string node);
  Task<> stop();

 private:
  struct Control;
  struct Pending;
  static Task<> write_lines(std::shared_ptr<Control> control);
  static Task<> read_lines(NodeStreams& owner, std::shared_ptr<Control> control);
  void fail(const std::string& id, std::string why);

  base::Runtime& runtime_;
  base::Tasks tasks_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, NodeDialer> local_;
  std::map<std::string, std::shared_ptr<Control>> controls_;
  std::map<std::string, std::shared_ptr<Pending>> pending_;
};

}  // namespace server
