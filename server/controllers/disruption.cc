#include "api/quantity.h"
#include "api/types/apps_v1.h"
#include "api/types/policy_v1.h"
#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

namespace apps = api::apps;
namespace policy = api::policy;
using std::chrono::minutes;

// Converges: the status of a PodDisruptionBudget to how many of its pods are healthy and how many may be evicted now.
class Disruption final : public Controller {
 public:
  explicit Disruption(Context& c)
      : Controller(c), budgets_(watch<policy::PodDisruptionBudget>()), pods_(informer<core::Pod>()), sets_(informer<apps::ReplicaSet>()),
        deployments_(informer<apps::Deployment>()), stateful_(informer<apps::StatefulSet>()) {
    pods_.on_change([this](const PodPtr& before, const PodPtr& after) {
      if (before && after && pod_ready(*before) == pod_ready(*after) && deleting(before->metadata) == deleting(after->metadata) &&
          pod_finished(*before) == pod_finished(*after) && before->metadata.labels == after->metadata.labels)
        return;
      const auto& m = (after ? after : before)->metadata;
      for (const auto& b : budgets_.list(m.namespace_))
        if (b->spec.selector &&
            (api::selects(*b->spec.selector, m.labels) || (before && api::selects(*b->spec.selector, before->metadata.labels))))
          enqueue(b->metadata);
    });
  }
  std::string_view name() const override { return "disruption"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto budget = budgets_.get(key);
    if (!budget || deleting(budget->metadata)) co_return Requeue{};
    const auto now = base::WallClock::now();
    policy::PodDisruptionBudget changed = *budget;
    Requeue again = count(changed, now);
    if (changed.status == budget->status) co_return again;
    auto r = co_await api::update_status(client_, std::move(changed));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return again;
  }

 private:
  // The size its controllers want, by the owners of the pods; without a known owner each pod counts as one.
  int32_t expected_size(const std::vector<PodPtr>& pods) const {
    std::map<std::string, int32_t> by_uid;
    for (const PodPtr& p : pods) {
      const auto* o = controller_of(p->metadata);
      const std::string& ns = p->metadata.namespace_;
      if (!o) {
        ++by_uid[p->metadata.uid];
        continue;
      }
      if (o->kind == "ReplicaSet") {
        if (auto set = sets_.get(ns, o->name)) {
          const auto* d = controller_of(set->metadata);
          auto deployment = d ? deployments_.get(ns, d->name) : nullptr;
          if (deployment) by_uid[d->uid] = deployment->spec.replicas.value_or(1);
          else by_uid[o->uid] = set->spec.replicas.value_or(1);
        }
      } else if (auto set = o->kind == "StatefulSet" ? stateful_.get(ns, o->name) : nullptr) {
        by_uid[o->uid] = set->spec.replicas.value_or(1);
      } else {
        ++by_uid[o->uid];
      }
    }
    int32_t n = 0;
    for (const auto& [uid, size] : by_uid) n += size;
    return n;
  }

  Requeue count(policy::PodDisruptionBudget& b, WallTime now) const {
    std::vector<PodPtr> pods = pods_.list(b.metadata.namespace_);
    std::erase_if(
        pods, [&](const PodPtr& p) { return pod_finished(*p) || !b.spec.selector || !api::selects(*b.spec.selector, p->metadata.labels); });
    auto& s = b.status;
    // Evicted pods that have not gone within two minutes are counted again.
    Requeue again;
    for (auto it = s.disruptedPods.begin(); it != s.disruptedPods.end();) {
      auto end = time_of(it->second) + minutes(2);
      bool known =
          std::any_of(pods.begin(), pods.end(), [&](const PodPtr& p) { return p->metadata.name == it->first && !deleting(p->metadata); });
      if (!known || end <= now) {
        it = s.disruptedPods.erase(it);
        continue;
      }
      Duration left = std::chrono::duration_cast<Duration>(end - now);
      again = again ? std::min(*again, left) : left;
      ++it;
    }
    int32_t healthy = 0, expected = 0, desired = 0;
    for (const PodPtr& p : pods) healthy += pod_ready(*p) && !deleting(p->metadata) && !s.disruptedPods.contains(p->metadata.name) ? 1 : 0;
    if (b.spec.maxUnavailable.has_value()) {
      expected = expected_size(pods);
      desired = std::max(0, expected - api::scaled_value(b.spec.maxUnavailable, expected, true).value_or(0));
    } else if (b.spec.minAvailable.is_string) {
      expected = expected_size(pods);
      desired = api::scaled_value(b.spec.minAvailable, expected, true).value_or(expected);
    } else {
      expected = int32_t(pods.size());
      desired = b.spec.minAvailable.has_value() ? b.spec.minAvailable.number : 1;
    }
    s.currentHealthy = healthy;
    s.desiredHealthy = desired;
    s.expectedPods = expected;
    s.disruptionsAllowed = expected > 0 ? std::max(0, healthy - desired) : 0;
    s.observedGeneration = b.metadata.generation;
    bool allowed = *s.disruptionsAllowed > 0;
    if (set_condition(s.conditions, "DisruptionAllowed", allowed ? "True" : "False", allowed ? "SufficientPods" : "InsufficientPods", "",
                      now))
      for (auto& c : s.conditions) c.observedGeneration = b.metadata.generation;
    return again;
  }

  api::Informer<policy::PodDisruptionBudget>& budgets_;
  api::Informer<core::Pod>& pods_;
  api::Informer<apps::ReplicaSet>& sets_;
  api::Informer<apps::Deployment>& deployments_;
  api::Informer<apps::StatefulSet>& stateful_;
};

}  // namespace

Made make_disruption(Context& c) { return std::make_unique<Disruption>(c); }

}  // namespace server::controllers
