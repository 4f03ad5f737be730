#include "server/controllers/controllers.h"
#include "server/controllers/endpoints_plan.h"

namespace server::controllers {
namespace {

namespace discovery = api::discovery;
constexpr const char* managed_by = "endpointslice.kubernetes.io/managed-by";
constexpr const char* ours = "endpointslice-controller.k8s.io";

// Services are found from a pod by one entry of their selector: each is listed under "<namespace>/<key>=<value>" of its first.
std::string entry(const std::string& ns, const std::string& key, const std::string& value) { return ns + "/" + key + "=" + value; }

// A Service key for every change of the Service or of a pod it selects.
class ServiceController : public Controller {
 public:
  explicit ServiceController(Context& c) : Controller(c), services_(watch<core::Service>()), pods_(informer<core::Pod>()) {
    services_.add_index("selector", [](const core::Service& s) -> std::vector<std::string> {
      if (s.spec.selector.empty()) return {};
      const auto& [key, value] = *s.spec.selector.begin();
      return {entry(s.metadata.namespace_, key, value)};
    });
    pods_.on_change([this](const PodPtr& before, const PodPtr& after) {
      if (before && after && !endpoint_changed(*before, *after)) return;
      if (before) this->wake(*before);
      if (after && (!before || before->metadata.labels != after->metadata.labels)) this->wake(*after);
    });
  }

 protected:
  // Whether the Service's endpoints are ours to write.
  static bool selects_pods(const core::Service& s) { return !s.spec.selector.empty() && s.spec.type != "ExternalName"; }
  std::vector<PodPtr> pods_of(const core::Service& s) const {
    std::vector<PodPtr> out = pods_.list(s.metadata.namespace_);
    std::erase_if(out, [&](const PodPtr& p) { return !api::selects(s.spec.selector, p->metadata.labels); });
    return out;
  }
  api::Informer<core::Service>& services_;
  api::Informer<core::Pod>& pods_;

 private:
  void wake(const core::Pod& pod) {
    for (const auto& [key, value] : pod.metadata.labels)
      for (const auto& s : services_.by_index("selector", entry(pod.metadata.namespace_, key, value)))
        if (api::selects(s->spec.selector, pod.metadata.labels)) enqueue(s->metadata);
  }
};

// Converges: the EndpointSlices of a Service to the pods it selects.
class EndpointSlices final : public ServiceController {
 public:
  explicit EndpointSlices(Context& c)
      : ServiceController(c), slices_(informer<discovery::EndpointSlice>()), nodes_(informer<core::Node>()) {
    slices_.add_index("service", [](const discovery::EndpointSlice& s) -> std::vector<std::string> {
      auto it = s.metadata.labels.find("kubernetes.io/service-name");
      auto by = s.metadata.labels.find(managed_by);
      if (it == s.metadata.labels.end() || by == s.metadata.labels.end() || by->second != ours) return {};
      return {s.metadata.namespace_ + "/" + it->second};
    });
    slices_.on_change([this](const SlicePtr& before, const SlicePtr& after) {
      const auto& m = (after ? after : before)->metadata;
      auto it = m.labels.find("kubernetes.io/service-name");
      if (it != m.labels.end()) enqueue(m.namespace_, it->second);
    });
  }
  std::string_view name() const override { return "endpointslice"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto service = services_.get(key);
    auto slices = slices_.by_index("service", key.text());
    if (!service || deleting(service->metadata)) co_return Requeue{};  // owned by it: the garbage collector removes them
    SlicePlan plan;
    if (selects_pods(*service)) plan = plan_slices(*service, pods_of(*service), slices, zones());
    else plan.remove = slices;
    for (auto& s : plan.create) {
      auto r = co_await api::create(client_, std::move(s));
      if (!r) co_return std::unexpected(std::move(r).error());
    }
    for (auto& s : plan.update) {
      auto r = co_await api::update(client_, std::move(s));
      if (!r) co_return std::unexpected(std::move(r).error());
    }
    for (const SlicePtr& s : plan.remove) {
      auto r = co_await api::remove<discovery::EndpointSlice>(client_, {key.ns, s->metadata.name});
      if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    }
    co_return Requeue{};
  }

 private:
  std::map<std::string, std::string> zones() const {
    std::map<std::string, std::string> out;
    for (const auto& n : nodes_.list())
      if (auto it = n->metadata.labels.find("topology.kubernetes.io/zone"); it != n->metadata.labels.end())
        out[n->metadata.name] = it->second;
    return out;
  }
  api::Informer<discovery::EndpointSlice>& slices_;
  api::Informer<core::Node>& nodes_;
};

// Converges: the Endpoints object of a Service to the pods it selects (for clients that do not know slices).
class EndpointsObjects final : public ServiceController {
 public:
  explicit EndpointsObjects(Context& c) : ServiceController(c), endpoints_(watch<core::Endpoints>()) {}
  std::string_view name() const override { return "endpoints"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto service = services_.get(key);
    auto existing = endpoints_.get(key);
    if (!service) {
      if (!existing || !existing->metadata.labels.contains("endpoints.kubernetes.io/managed-by")) co_return Requeue{};
      auto r = co_await api::remove<core::Endpoints>(client_, key);
      if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
      co_return Requeue{};
    }
    if (!selects_pods(*service) || deleting(service->metadata)) co_return Requeue{};
    core::Endpoints wanted = plan_endpoints(*service, pods_of(*service));
    Result<core::Endpoints> r;
    if (!existing) {
      r = co_await api::create(client_, std::move(wanted));
    } else {
      if (existing->subsets == wanted.subsets && existing->metadata.labels == wanted.metadata.labels) co_return Requeue{};
      core::Endpoints changed = *existing;
      changed.subsets = std::move(wanted.subsets);
      changed.metadata.labels = std::move(wanted.metadata.labels);
      r = co_await api::update(client_, std::move(changed));
    }
    if (!r) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  api::Informer<core::Endpoints>& endpoints_;
};

}  // namespace

Made make_endpointslices(Context& c) { return std::make_unique<EndpointSlices>(c); }
Made make_endpoints(Context& c) { return std::make_unique<EndpointsObjects>(c); }

}  // namespace server::controllers
