#include <set>

#include "api/types/discovery_v1.h"
#include "server/controllers/controllers.h"
#include "server/controllers/endpoints_plan.h"

namespace server::controllers {
namespace {

namespace discovery = api::discovery;
constexpr const char* managed_by = "endpointslice.kubernetes.io/managed-by";
constexpr const char* ours = "endpointslicemirroring-controller.k8s.io";

// Converges: the EndpointSlices of a Service without selector to the Endpoints object somebody keeps for it by hand.
class EndpointMirror final : public Controller {
 public:
  explicit EndpointMirror(Context& c)
      : Controller(c),
        services_(watch<core::Service>()),
        endpoints_(watch<core::Endpoints>()),
        slices_(informer<discovery::EndpointSlice>()) {
    slices_.add_index("mirrored", [](const discovery::EndpointSlice& s) -> std::vector<std::string> {
      auto by = s.metadata.labels.find(managed_by), of = s.metadata.labels.find("kubernetes.io/service-name");
      if (by == s.metadata.labels.end() || by->second != ours || of == s.metadata.labels.end()) return {};
      return {s.metadata.namespace_ + "/" + of->second};
    });
    slices_.on_change([this](const SlicePtr& before, const SlicePtr& after) {
      const auto& m = (after ? after : before)->metadata;
      auto by = m.labels.find(managed_by), of = m.labels.find("kubernetes.io/service-name");
      if (by != m.labels.end() && by->second == ours && of != m.labels.end()) enqueue(m.namespace_, of->second);
    });
  }
  std::string_view name() const override { return "endpointslice-mirroring"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto service = services_.get(key);
    auto endpoints = endpoints_.get(key);
    std::vector<SlicePtr> existing = slices_.by_index("mirrored", key.text());
    std::vector<discovery::EndpointSlice> wanted;
    if (service && endpoints && mirrored(*service, *endpoints)) wanted = slices_of(*endpoints);
    for (discovery::EndpointSlice& w : wanted) {
      auto it = std::find_if(existing.begin(), existing.end(), [&](const SlicePtr& s) { return s->metadata.name == w.metadata.name; });
      if (it == existing.end()) {
        auto r = co_await api::create(client_, std::move(w));
        if (!r) co_return std::unexpected(std::move(r).error());
        continue;
      }
      SlicePtr there = *it;
      existing.erase(it);
      if (there->endpoints == w.endpoints && there->ports == w.ports && there->metadata.labels == w.metadata.labels) continue;
      discovery::EndpointSlice changed = *there;
      changed.endpoints = std::move(w.endpoints);
      changed.ports = std::move(w.ports);
      changed.metadata.labels = std::move(w.metadata.labels);
      auto r = co_await api::update(client_, std::move(changed));
      if (!r) co_return std::unexpected(std::move(r).error());
    }
    for (const SlicePtr& s : existing) {
      auto r = co_await api::remove<discovery::EndpointSlice>(client_, {key.ns, s->metadata.name});
      if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    }
    co_return Requeue{};
  }

 private:
  static bool mirrored(const core::Service& s, const core::Endpoints& e) {
    if (!s.spec.selector.empty() || s.spec.type == "ExternalName" || deleting(s.metadata) || deleting(e.metadata)) return false;
    auto skip = e.metadata.labels.find("endpointslice.kubernetes.io/skip-mirror");
    return (skip == e.metadata.labels.end() || skip->second != "true") &&
           !e.metadata.labels.contains("endpoints.kubernetes.io/managed-by") &&
           !e.metadata.annotations.contains("control-plane.alpha.kubernetes.io/leader");
  }

  // One slice for each subset and address family, cut at the capacity of a slice.
  static std::vector<discovery::EndpointSlice> slices_of(const core::Endpoints& e) {
    std::vector<discovery::EndpointSlice> out;
    for (size_t n = 0; n < e.subsets.size(); ++n)
      for (const char* type : {"IPv4", "IPv6"}) {
        std::vector<discovery::Endpoint> all;
        for (bool ready : {true, false})
          for (const auto& a : ready ? e.subsets[n].addresses : e.subsets[n].notReadyAddresses)
            if ((a.ip.find(':') != std::string::npos) == (std::string_view(type) == "IPv6")) all.push_back(endpoint(a, ready));
        for (size_t from = 0; from < all.size(); from += slice_capacity) {
          discovery::EndpointSlice s;
          std::string id = e.metadata.uid + type + std::to_string(n) + "/" + std::to_string(from);
          s.metadata.name = e.metadata.name + "-" + short_hash(id).substr(0, 5);
          s.metadata.namespace_ = e.metadata.namespace_;
          s.metadata.labels = e.metadata.labels;
          s.metadata.labels["kubernetes.io/service-name"] = e.metadata.name;
          s.metadata.labels[managed_by] = ours;
          s.metadata.ownerReferences.push_back(controller_reference(e));
          s.addressType = type;
          for (const auto& p : e.subsets[n].ports) {
            auto& port = s.ports.emplace_back();
            port.name = p.name;
            port.port = p.port;
            port.protocol = p.protocol.empty() ? "TCP" : p.protocol;
            port.appProtocol = p.appProtocol;
          }
          auto first = all.begin() + ptrdiff_t(from);
          s.endpoints.assign(first, first + ptrdiff_t(std::min(slice_capacity, all.size() - from)));
          out.push_back(std::move(s));
        }
      }
    return out;
  }

  static discovery::Endpoint endpoint(const core::EndpointAddress& a, bool ready) {
    discovery::Endpoint out;
    out.addresses = {a.ip};
    out.conditions.emplace().ready = ready;
    out.hostname = a.hostname;
    out.nodeName = a.nodeName;
    out.targetRef = a.targetRef;
    return out;
  }

  api::Informer<core::Service>& services_;
  api::Informer<core::Endpoints>& endpoints_;
  api::Informer<discovery::EndpointSlice>& slices_;
};

}  // namespace

Made make_endpoint_mirror(Context& c) { return std::make_unique<EndpointMirror>(c); }

}  // namespace server::controllers
