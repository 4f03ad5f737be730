// The Node object of this host: registered once, its status kept current, its Lease renewed.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/node/machine.h"
#include "api/client.h"
#include "api/types/core_v1.h"

namespace agent {

struct Pressure {
  bool memory = false, disk = false, pids = false;
  bool operator==(const Pressure&) const = default;
};

struct NodeFacts {
  Machine machine;
  uint64_t disk_bytes = 0;
  std::vector<std::string> addresses;  // internal, preferred first
  Pressure pressure;
  bool network_ready = false;
  std::string network_message;
  std::vector<api::core::ContainerImage> images;
  std::map<std::string, std::string> extended;  // resources that others have put into the node's capacity: pods may use them
};

// The status as it should be; conditions keep their transition times from `before`. Pure.
api::core::NodeStatus make_node_status(const AgentOptions& options, const NodeFacts& facts, const api::core::NodeStatus& before,
                                       const std::string& now);
// Labels the node wears; pure.
std::map<std::string, std::string> node_labels(const AgentOptions& options, const Machine& machine);
// "key=value:Effect", "key:Effect"; 400 otherwise.
Result<api::core::Taint> parse_taint(const std::string& text);
// What pods may use: capacity less what the system keeps for itself.
std::map<std::string, std::string> node_capacity(const AgentOptions& options, const NodeFacts& facts, bool allocatable);

class NodeObject {
 public:
  NodeObject(base::Runtime& runtime, api::Client& client, const AgentOptions& options);
  ~NodeObject();

  // Creates the Node or brings labels of an existing one up to date; returns its pod prefix once the API has given one. Repeats
  // while the API cannot be reached.
  Task<Result<std::string>> register_node(NodeFacts facts);
  // Renews the Lease every 10 s (which is the heartbeat) and writes the status only when it changes. Until cancelled.
  Task<> run();
  // What has changed about the node is written soon; thread-safe.
  void set_facts(std::function<void(NodeFacts&)> change);
  // Takes over what others have written into the Node: extended resources. Any thread.
  void follow(const api::core::Node& node);
  NodeFacts facts() const;
  std::map<std::string, std::string> allocatable() const;
  const std::string& uid() const { return uid_; }

 private:
  Task<Result<>> write_status();
  Task<Result<>> renew_lease();
  Task<> leases();
  Task<> statuses();

  base::Runtime& runtime_;
  api::Client& client_;
  const AgentOptions options_;
  mutable std::mutex mutex_;  // guards facts_
  NodeFacts facts_;
  base::Event changed_;
  std::string uid_;
  api::core::NodeStatus sent_;
  bool sent_once_ = false;
  std::string lease_version_;
};

}  // namespace agent
