#include "server/controllers/replicaset.h"

#include "server/controllers/controllers.h"
#include "server/controllers/pods.h"

namespace server::controllers {
namespace {

namespace apps = api::apps;

// Converges: the number of active pods that a ReplicaSet controls to spec.replicas, and its status to what they report.
class ReplicaSets final : public Controller {
 public:
  explicit ReplicaSets(Context& c) : Controller(c), sets_(watch<apps::ReplicaSet>()), pods_(c) {
    pods_.watch_pods(
        apps::ReplicaSet::kind_info(), [this](std::string key) { queue().add(std::move(key)); },
        [this](const core::Pod& orphan) {
          for (const auto& s : sets_.list(orphan.metadata.namespace_))
            if (api::selects(s->spec.selector, orphan.metadata.labels)) enqueue(s->metadata);
        });
  }
  std::string_view name() const override { return "replicaset"; }
  int workers() const override { return 4; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto set = sets_.get(key);
    if (!set || !pods_.expectations().satisfied(key.text())) co_return Requeue{};
    Owner owner = owner_of(*set, "replicaset-controller");
    CO_TRY(std::vector<PodPtr> pods, co_await pods_.claim(owner, set->spec.selector, deleting(set->metadata)));
    std::erase_if(pods, [](const PodPtr& p) { return !pod_active(*p); });
    auto now = base::WallClock::now();
    Result<> managed;
    std::string failure;
    if (!deleting(set->metadata)) {
      ReplicaSetPlan plan = plan_replicas(*set, pods, now);
      if (plan.create) {
        std::vector<core::Pod> fresh(plan.create, pod_from_template(set->spec.template_, key.ns, controller_reference(*set)));
        auto made = co_await pods_.create_many(owner, std::move(fresh));
        managed = std::move(made.second);
        failure = "FailedCreate";
      } else if (!plan.remove.empty()) {
        managed = co_await pods_.remove_many(owner, std::move(plan.remove));
        failure = "FailedDelete";
      }
    }
    ReplicaSetStatusPlan planned = plan_status(*set, pods, now);
    if (managed) remove_condition(planned.status.conditions, "ReplicaFailure");
    else set_condition(planned.status.conditions, "ReplicaFailure", "True", failure, managed.error().message, now);
    if (!(planned.status == set->status)) {
      apps::ReplicaSet changed = *set;
      changed.status = std::move(planned.status);
      auto written = co_await api::update_status(client_, std::move(changed));
      if (!written && !base::is_not_found(written.error())) co_return std::unexpected(std::move(written).error());
    }
    if (!managed) co_return std::unexpected(std::move(managed).error());
    if (planned.again) co_return Requeue{std::chrono::duration_cast<Duration>(*planned.again) + std::chrono::milliseconds(1)};
    co_return Requeue{};
  }

 private:
  api::Informer<apps::ReplicaSet>& sets_;
  PodControl pods_;
};

}  // namespace

Made make_replicaset(Context& c) { return std::make_unique<ReplicaSets>(c); }

}  // namespace server::controllers
