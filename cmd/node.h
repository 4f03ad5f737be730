// What runs on every node, in a server's process as in an agent's: the agent and the ingress.
#pragma once

#include <memory>

#include "agent/agent.h"
#include "api/client.h"
#include "base/io.h"
#include "cmd/options.h"
#include "ingress/ingress.h"

namespace cmd {

agent::AgentOptions node_options(const Options& options);
// writes_status: this process also keeps Ingress.status current (one does, the server's).
ingress::IngressOptions ingress_options(const Options& options, bool writes_status);

class Node {
 public:
  // start() returns when the node is ready, and says so in <run-dir>/ready.
  Node(base::Runtime& runtime, std::shared_ptr<api::Client> client, agent::AgentOptions agent, ingress::IngressOptions ingress);
  base::Task<base::Result<>> start();
  base::Task<> stop();
  agent::Agent& agent() { return *agent_; }

 private:
  std::shared_ptr<api::Client> client_;
  const agent::AgentOptions options_;
  std::unique_ptr<agent::Agent> agent_;
  std::unique_ptr<ingress::Ingress> ingress_;  // null when disabled
};

}  // namespace cmd
