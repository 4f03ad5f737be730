// Keeps the kernel's service tables, the overlay's nodes and the DNS zone at what the API says, by deltas.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "api/informer.h"
#include "api/types/core_v1.h"
#include "api/types/discovery_v1.h"
#include "network/dns/server.h"
#include "network/node.h"

namespace agent {

class ServiceSync {
 public:
  struct Options {
    std::string node_name, cluster_domain;
    bool services = true, overlay = true;
  };
  // Sets handlers on informers, so before Informers::start(). `network` and `dns` may be null and given later.
  ServiceSync(base::Runtime& runtime, api::Informers& informers, Options options);
  void set_network(network::Node* network);
  void set_dns(network::dns::Server* dns);

  // Everything once, then what changes; until cancelled. Begins when the informers have synced.
  base::Task<> run();
  // Returns when everything the informers know has reached the kernel once.
  base::Task<> wait_first();

 private:
  void mark(const std::string& key);
  base::Task<> apply(bool all, std::set<std::string> keys, bool nodes);
  std::vector<std::shared_ptr<const api::discovery::EndpointSlice>> slices_of(const std::string& key) const;
  void rebuild_zone();

  const Options options_;
  api::Informer<api::core::Service>& services_;
  api::Informer<api::discovery::EndpointSlice>& slices_;
  api::Informer<api::core::Node>& nodes_;
  api::Informer<api::core::Namespace>& namespaces_;
  network::Node* network_ = nullptr;
  network::dns::Server* dns_ = nullptr;
  std::mutex mutex_;  // guards what follows
  std::set<std::string> dirty_;
  bool nodes_dirty_ = true, zone_dirty_ = true;
  base::Event changed_, first_;
  bool first_done_ = false;
  uint32_t serial_ = 0;
};

}  // namespace agent
