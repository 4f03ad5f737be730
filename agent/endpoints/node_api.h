// The node API: kubelet's paths, served on streams that the server opens through the tunnel (docs/design/tunnel.md).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/pods/manager.h"
#include "base/http/server.h"

namespace agent {

struct NodeApiContext {
  base::Runtime& runtime;
  PodManager& pods;
  runtime::Sandboxes& sandboxes;
  runtime::Images& images;
  std::string node_name, data_dir, logs_dir;
};

class NodeApi {
 public:
  explicit NodeApi(NodeApiContext context) : context_(std::move(context)) {}
  // May be called on any strand; the handlers keep nothing.
  Task<> serve(base::http::Request& request, base::http::Response& response);

 private:
  using Path = std::vector<std::string>;
  Task<> logs(base::http::Request& request, base::http::Response& response, Path path);
  Task<> exec(base::http::Request& request, base::http::Response& response, Path path);
  Task<> attach(base::http::Request& request, base::http::Response& response, Path path);
  Task<> port_forward(base::http::Request& request, base::http::Response& response, Path path);
  Task<> proxy(base::http::Request& request, base::http::Response& response, Path path);
  Task<> pod_list(base::http::Response& response);
  Task<> stats_summary(base::http::Response& response);
  Task<> metrics_resource(base::http::Response& response);
  Task<> metrics_cadvisor(base::http::Response& response);

  const NodeApiContext context_;
};

// A plain text answer.
Task<> answer(base::http::Response& response, int status, std::string body, std::string type = "text/plain; charset=utf-8");

// A connection to a port as seen from inside the pod's network namespace: 127.0.0.1, then ::1.
Task<Result<std::unique_ptr<base::http::Stream>>> dial_in_pod(runtime::SandboxPtr sandbox, uint16_t port);

}  // namespace agent
