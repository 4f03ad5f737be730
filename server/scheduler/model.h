// What the scheduler knows of pods and nodes: plain values without API types, so that every decision is a function of them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace server::scheduler {

using Labels = std::map<std::string, std::string>;

// One entry of matchExpressions; a matchLabels entry is `in` with one value.
struct Requirement {
  enum class Op { in, not_in, exists, absent, greater, less };
  std::string key;
  Op op = Op::in;
  std::vector<std::string> values;
  bool matches(const Labels& labels) const;
  bool matches(const std::string* value) const;  // null: the key is absent
};

// A label selector. An empty one matches everything, an absent one (nothing = true) no object.
struct Selector {
  bool nothing = false;
  std::vector<Requirement> all;
  bool matches(const Labels& labels) const;
};

// Amounts in the units of scheduling: milli-cores, bytes, pieces.
struct Resources {
  int64_t cpu = 0, memory = 0, ephemeral = 0, pods = 0;
  std::map<std::string, int64_t> extended;
  void add(const Resources& o, int64_t sign = 1);
  void raise_to(const Resources& o);  // the larger of each
  bool operator==(const Resources&) const = default;
};

struct Taint {
  std::string key, value, effect;  // NoSchedule, PreferNoSchedule, NoExecute
  bool operator==(const Taint&) const = default;
  auto operator<=>(const Taint&) const = default;
};

struct Toleration {
  std::string key, value, effect;  // empty key with exists: every taint; empty effect: every effect
  bool exists = false;
  bool tolerates(const Taint& taint) const;
};

struct NodeTerm {  // of node affinity: all must hold; a term without any matches nothing
  std::vector<Requirement> labels, fields;
  int32_t weight = 0;
};

struct Reach {  // from where one of the pod's volumes can be used: one of the terms must hold
  std::vector<NodeTerm> terms;
  bool bound = true;  // of a volume that is settled; else of those that could be taken
};

struct PodTerm {  // of pod (anti-)affinity
  Selector pods;
  std::set<std::string> namespaces;
  std::optional<Selector> namespace_selector;
  std::string topology_key;
  int32_t weight = 0;
};

struct Spread {
  std::string topology_key;
  int32_t max_skew = 1;
  bool hard = true;
  Selector pods;
  int32_t min_domains = 0;
  bool honor_affinity = true, honor_taints = false;
};

struct HostPort {
  std::string protocol, address;  // address empty: every one
  int32_t port = 0;
  bool conflicts(const HostPort& o) const {
    return port == o.port && protocol == o.protocol && (address.empty() || o.address.empty() || address == o.address);
  }
};

struct Pod {
  std::string ns, name, uid, node_name, nominated_node, scheduler_name;
  Labels labels;
  std::string owner_uid;  // of the controlling owner
  int32_t priority = 0;
  bool may_preempt = true, terminating = false, finished = false, gated = false;
  int64_t started = 0;  // seconds; 0 unknown
  Resources request;
  int64_t scored_cpu = 0, scored_memory = 0;  // request, with Kubernetes' assumption (100m, 200 MB) per container that asks for nothing
  std::vector<Toleration> tolerations;
  std::vector<Requirement> node_selector;
  std::optional<std::vector<NodeTerm>> node_terms;  // one of them must hold
  std::vector<NodeTerm> preferred_nodes;
  std::vector<PodTerm> affinity, anti_affinity, preferred_affinity, preferred_anti_affinity;
  std::vector<Spread> spread;
  std::vector<HostPort> host_ports;
  std::vector<std::string> images;
  std::vector<std::string> claims;  // names of its PersistentVolumeClaims
  std::vector<Reach> reach;         // filled in for a decision
  std::string told;  // "reason: message" of the condition PodScheduled=False, as it stands in the status
  std::string key() const { return ns + "/" + name; }
  bool has_pod_terms() const {
    return !affinity.empty() || !anti_affinity.empty() || !preferred_affinity.empty() || !preferred_anti_affinity.empty();
  }
};
using PodPtr = std::shared_ptr<const Pod>;

struct Node {
  std::string name;
  Labels labels;
  std::vector<Taint> taints;
  bool unschedulable = false;
  Resources allocatable;
  std::map<std::string, int64_t> images;  // size by name
  bool operator==(const Node&) const = default;
};

// How much a PodDisruptionBudget still allows; used by preemption only.
struct Budget {
  std::string ns;
  Selector pods;
  int32_t allowed = 0;
};

}  // namespace server::scheduler
