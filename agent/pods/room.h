// What the pods of this node take of it, and whether one more, or a larger one, fits: the node's own check of what the scheduler decided,
// and the only one for pods that name their node themselves. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/pods/resources.h"
#include "api/types/core_v1.h"

namespace agent {

// As it is shown in the status of a pod (OutOfcpu, NodeAffinity, ...) or in its PodResizePending condition (Infeasible, Deferred).
struct Refusal {
  std::string reason, message;
};

// A sysctl the pod may not set: it does not belong to a namespace of the pod's own. Pure.
std::optional<std::string> forbidden_sysctl(const api::core::Pod& pod);
// Whether nodeSelector and the required node affinity of the pod select the node. Pure.
bool selects_node(const api::core::Pod& pod, const api::core::Node& node);

class Room {
 public:
  explicit Room(std::map<std::string, std::string> allocatable);

  // A pod that is new to this node is counted when it fits; otherwise why not. Without a node its labels are not looked at.
  std::optional<Refusal> take(const api::core::Pod& pod, const api::core::Node* node);
  // A pod that is here already is counted whatever it takes.
  void keep(const api::core::Pod& pod);
  // Counts a pod as it is now when that fits, otherwise leaves it as it was.
  std::optional<Refusal> change(const api::core::Pod& pod);
  void release(const std::string& uid);

 private:
  struct Share {
    PodRequest request;
    std::vector<std::string> ports;  // "TCP/0.0.0.0/80"
  };
  struct Lack {
    std::string resource;
    int64_t requested = 0, used = 0, capacity = 0;
  };
  std::optional<Lack> lacking(const PodRequest& request, const PodRequest& used) const;
  PodRequest used_by_others(const std::string& uid) const;

  PodRequest capacity_;
  int64_t max_pods_ = 0;
  mutable std::mutex mutex_;  // guards shares_
  std::map<std::string, Share> shares_;  // by uid
};

}  // namespace agent
