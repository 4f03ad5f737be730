// NetworkPolicy in the kernel. The caller has evaluated all selectors: a policy names addresses.
//
// A pod of this node that at least one policy selects for a direction accepts only what one of those policies
// allows. Replies always pass, and so does everything between a pod and its own node, the cluster's DNS among it. Connections that exist
// stay. Only differences to what was last given reach the kernel. After a restart of the agent the rules of the earlier process hold until
// replace() is called (call it once even when there is no policy). Blocking; safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "network/address.h"

namespace network {

struct PolicyPort {
  Protocol protocol = Protocol::tcp;
  uint16_t port = 0;      // 0: every port of the protocol
  uint16_t end_port = 0;  // 0: just `port`
  bool operator==(const PolicyPort&) const = default;
};

struct PolicyRule {
  bool any_peer = false;             // no `from`/`to`: everyone
  std::vector<Ip> peers;             // pods selected by podSelector and namespaceSelector
  std::vector<Cidr> cidrs;           // ipBlock
  std::vector<Cidr> except;          // cut out of `cidrs` (not out of `peers`)
  std::vector<PolicyPort> ports;     // empty: every port
  bool operator==(const PolicyRule&) const = default;
};

struct Policy {
  std::string key;               // namespace/name
  std::vector<Ip> pods;          // the selected pods of this node
  bool ingress = false;          // policyTypes
  bool egress = false;
  std::vector<PolicyRule> ingress_rules;
  std::vector<PolicyRule> egress_rules;
  bool operator==(const Policy&) const = default;
};

class Policies {
 public:
  virtual ~Policies() = default;
  // The result is exactly these policies.
  virtual base::Result<> replace(std::vector<Policy> policies) = 0;
  virtual base::Result<> update(std::vector<Policy> changed, const std::vector<std::string>& removed_keys = {}) = 0;
};

}  // namespace network
