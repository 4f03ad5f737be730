#include "server/controllers/statefulset.h"

#include "server/controllers/controllers.h"
#include "server/controllers/pods.h"
#include "server/controllers/revisions.h"

namespace server::controllers {
namespace {

namespace apps = api::apps;
constexpr const char* component = "statefulset-controller";

// Converges: pods <name>-0 ... <name>-(replicas-1) with their claims to the template, one step at a time.
class StatefulSets final : public Controller {
 public:
  explicit StatefulSets(Context& c)
      : Controller(c), sets_(watch<apps::StatefulSet>()), claims_(informer<core::PersistentVolumeClaim>()), pods_(c), revisions_(c) {
    pods_.watch_pods(
        apps::StatefulSet::kind_info(), [this](std::string key) { queue().add(std::move(key)); },
        [this](const core::Pod& orphan) {
          for (const auto& s : sets_.list(orphan.metadata.namespace_))
            if (api::selects(s->spec.selector, orphan.metadata.labels) && ordinal_of(*s, orphan.metadata.name)) enqueue(s->metadata);
        });
  }
  std::string_view name() const override { return "statefulset"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto set = sets_.get(key);
    if (!set || !pods_.expectations().satisfied(key.text())) co_return Requeue{};
    Owner owner = owner_of(*set, component);
    CO_TRY(std::vector<PodPtr> pods, co_await pods_.claim(owner, set->spec.selector, deleting(set->metadata)));
    CO_TRY(RevisionPtr update,
           co_await revisions_.current(apps::StatefulSet::kind_info(), set->metadata, set->spec.template_, set->status.collisionCount));
    StatefulSetRevisions r{update->metadata.name, update->metadata.name, set->spec.template_, set->spec.template_};
    for (const RevisionPtr& old : revisions_.of(set->metadata.uid))
      if (old->metadata.name == set->status.currentRevision && old->metadata.name != r.update)
        if (auto t = template_of(*old)) {
          r.current = old->metadata.name;
          r.current_template = std::move(*t);
        }
    StatefulSetPlan plan = plan_statefulset(*set, pods, r, base::WallClock::now());
    for (const PodPtr& p : pods) CO_CHECK_OK(co_await own_claims(*set, *p));
    for (const core::Pod& p : plan.create) CO_CHECK_OK(co_await make_claims(*set, *ordinal_of(*set, p.metadata.name)));
    Result<> managed = co_await pods_.remove_many(owner, std::move(plan.remove));
    if (managed && !plan.create.empty()) {
      auto made = co_await pods_.create_many(owner, std::move(plan.create));
      managed = std::move(made.second);
    }
    std::vector<std::string> in_use{r.update, r.current, plan.status.currentRevision};
    if (!(plan.status == set->status)) {
      apps::StatefulSet changed = *set;
      changed.status = std::move(plan.status);
      auto written = co_await api::update_status(client_, std::move(changed));
      if (!written && !base::is_not_found(written.error())) co_return std::unexpected(std::move(written).error());
    }
    if (!managed) co_return std::unexpected(std::move(managed).error());
    for (const PodPtr& p : pods)
      if (auto it = p->metadata.labels.find(revision_label); it != p->metadata.labels.end()) in_use.push_back(it->second);
    CO_CHECK_OK(co_await revisions_.trim(set->metadata.uid, std::move(in_use), set->spec.revisionHistoryLimit.value_or(10)));
    if (plan.again) co_return Requeue{std::chrono::duration_cast<Duration>(*plan.again) + std::chrono::milliseconds(1)};
    co_return Requeue{};
  }

 private:
  Task<Result<>> own_claims(const apps::StatefulSet& set, const core::Pod& pod) {
    auto n = ordinal_of(set, pod.metadata.name);
    if (!n || deleting(pod.metadata)) co_return Result<>{};
    for (const core::PersistentVolumeClaim& c : claims_of(set, *n)) {
      auto claim = claims_.get(c.metadata.namespace_, c.metadata.name);
      if (!claim) continue;
      auto wanted = claim_owners(set, claim->metadata, pod);
      if (wanted == claim->metadata.ownerReferences) continue;
      base::json::array owners;
      for (const auto& o : wanted) owners.push_back(api::encode_json(o));
      base::json::object body{
          {"metadata", base::json::object{{"resourceVersion", claim->metadata.resourceVersion}, {"ownerReferences", std::move(owners)}}}};
      auto r = co_await api::patch<core::PersistentVolumeClaim>(client_, {claim->metadata.namespace_, claim->metadata.name},
                                                                api::PatchType::merge, base::to_text(body));
      if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    }
    co_return Result<>{};
  }

  Task<Result<>> make_claims(const apps::StatefulSet& set, int32_t ordinal) {
    for (core::PersistentVolumeClaim& claim : claims_of(set, ordinal)) {
      std::string name = claim.metadata.name;
      auto r = co_await api::create(client_, std::move(claim));
      if (r)
        events_.normal(component, set, "SuccessfulCreate", "create Claim " + name + " for StatefulSet " + set.metadata.name + " success");
      else if (!base::is_already_exists(r.error())) {
        events_.warning(component, set, "FailedCreate", "create Claim " + name + " failed: " + r.error().message);
        co_return std::unexpected(std::move(r).error());
      }
    }
    co_return Result<>{};
  }

  api::Informer<apps::StatefulSet>& sets_;
  api::Informer<core::PersistentVolumeClaim>& claims_;
  PodControl pods_;
  Revisions revisions_;
};

}  // namespace

Made make_statefulset(Context& c) { return std::make_unique<StatefulSets>(c); }

}  // namespace server::controllers
