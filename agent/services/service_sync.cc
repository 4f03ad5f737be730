#include "agent/services/service_sync.h"

#include "agent/services/translate.h"
#include "base/log.h"

namespace agent {

using namespace std::chrono_literals;
using base::Task;

namespace {

const char* kByService = "service";

std::string service_of(const api::discovery::EndpointSlice& s) {
  auto it = s.metadata.labels.find("kubernetes.io/service-name");
  return it == s.metadata.labels.end() ? std::string() : s.metadata.namespace_ + "/" + it->second;
}

}  // namespace

ServiceSync::ServiceSync(base::Runtime&, api::Informers& informers, Options options)
    : options_(std::move(options)), services_(informers.get<api::core::Service>()), slices_(informers.get<api::discovery::EndpointSlice>()),
      nodes_(informers.get<api::core::Node>()), namespaces_(informers.get<api::core::Namespace>()) {
  slices_.add_index(kByService, [](const api::discovery::EndpointSlice& s) { return std::vector<std::string>{service_of(s)}; });
  services_.on_change([this](const auto& before, const auto& after) {
    const auto& o = after ? *after : *before;
    mark(o.metadata.namespace_ + "/" + o.metadata.name);
  });
  slices_.on_change([this](const auto& before, const auto& after) {
    if (before) mark(service_of(*before));
    if (after) mark(service_of(*after));
  });
  nodes_.on_change([this](const auto& before, const auto& after) {
    // Most changes of a node are of no interest here.
    if (before && after) {
      auto a = translate_node(*before), b = translate_node(*after);
      if (a.has_value() == b.has_value() && (!a || (a->underlay == b->underlay && a->pod_cidr == b->pod_cidr))) return;
    }
    {
      std::scoped_lock lock(mutex_);
      nodes_dirty_ = true;
    }
    changed_.notify();
  });
  namespaces_.on_change([this](const auto& before, const auto& after) {
    if (before && after) return;
    {
      std::scoped_lock lock(mutex_);
      zone_dirty_ = true;
    }
    changed_.notify();
  });
}

void ServiceSync::set_network(network::Node* network) {
  std::scoped_lock lock(mutex_);
  network_ = network;
}

void ServiceSync::set_dns(network::dns::Server* dns) {
  {
    std::scoped_lock lock(mutex_);
    dns_ = dns;
    zone_dirty_ = true;
  }
  changed_.notify();
}

void ServiceSync::mark(const std::string& key) {
  if (key.empty()) return;
  {
    std::scoped_lock lock(mutex_);
    dirty_.insert(key);
    zone_dirty_ = true;
  }
  changed_.notify();
}

std::vector<SlicePtr> ServiceSync::slices_of(const std::string& key) const { return slices_.by_index(kByService, key); }

Task<> ServiceSync::run() {
  co_await services_.wait_synced();
  co_await slices_.wait_synced();
  co_await nodes_.wait_synced();
  co_await namespaces_.wait_synced();
  bool all = true;
  for (;;) {
    uint64_t seen = changed_.version();
    std::set<std::string> keys;
    bool nodes = false;
    {
      std::scoped_lock lock(mutex_);
      keys.swap(dirty_);
      nodes = std::exchange(nodes_dirty_, false);
    }
    bool zone = false;
    {
      std::scoped_lock lock(mutex_);
      zone = dns_ && std::exchange(zone_dirty_, false);
    }
    if (all || !keys.empty() || nodes || zone) {
      co_await apply(all, std::move(keys), nodes);
      if (zone) co_await base::offload([this] { rebuild_zone(); });
      if (all) {
        {
          std::scoped_lock lock(mutex_);
          first_done_ = true;
        }
        first_.notify();
      }
      all = false;
      continue;
    }
    co_await changed_.wait(seen);
  }
}

Task<> ServiceSync::wait_first() {
  for (;;) {
    uint64_t seen = first_.version();
    {
      std::scoped_lock lock(mutex_);
      if (first_done_) co_return;
    }
    co_await first_.wait(seen);
  }
}

Task<> ServiceSync::apply(bool all, std::set<std::string> keys, bool nodes) {
  network::Node* network;
  {
    std::scoped_lock lock(mutex_);
    network = network_;
  }
  if (!network) co_return;
  base::Result<> result;
  if (options_.services && all) {
    std::vector<network::Service> list;
    for (const auto& s : services_.list()) {
      auto t = translate_service(*s, slices_of(s->metadata.namespace_ + "/" + s->metadata.name), options_.node_name);
      if (t) list.push_back(std::move(*t));
    }
    result = co_await base::offload([network, list = std::move(list)]() mutable { return network->services().replace(std::move(list)); });
  } else if (options_.services && !keys.empty()) {
    std::vector<network::Service> changed;
    std::vector<std::string> removed;
    for (const auto& key : keys) {
      auto s = services_.get(api::ObjectKey::parse(key));
      auto t = s ? translate_service(*s, slices_of(key), options_.node_name) : std::nullopt;
      if (t) changed.push_back(std::move(*t));
      else removed.push_back(key);
    }
    result = co_await base::offload([network, changed = std::move(changed), removed = std::move(removed)]() mutable {
      return network->services().update(std::move(changed), removed);
    });
  }
  if (!result) {
    base::log::warn("agent", "services in the kernel: {}; trying again", result.error().message);
    co_await base::sleep_for(1s);
    std::scoped_lock lock(mutex_);
    dirty_.merge(keys);
    if (all)
      for (const auto& s : services_.list()) dirty_.insert(s->metadata.namespace_ + "/" + s->metadata.name);
  }
  if (nodes && options_.overlay) {
    std::vector<network::OverlayNode> list;
    for (const auto& n : nodes_.list()) {
      if (auto t = translate_node(*n)) list.push_back(*t);
    }
    auto set = co_await base::offload([network, list = std::move(list)] { return network->overlay().set_nodes(list); });
    if (!set) {
      base::log::warn("agent", "the overlay: {}", set.error().message);
      co_await base::sleep_for(1s);
      std::scoped_lock lock(mutex_);
      nodes_dirty_ = true;
    }
  }
}

void ServiceSync::rebuild_zone() {
  network::dns::Server* dns;
  {
    std::scoped_lock lock(mutex_);
    dns = dns_;
  }
  if (!dns) return;
  network::dns::ZoneBuilder builder(options_.cluster_domain);
  for (const auto& n : namespaces_.list()) builder.add_namespace(n->metadata.name);
  for (const auto& s : services_.list()) builder.add(translate_record(*s, slices_of(s->metadata.namespace_ + "/" + s->metadata.name)));
  dns->set_zone(builder.build(++serial_));
}

}  // namespace agent
