#include "api/quantity.h"
#include "server/controllers/controllers.h"
#include "server/controllers/kinds.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

using api::Quantity;
using Amounts = std::map<std::string, Quantity>;

bool best_effort(const core::Pod& p) {
  auto plain = [](const core::Container& c) { return !c.resources || (c.resources->requests.empty() && c.resources->limits.empty()); };
  return std::all_of(p.spec.containers.begin(), p.spec.containers.end(), plain) && std::all_of(p.spec.initContainers.begin(), p.spec.initContainers.end(), plain);
}

bool in_scope(const core::Pod& p, const core::ResourceQuotaSpec& spec) {
  auto holds = [&](const std::string& scope, const std::string& op, const std::vector<std::string>& values) {
    if (scope == "Terminating") return p.spec.activeDeadlineSeconds.has_value();
    if (scope == "NotTerminating") return !p.spec.activeDeadlineSeconds.has_value();
    if (scope == "BestEffort") return best_effort(p);
    if (scope == "NotBestEffort") return !best_effort(p);
    if (scope != "PriorityClass") return true;
    bool listed = std::find(values.begin(), values.end(), p.spec.priorityClassName) != values.end(), any = !p.spec.priorityClassName.empty();
    return op == "In" ? listed : op == "NotIn" ? !listed : op == "DoesNotExist" ? !any : any;
  };
  for (const auto& s : spec.scopes)
    if (!holds(s, "Exists", {})) return false;
  if (spec.scopeSelector)
    for (const auto& e : spec.scopeSelector->matchExpressions)
      if (!holds(e.scopeName, e.operator_, e.values)) return false;
  return true;
}

// Sums of requests and limits of a pod; init containers count by their peak.
void add_pod(Amounts& to, const core::Pod& p) {
  Amounts sum, peak;
  auto add = [](Amounts& out, const core::Container& c) {
    if (!c.resources) return;
    for (const auto& [name, q] : c.resources->requests) out["requests." + name] += Quantity::of(q);
    for (const auto& [name, q] : c.resources->limits) out["limits." + name] += Quantity::of(q);
  };
  for (const auto& c : p.spec.containers) add(sum, c);
  for (const auto& c : p.spec.initContainers) {
    if (c.restartPolicy == "Always") {
      add(sum, c);
      continue;
    }
    Amounts one;
    add(one, c);
    for (auto& [name, q] : one)
      if (peak[name] < q) peak[name] = q;
  }
  for (const auto& [name, q] : peak)
    if (sum[name] < q) sum[name] = q;
  for (const auto& [name, q] : sum) to[name] += q;
  for (const char* name : {"cpu", "memory", "ephemeral-storage"})
    if (auto it = sum.find(std::string("requests.") + name); it != sum.end()) to[name] += it->second;
  to["pods"] += Quantity::of_value(1);
}

// Converges: status.used of a ResourceQuota to what its namespace holds. Admission adds to it when objects are made; this gives back what has gone.
class ResourceQuotas final : public Controller {
 public:
  explicit ResourceQuotas(Context& c)
      : Controller(c), quotas_(informer<core::ResourceQuota>()), pods_(informer<core::Pod>()), services_(informer<core::Service>()), kinds_(c) {
    quotas_.on_change([this](const auto& before, const auto& after) {
      if (after && (!before || before->spec != after->spec || after->status.used.empty())) enqueue(after->metadata);
    });
    pods_.on_change([this](const PodPtr& before, const PodPtr& after) {
      if (before && pod_active(*before) && (!after || !pod_active(*after))) wake(before->metadata.namespace_);
    });
    services_.on_change([this](const auto& before, const auto& after) {
      if (before && (!after || before->spec.type != after->spec.type)) wake(before->metadata.namespace_);
    });
  }
  std::string_view name() const override { return "resourcequota"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto quota = quotas_.get(key);
    if (!quota || deleting(quota->metadata)) co_return Requeue{};
    Amounts used;
    for (const PodPtr& p : pods_.list(key.ns))
      if (!pod_finished(*p) && in_scope(*p, quota->spec)) add_pod(used, *p);
    for (const auto& s : services_.list(key.ns)) {
      used["services"] += Quantity::of_value(1);
      if (s->spec.type == "LoadBalancer") used["services.loadbalancers"] += Quantity::of_value(1);
      if (s->spec.type == "NodePort" || s->spec.type == "LoadBalancer") used["services.nodeports"] += Quantity::of_value(int64_t(s->spec.ports.size()));
    }
    bool listed = false;
    for (const auto& [name, hard] : quota->spec.hard) {
      if (used.contains(name)) continue;
      CO_TRY(std::optional<int64_t> n, co_await count(name, key.ns));
      if (!n) continue;
      listed = true;
      used[name] = Quantity::of_value(*n);
    }
    core::ResourceQuota changed = *quota;
    changed.status.hard = quota->spec.hard;
    changed.status.used.clear();
    for (const auto& [name, hard] : quota->spec.hard) changed.status.used[name] = used[name].to_string();
    Requeue again;
    if (listed) again = std::chrono::minutes(5);  // what is counted by listing causes no event here
    if (changed.status == quota->status) co_return again;
    auto r = co_await api::update_status(client_, std::move(changed));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return again;
  }

 private:
  void wake(const std::string& ns) {
    for (const auto& q : quotas_.list(ns)) enqueue(q->metadata);
  }

  // Objects of "configmaps" or "count/deployments.apps"; nothing when the name means no resource.
  Task<Result<std::optional<int64_t>>> count(std::string name, std::string ns) {
    if (name.starts_with("count/")) name = name.substr(6);
    else if (name != "configmaps" && name != "secrets" && name != "persistentvolumeclaims" && name != "resourcequotas" && name != "replicationcontrollers")
      co_return std::optional<int64_t>{};
    for (const StoredKind& k : kinds_.all()) {
      std::string full = k.resource.group.empty() ? k.resource.resource : k.resource.resource + "." + k.resource.group;
      if (full != name || !k.namespaced) continue;
      int64_t n = 0;
      api::ListOptions options;
      options.limit = 500;
      for (;;) {
        CO_TRY(api::ListPage page, co_await client_.list(k.resource, ns, options));
        n += int64_t(page.items.size());
        if (page.continue_token.empty()) co_return std::optional<int64_t>(n);
        options.continue_token = page.continue_token;
      }
    }
    co_return std::optional<int64_t>{};
  }

  api::Informer<core::ResourceQuota>& quotas_;
  api::Informer<core::Pod>& pods_;
  api::Informer<core::Service>& services_;
  Kinds kinds_;
};

}  // namespace

Made make_resource_quota(Context& c) { return std::make_unique<ResourceQuotas>(c); }

}  // namespace server::controllers
