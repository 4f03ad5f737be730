#include "server/controllers/replicaset.h"

#include "server/controllers/controllers.h"
#include "server/controllers/pods.h"

namespace server::controllers {
namespace {

namespace apps = api::apps;

template <class To, class From>
std::vector<To> conditions_as(const std::vector<From>& from) {
  std::vector<To> out;
  for (const From& f : from) {
    To& t = out.emplace_back();
    t.type = f.type;
    t.status = f.status;
    t.lastTransitionTime = f.lastTransitionTime;
    t.reason = f.reason;
    t.message = f.message;
  }
  return out;
}

// A ReplicationController is a ReplicaSet with a plainer selector: it is planned as one.
const apps::ReplicaSet& as_set(const apps::ReplicaSet& s) { return s; }
apps::ReplicaSet as_set(const core::ReplicationController& c) {
  apps::ReplicaSet out;
  out.metadata = c.metadata;
  out.spec.replicas = c.spec.replicas;
  out.spec.minReadySeconds = c.spec.minReadySeconds;
  out.spec.selector.matchLabels = c.spec.selector;
  out.spec.template_ = c.spec.template_;
  out.status.replicas = c.status.replicas;
  out.status.fullyLabeledReplicas = c.status.fullyLabeledReplicas;
  out.status.readyReplicas = c.status.readyReplicas;
  out.status.availableReplicas = c.status.availableReplicas;
  out.status.observedGeneration = c.status.observedGeneration;
  out.status.conditions = conditions_as<apps::ReplicaSetCondition>(c.status.conditions);
  return out;
}
void set_status(apps::ReplicaSet& to, apps::ReplicaSetStatus s) { to.status = std::move(s); }
void set_status(core::ReplicationController& to, const apps::ReplicaSetStatus& s) {
  to.status.replicas = s.replicas;
  to.status.fullyLabeledReplicas = s.fullyLabeledReplicas;
  to.status.readyReplicas = s.readyReplicas;
  to.status.availableReplicas = s.availableReplicas;
  to.status.observedGeneration = s.observedGeneration;
  to.status.conditions = conditions_as<core::ReplicationControllerCondition>(s.conditions);
}

// Converges: the number of active pods that a ReplicaSet (or ReplicationController) controls to spec.replicas, and its status to what they report.
template <class T>
class ReplicaSets final : public Controller {
 public:
  ReplicaSets(Context& c, const char* name) : Controller(c), name_(name), sets_(watch<T>()), pods_(c) {
    pods_.watch_pods(
        T::kind_info(), [this](std::string key) { queue().add(std::move(key)); },
        [this](const core::Pod& orphan) {
          for (const auto& s : sets_.list(orphan.metadata.namespace_))
            if (api::selects(s->spec.selector, orphan.metadata.labels)) enqueue(s->metadata);
        });
  }
  std::string_view name() const override { return name_; }
  int workers() const override { return 4; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto found = sets_.get(key);
    if (!found || !pods_.expectations().satisfied(key.text())) co_return Requeue{};
    const auto& as = as_set(*found);
    const apps::ReplicaSet* set = &as;
    Owner owner = owner_of(*found, std::string(name_) + "-controller");
    CO_TRY(std::vector<PodPtr> pods, co_await pods_.claim(owner, set->spec.selector, deleting(set->metadata)));
    std::erase_if(pods, [](const PodPtr& p) { return !pod_active(*p); });
    auto now = base::WallClock::now();
    Result<> managed;
    std::string failure;
    if (!deleting(set->metadata)) {
      ReplicaSetPlan plan = plan_replicas(*set, pods, now);
      if (plan.create) {
        std::vector<core::Pod> fresh(plan.create, pod_from_template(set->spec.template_, key.ns, controller_reference(*found)));
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
    else if (!find_condition(planned.status.conditions,
                             "ReplicaFailure"))  // messages differ (they name the pod): a write for each would bring the next
      set_condition(planned.status.conditions, "ReplicaFailure", "True", failure, managed.error().message, now);
    if (!(planned.status == set->status)) {
      T changed = *found;
      set_status(changed, std::move(planned.status));
      auto written = co_await api::update_status(client_, std::move(changed));
      if (!written && !base::is_not_found(written.error())) co_return std::unexpected(std::move(written).error());
    }
    if (!managed) co_return std::unexpected(std::move(managed).error());
    if (planned.again) co_return Requeue{std::chrono::duration_cast<Duration>(*planned.again) + std::chrono::milliseconds(1)};
    co_return Requeue{};
  }

 private:
  const char* const name_;
  api::Informer<T>& sets_;
  PodControl pods_;
};

}  // namespace

Made make_replicaset(Context& c) { return std::make_unique<ReplicaSets<apps::ReplicaSet>>(c, "replicaset"); }
Made make_replication(Context& c) { return std::make_unique<ReplicaSets<core::ReplicationController>>(c, "replication"); }

}  // namespace server::controllers
