// A pod's link to its node: one routed veth, an address from the node's prefix, host ports.
//
// The host end (applXXXXXXXXXX) carries a /32 route to the pod; the pod's end is eth0 with a /32 address and a default
// route through the node's gateway address (first of the prefix). Neighbours on both ends are static: no ARP, no
// bridge, no flooding. What a pod sends from an address other than its own is dropped.
// All calls block (about a millisecond) and are safe from any thread: use base::offload() in coroutines.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "network/address.h"

namespace network {

class Firewall;

struct HostPort {
  Protocol protocol = Protocol::tcp;
  uint16_t host_port = 0;
  uint16_t container_port = 0;
  Ip host_ip;  // none: every address of the node
};

struct PodRequest {
  std::string id;  // stable and unique on the node: the pod's uid
  std::vector<HostPort> host_ports;
  std::optional<Ip> ip;  // a wish, e.g. the address it had before
  uint64_t ingress_bits_per_second = 0;  // not enforced yet
  uint64_t egress_bits_per_second = 0;
};

struct PodNetwork {
  std::string id;
  Ip ip;
  Mac mac{};
  Ip gateway;
  std::string host_link;  // the veth's host end
  uint32_t mtu = 0;
  std::vector<HostPort> host_ports;
};

struct PodsOptions {
  Cidr pod_cidr;            // this node's prefix
  uint32_t mtu = 1450;
  std::string state_dir;    // one small file per pod (no sync; below /run); empty: nothing is kept
};

class Pods {
 public:
  virtual ~Pods() = default;

  // Connects the network namespace. `netns` is borrowed. Asking again for an id that is attached returns the same
  // answer when its link still exists. Errors: 503 when the prefix is exhausted, 409 when a host port is taken.
  virtual base::Result<PodNetwork> attach(int netns, const PodRequest& request) = 0;
  // Frees address and host ports; the link is removed soon after. Unknown ids are success.
  virtual base::Result<> detach(const std::string& id) = 0;
  // What is attached now, including what was found when this object was made after a restart of the agent.
  virtual std::vector<PodNetwork> list() const = 0;
  // Detaches everything that is not in `keep`: call once after a restart, when the living sandboxes are known.
  virtual base::Result<> collect(const std::vector<std::string>& keep) = 0;
  virtual Ip gateway() const = 0;
};

// An interface's counters inside a namespace, for stats: rx and tx of eth0. Blocking, cheap.
struct LinkCounters {
  uint64_t rx_bytes = 0, rx_packets = 0, rx_errors = 0, rx_dropped = 0;
  uint64_t tx_bytes = 0, tx_packets = 0, tx_errors = 0, tx_dropped = 0;
};
// Counters of a host link, turned so that rx is what the pod received.
base::Result<LinkCounters> pod_counters(const std::string& host_link);
// Counters of an interface of this namespace as they are (for the node's own statistics).
base::Result<LinkCounters> link_counters(const std::string& link);

// Brings `lo` up in a namespace that gets no address of its own from us (nothing else to do for host network pods).
base::Result<> loopback_up(int netns);

}  // namespace network
