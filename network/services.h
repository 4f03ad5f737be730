// Services in the kernel: destination translation by nftables maps, changed by deltas.
//
// Every address and port a service answers on (a frontend) is one element of a verdict map that leads to a chain shared by all frontends
// with the same number of endpoints; the chain draws an index and looks up frontend . index in one map of endpoints.
// A change of one endpoint is a handful of elements in one transaction. State is mirrored here and never listed.
// Blocking; safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "network/address.h"

namespace network {

struct Endpoint {
  Ip ip;
  uint16_t port = 0;
  bool local = false;         // runs on this node
  bool ready = true;
  bool serving = true;
  bool terminating = false;
  bool operator==(const Endpoint&) const = default;
};

struct ServicePort {
  std::string name;
  Protocol protocol = Protocol::tcp;
  uint16_t port = 0;
  uint16_t node_port = 0;             // 0: none
  std::vector<Endpoint> endpoints;    // addresses and target ports that serve this port
  bool operator==(const ServicePort&) const = default;
};

enum class TrafficPolicy { cluster, local };

struct Service {
  std::string key;                      // namespace/name
  std::vector<Ip> cluster_ips;          // empty for headless: such a service has no effect
  std::vector<Ip> external_ips;
  std::vector<Ip> load_balancer_ips;    // status.loadBalancer.ingress
  std::vector<Cidr> source_ranges;      // spec.loadBalancerSourceRanges; empty: everyone
  std::vector<ServicePort> ports;
  bool client_ip_affinity = false;
  uint32_t affinity_seconds = 10800;
  TrafficPolicy external_policy = TrafficPolicy::cluster;
  TrafficPolicy internal_policy = TrafficPolicy::cluster;
  uint16_t health_check_node_port = 0;  // answered by the agent, not here
  bool operator==(const Service&) const = default;
};

struct ServicesStats {
  size_t services = 0, frontends = 0, elements = 0;
};

class Services {
 public:
  virtual ~Services() = default;
  // Everything at once: the result is exactly these services. The first call after a restart of the agent replaces in one transaction what
  // the earlier process left, so that connections meet either the old or the new state; clients with affinity keep their endpoints.
  virtual base::Result<> replace(std::vector<Service> services) = 0;
  // Deltas. One transaction per call; batch what belongs together.
  virtual base::Result<> update(std::vector<Service> changed, const std::vector<std::string>& removed_keys = {}) = 0;
  virtual ServicesStats stats() const = 0;
};

}  // namespace network
