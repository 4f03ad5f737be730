// A node's network as a whole: what the agent makes once, in this order, and stops in reverse.
//
// Works in the network namespace of the calling thread, which must be the one of the process. Nothing is exec'ed. stop() and the destructor
// leave pods and rules as they are, so that an agent can be restarted or upgraded without a packet lost; cleanup() takes them away.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "network/address.h"
#include "network/overlay.h"
#include "network/pods.h"
#include "network/policy.h"
#include "network/services.h"

namespace network {

struct NodeOptions {
  std::string node_name;
  Ip node_ip;                        // the underlay address
  Cidr pod_cidr;                     // this node's prefix
  std::vector<Cidr> cluster_cidrs;   // all pods (10.42.0.0/16)
  std::vector<Cidr> service_cidrs;   // all cluster IPs (10.43.0.0/16)
  std::vector<Ip> dns_addresses;     // put on the local link appl0, so that a server can bind them (10.43.0.10)
  std::string state_dir;             // <run-dir>/network
  OverlayOptions overlay;
};

class Node {
 public:
  virtual ~Node() = default;
  // Sets sysctls, makes appl0 and the VXLAN device, finds the pods that are already attached, installs the table when there is none
  // (an existing one of the same layout goes on working, part by part, until services and policies are given). Errors are sentences that
  // say what to do.
  static base::Result<std::unique_ptr<Node>> start(NodeOptions options);

  virtual Pods& pods() = 0;
  virtual Overlay& overlay() = 0;
  virtual Services& services() = 0;
  virtual Policies& policies() = 0;
  // Puts the table and routes back if something else removed them; cheap when nothing is missing. Call every minute or so.
  virtual base::Result<> verify() = 0;
};

// What is missing on this host for the node's network, as sentences; empty: everything is there. For `appliance check`.
std::vector<std::string> missing_features();

// What on this host gets in the way of pod traffic and is not ours to change (another firewall that drops forwarded packets), as sentences
// that say what to do. Empty: nothing was found.
std::vector<std::string> obstacles(const std::vector<Cidr>& cluster_cidrs);

}  // namespace network
