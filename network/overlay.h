// Pod traffic between nodes: one VXLAN device (appl.1) with a static forwarding, neighbour and route entry per node.
//
// No learning and no flooding. VXLAN packets are taken only from the underlay addresses given to set_nodes().
// Blocking; safe from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "network/address.h"

namespace network {

struct OverlayNode {
  std::string name;
  Ip underlay;      // its node IP
  Cidr pod_cidr;
  Mac vtep_mac{};   // all zero: vtep_mac(pod_cidr), which is what every node uses unless told otherwise
};

// The link address of a node's VXLAN device follows from its prefix, so that peers need not publish it.
Mac vtep_mac(const Cidr& pod_cidr);

struct OverlayOptions {
  bool enabled = true;  // false: no device; set_nodes() only maintains direct routes where a peer is on the same link
  uint32_t vni = 1;
  uint16_t port = 8472;
  std::string device = "appl.1";
  bool checksum_offload =
      true;  // false: for network cards and hypervisors that get the checksums of encapsulated packets wrong (pings pass, TCP does not)
  std::string interface;  // underlay; empty: the one that holds the node's address
};

class Overlay {
 public:
  virtual ~Overlay() = default;
  // The other nodes (an entry for this node is ignored). Only differences to the last call reach the kernel;
  // an entry the kernel refuses is reported and tried again with the next call, the others are in place.
  virtual base::Result<> set_nodes(const std::vector<OverlayNode>& nodes) = 0;
  // The node's own address changed: moves the device to it, keeping pods as they are.
  virtual base::Result<> set_underlay(const Ip& node_ip) = 0;
  // What fits into a packet between pods: the underlay's MTU less 50 bytes.
  virtual uint32_t mtu() const = 0;
};

// The addresses of this host that a node could use (global scope, up, not ours), in order of preference: the one of the default route
// first.
struct HostAddress {
  Ip ip;
  std::string interface;
  uint32_t mtu = 0;
};
base::Result<std::vector<HostAddress>> host_addresses();

// Shuts down this process's TCP connections from the address, which has left the host: no answer will come, and none may be awaited for minutes.
void drop_connections_from(const Ip& address);

// Calls back, on a thread of its own, at most every 200 ms, after addresses or the default route of the host changed. Stops when destroyed.
class AddressMonitor {
 public:
  explicit AddressMonitor(std::function<void()> changed);
  ~AddressMonitor();
  AddressMonitor(const AddressMonitor&) = delete;
  AddressMonitor& operator=(const AddressMonitor&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace network
