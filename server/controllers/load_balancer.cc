#include <set>

#include "api/types/discovery_v1.h"
#include "server/controllers/controllers.h"
#include "server/controllers/node_health.h"

namespace server::controllers {
namespace {

namespace discovery = api::discovery;
constexpr const char* our_class = "appliance";
constexpr const char* excluded = "node.kubernetes.io/exclude-from-external-load-balancers";

// Converges: status.loadBalancer of Services of type LoadBalancer to the addresses of the nodes, which all take their traffic. With
// externalTrafficPolicy Local, only nodes with a ready endpoint count.
class LoadBalancer final : public Controller {
 public:
  explicit LoadBalancer(Context& c)
      : Controller(c), services_(watch<core::Service>()), nodes_(informer<core::Node>()), slices_(informer<discovery::EndpointSlice>()) {
    nodes_.on_change([this](const auto& before, const auto& after) {
      if (before && after && before->status.addresses == after->status.addresses && node_ready(*before) == node_ready(*after) &&
          before->metadata.labels == after->metadata.labels)
        return;
      for (const auto& s : services_.list())
        if (ours(*s)) enqueue(s->metadata);
    });
    slices_.on_change([this](const auto& before, const auto& after) {
      const auto& m = (after ? after : before)->metadata;
      auto it = m.labels.find("kubernetes.io/service-name");
      auto s = it == m.labels.end() ? nullptr : services_.get(m.namespace_, it->second);
      if (s && ours(*s) && s->spec.externalTrafficPolicy == "Local") enqueue(s->metadata);
    });
  }
  std::string_view name() const override { return "servicelb"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto service = services_.get(key);
    if (!service || deleting(service->metadata)) co_return Requeue{};
    std::vector<core::LoadBalancerIngress> wanted;
    if (ours(*service)) {
      std::set<std::string> seen;
      for (const auto& n : nodes_.list()) {
        if (!takes_traffic(*n, *service)) continue;
        std::string address = address_of(*n);
        if (address.empty() || !seen.insert(address).second) continue;
        core::LoadBalancerIngress i;
        i.ip = std::move(address);
        i.ipMode = "VIP";
        wanted.push_back(std::move(i));
      }
    } else if (service->spec.type == "LoadBalancer") {
      co_return Requeue{};  // another implementation's
    }
    const auto* now = service->status.loadBalancer.get();
    if ((now ? now->ingress : std::vector<core::LoadBalancerIngress>{}) == wanted) co_return Requeue{};
    core::Service changed = *service;
    changed.status.loadBalancer.ensure().ingress = std::move(wanted);
    auto r = co_await api::update_status(client_, std::move(changed));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  static bool ours(const core::Service& s) {
    return s.spec.type == "LoadBalancer" && (s.spec.loadBalancerClass.empty() || s.spec.loadBalancerClass == our_class);
  }
  static std::string address_of(const core::Node& n) {
    std::string internal;
    for (const auto& a : n.status.addresses) {
      if (a.type == "ExternalIP") return a.address;
      if (a.type == "InternalIP" && internal.empty()) internal = a.address;
    }
    return internal;
  }
  bool takes_traffic(const core::Node& n, const core::Service& s) const {
    if (!node_ready(n) || n.metadata.labels.contains(excluded)) return false;
    if (s.spec.externalTrafficPolicy != "Local") return true;
    for (const auto& slice : slices_.list(s.metadata.namespace_)) {
      auto it = slice->metadata.labels.find("kubernetes.io/service-name");
      if (it == slice->metadata.labels.end() || it->second != s.metadata.name) continue;
      for (const auto& e : slice->endpoints)
        if (e.nodeName == n.metadata.name && e.conditions && e.conditions->ready.value_or(true)) return true;
    }
    return false;
  }

  api::Informer<core::Service>& services_;
  api::Informer<core::Node>& nodes_;
  api::Informer<discovery::EndpointSlice>& slices_;
};

}  // namespace

Made make_load_balancer(Context& c) { return std::make_unique<LoadBalancer>(c); }

}  // namespace server::controllers
