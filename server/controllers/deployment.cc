#include "server/controllers/deployment.h"

#include <fmt/format.h>

#include "server/controllers/controllers.h"
#include "server/controllers/rollout.h"

namespace server::controllers {
namespace {

namespace apps = api::apps;
namespace json = base::json;

constexpr const char* component = "deployment-controller";

json::object with_revision(const meta::ObjectMeta& m) {
  return {{"uid", m.uid}, {"resourceVersion", m.resourceVersion}};
}

json::object text_map(const std::map<std::string, std::string>& from) {
  json::object out;
  for (const auto& [key, value] : from) out[key] = value;
  return out;
}

// Converges: the ReplicaSets of a Deployment to its template, size and strategy.
class Deployments final : public Controller {
 public:
  explicit Deployments(Context& c)
      : Controller(c), deployments_(watch<apps::Deployment>()), sets_(informer<apps::ReplicaSet>()), pods_(informer<core::Pod>()) {
    index_by_owner(sets_);
    index_by_owner(pods_);
    sets_.on_change([this](const SetPtr& before, const SetPtr& after) {
      for (const SetPtr& s : {before, after})
        if (s) set_changed(*s);
    });
    // Recreate waits for old pods to end.
    pods_.on_change([this](const PodPtr& before, const PodPtr& after) {
      if (before && (!after || (pod_finished(*after) && !pod_finished(*before)))) pod_ended(*before);
    });
  }
  std::string_view name() const override { return "deployment"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto d = deployments_.get(key);
    if (!d) co_return Requeue{};
    if (d->spec.selector.matchLabels.empty() && d->spec.selector.matchExpressions.empty()) {
      events_.warning(component, *d, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.");
      co_return Requeue{};
    }
    CO_TRY(std::vector<SetPtr> sets, co_await claim(*d));
    bool waiting = d->spec.strategy && d->spec.strategy->type == "Recreate" && old_pods_run(*d, sets);
    DeploymentPlan plan = plan_deployment(*d, sets, waiting, base::WallClock::now());
    // The revision is written first: it must not be lost, and what follows brings us back.
    apps::Deployment written = *d;
    if (!plan.annotations.empty()) {
      json::object body{{"metadata", with_revision(d->metadata)}};
      body["metadata"].as_object()["annotations"] = text_map(plan.annotations);
      api::WriteOptions status;  // not a change that somebody wants: the generation stays
      status.subresource = "status";
      CO_TRY(written, co_await api::patch<apps::Deployment>(client_, key, api::PatchType::merge, base::to_text(body), std::move(status)));
    }
    if (plan.create) {
      std::string set = plan.create->metadata.name;
      int32_t replicas = plan.create->spec.replicas.value_or(0);
      CO_TRY(bool collided, co_await create_set(*d, std::move(*plan.create)));
      if (collided) plan.status.collisionCount = plan.status.collisionCount.value_or(0) + 1;
      else if (replicas > 0)
        events_.normal(component, *d, "ScalingReplicaSet", fmt::format("Scaled up replica set {} from 0 to {}", set, replicas));
    }
    for (const SetChange& c : plan.change) CO_CHECK_OK(co_await change_set(*d, c));
    for (const SetPtr& s : plan.remove) {
      api::DeleteOptions options;
      options.uid = s->metadata.uid;
      options.resource_version = s->metadata.resourceVersion;
      auto r = co_await api::remove<apps::ReplicaSet>(client_, {key.ns, s->metadata.name}, std::move(options));
      if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    }
    if (!(plan.status == d->status)) {
      written.status = std::move(plan.status);
      auto r = co_await api::update_status(client_, std::move(written));
      if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    }
    if (plan.again) co_return Requeue{std::chrono::duration_cast<Duration>(*plan.again)};
    co_return Requeue{};
  }

 private:
  void set_changed(const apps::ReplicaSet& s) {
    if (const auto* o = controller_of(s.metadata)) {
      if (o->kind == "Deployment") enqueue(s.metadata.namespace_, o->name);
      return;
    }
    for (const auto& d : deployments_.list(s.metadata.namespace_))
      if (api::selects(d->spec.selector, s.metadata.labels)) enqueue(d->metadata);
  }
  void pod_ended(const core::Pod& pod) {
    const auto* o = controller_of(pod.metadata);
    if (!o || o->kind != "ReplicaSet") return;
    auto set = sets_.get(pod.metadata.namespace_, o->name);
    const auto* d = set ? controller_of(set->metadata) : nullptr;
    if (!d || d->kind != "Deployment") return;
    auto deployment = deployments_.get(pod.metadata.namespace_, d->name);
    if (deployment && deployment->spec.strategy && deployment->spec.strategy->type == "Recreate") enqueue(pod.metadata.namespace_, d->name);
  }

  bool old_pods_run(const apps::Deployment& d, const std::vector<SetPtr>& sets) const {
    SetPtr current = current_set(d, sets);
    for (const SetPtr& s : sets) {
      if (s == current) continue;
      for (const PodPtr& p : pods_.by_index(by_owner, s->metadata.uid))
        if (!pod_finished(*p)) return true;
    }
    return false;
  }

  // The sets the Deployment controls, after adopting orphans and releasing what its selector no longer matches.
  Task<Result<std::vector<SetPtr>>> claim(const apps::Deployment& d) {
    std::vector<SetPtr> mine;
    for (const SetPtr& s : sets_.by_index(by_owner, d.metadata.uid)) {
      if (api::selects(d.spec.selector, s->metadata.labels) || deleting(d.metadata)) {
        mine.push_back(s);
        continue;
      }
      json::object release{{"$patch", "delete"}, {"uid", d.metadata.uid}};
      CO_CHECK_OK(co_await own(s, std::move(release)));
    }
    if (deleting(d.metadata)) co_return mine;
    for (const SetPtr& s : sets_.by_index(by_owner, orphans_in(d.metadata.namespace_))) {
      if (deleting(s->metadata) || !api::selects(d.spec.selector, s->metadata.labels)) continue;
      CO_CHECK_OK(co_await own(s, api::encode_json(controller_reference(d)).as_object()));
      mine.push_back(s);
    }
    co_return mine;
  }
  Task<Result<>> own(SetPtr s, json::object reference) {
    json::object body{{"metadata", json::object{{"uid", s->metadata.uid}, {"ownerReferences", json::array{std::move(reference)}}}}};
    auto r = co_await api::patch<apps::ReplicaSet>(client_, {s->metadata.namespace_, s->metadata.name}, api::PatchType::strategic,
                                                   base::to_text(body));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Result<>{};
  }

  // Whether the name is taken by a set with another template.
  Task<Result<bool>> create_set(const apps::Deployment& d, apps::ReplicaSet set) {
    ObjectKey key{set.metadata.namespace_, set.metadata.name};
    auto r = co_await api::create(client_, set);
    if (r) co_return false;
    if (!base::is_already_exists(r.error())) {
      events_.warning(component, d, "ReplicaSetCreateError",
                      fmt::format("Failed to create new replica set \"{}\": {}", key.name, r.error().message));
      co_return std::unexpected(std::move(r).error());
    }
    CO_TRY(auto there, co_await api::get<apps::ReplicaSet>(client_, key));
    if (controlled_by(there.metadata, d.metadata.uid) && same_template(there.spec.template_, d.spec.template_))
      co_return false;  // our cache is behind
    co_return true;
  }

  Task<Result<>> change_set(const apps::Deployment& d, const SetChange& c) {
    const auto& m = c.set->metadata;
    json::object body{{"metadata", with_revision(m)}}, spec;
    if (!c.annotations.empty()) body["metadata"].as_object()["annotations"] = text_map(c.annotations);
    if (c.replicas) spec["replicas"] = *c.replicas;
    if (c.min_ready_seconds) spec["minReadySeconds"] = *c.min_ready_seconds;
    if (!spec.empty()) body["spec"] = std::move(spec);
    auto r = co_await api::patch<apps::ReplicaSet>(client_, {m.namespace_, m.name}, api::PatchType::merge, base::to_text(body));
    if (!r) co_return std::unexpected(std::move(r).error());
    if (c.replicas) {
      int32_t before = size_of(*c.set);
      events_.normal(
          component, d, "ScalingReplicaSet",
          fmt::format("Scaled {} replica set {} from {} to {}", *c.replicas > before ? "up" : "down", m.name, before, *c.replicas));
    }
    co_return Result<>{};
  }

  api::Informer<apps::Deployment>& deployments_;
  api::Informer<apps::ReplicaSet>& sets_;
  api::Informer<core::Pod>& pods_;
};

}  // namespace

Made make_deployment(Context& c) { return std::make_unique<Deployments>(c); }

}  // namespace server::controllers
