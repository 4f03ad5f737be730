// The cluster's names as an immutable table. (Kubernetes DNS-Based Service Discovery, version 1.1.0.)
//
// Built from small structs, then shared by the server's threads. Names are compared without case.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "network/address.h"

namespace network::dns {

struct NamedPort {
  std::string name;      // empty: no SRV record
  std::string protocol;  // "tcp", "udp", "sctp"
  uint16_t port = 0;
};

struct HeadlessEndpoint {
  Ip ip;
  std::string hostname;  // empty: a name made of the address, 10-42-0-5
  std::vector<NamedPort> ports;
};

struct ServiceRecord {
  std::string ns;
  std::string name;
  std::vector<Ip> cluster_ips;               // empty for headless and ExternalName
  std::string external_name;                 // ExternalName
  std::vector<NamedPort> ports;              // of the service
  std::vector<HeadlessEndpoint> endpoints;   // headless: ready ones, or all when publishNotReadyAddresses
};

class Zone;

// Keeps the services and builds tables of them. One builder lives on and is told the changes: build() makes only those namespaces
// anew that changed. Not safe from several threads; the zones it makes are.
class ZoneBuilder {
 public:
  explicit ZoneBuilder(std::string domain = "cluster.local");
  ~ZoneBuilder();
  // Adds the service, or replaces the one of that name.
  void add(ServiceRecord service);
  void remove(const std::string& ns, const std::string& name);
  void clear();
  // Known namespaces: pod names (10-42-0-5.<ns>.pod.<domain>) answer in these only. Without any call, in every namespace.
  void add_namespace(std::string ns);
  void remove_namespace(const std::string& ns);
  std::shared_ptr<const Zone> build(uint32_t serial = 1);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace network::dns
