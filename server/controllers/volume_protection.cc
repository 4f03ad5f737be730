#include <fmt/format.h>

#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"
#include "server/scheduler/translate.h"

namespace server::controllers {
namespace {

namespace json = base::json;
using Claim = core::PersistentVolumeClaim;
using Volume = core::PersistentVolume;

// Adds or removes a finalizer, based on the object as seen.
template <class T>
Task<Result<Requeue>> protect(api::Client& client, std::shared_ptr<const T> o, const char* finalizer, bool wanted) {
  auto list = o->metadata.finalizers;
  bool has = std::find(list.begin(), list.end(), finalizer) != list.end();
  if (has == wanted) co_return Requeue{};
  if (wanted) list.emplace_back(finalizer);
  else std::erase(list, finalizer);
  json::array names;
  for (const auto& f : list) names.emplace_back(f);
  json::object body{{"metadata", json::object{{"resourceVersion", o->metadata.resourceVersion}, {"finalizers", std::move(names)}}}};
  auto r = co_await api::patch<T>(client, {o->metadata.namespace_, o->metadata.name}, api::PatchType::merge, base::to_text(body));
  if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
  co_return Requeue{};
}

// Converges: a claim that is being deleted goes when no pod on a node uses it any more.
class ClaimProtection final : public Controller {
 public:
  explicit ClaimProtection(Context& c) : Controller(c), claims_(watch<Claim>()), pods_(informer<core::Pod>()) {
    pods_.on_change([this](const PodPtr& before, const PodPtr& after) {
      if (after && !pod_finished(*after)) return;
      for (const auto& v : before ? before->spec.volumes : after->spec.volumes)
        if (std::string name = scheduler::claim_name((before ? before : after)->metadata.name, v); !name.empty())
          enqueue((before ? before : after)->metadata.namespace_, name);
    });
  }
  std::string_view name() const override { return "pvc-protection"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto claim = claims_.get(key);
    if (!claim) co_return Requeue{};
    bool used = !deleting(claim->metadata);
    if (!used)
      for (const PodPtr& p : pods_.list(key.ns)) used = used || uses(*p, *claim);
    if (!used) {
      // The informer may not have seen a pod that was made just now, and data hangs on the answer: the API decides.
      auto live = co_await api::list<core::Pod>(client_, key.ns);
      if (!live) co_return std::unexpected(std::move(live).error());
      for (const core::Pod& p : *live) used = used || uses(p, *claim);
    }
    if (used && deleting(claim->metadata)) co_return Requeue{};
    co_return co_await protect(client_, claim, "kubernetes.io/pvc-protection", used);
  }

 private:
  static bool uses(const core::Pod& p, const Claim& c) {
    if (p.spec.nodeName.empty()) return false;
    for (const auto& v : p.spec.volumes) {
      if (scheduler::claim_name(p.metadata.name, v) != c.metadata.name) continue;
      if (v.persistentVolumeClaim || (!pod_finished(p) && controlled_by(c.metadata, p.metadata.uid))) return true;
    }
    return false;
  }
  api::Informer<Claim>& claims_;
  api::Informer<core::Pod>& pods_;
};

// Converges: a volume that is being deleted goes when no claim is bound to it.
class VolumeProtection final : public Controller {
 public:
  explicit VolumeProtection(Context& c) : Controller(c), volumes_(watch<Volume>()) {}
  std::string_view name() const override { return "pv-protection"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto volume = volumes_.get(key);
    if (!volume || (deleting(volume->metadata) && volume->status.phase == "Bound")) co_return Requeue{};
    co_return co_await protect(client_, volume, "kubernetes.io/pv-protection", !deleting(volume->metadata));
  }

 private:
  api::Informer<Volume>& volumes_;
};

// Converges: pods with ephemeral volumes to claims of their own that go with them.
class EphemeralVolumes final : public Controller {
 public:
  explicit EphemeralVolumes(Context& c) : Controller(c), pods_(informer<core::Pod>()), claims_(informer<Claim>()) {
    pods_.on_change([this](const PodPtr& before, const PodPtr& after) {
      if (!after || before || deleting(after->metadata)) return;
      for (const auto& v : after->spec.volumes)
        if (v.ephemeral) return enqueue(after->metadata);
    });
  }
  std::string_view name() const override { return "ephemeral-volume"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto pod = pods_.get(key);
    if (!pod || deleting(pod->metadata)) co_return Requeue{};
    for (const auto& v : pod->spec.volumes) {
      if (!v.ephemeral || !v.ephemeral->volumeClaimTemplate) continue;
      Claim c;
      c.metadata.name = scheduler::claim_name(key.name, v);
      c.metadata.namespace_ = key.ns;
      c.metadata.labels = v.ephemeral->volumeClaimTemplate->metadata.labels;
      c.metadata.annotations = v.ephemeral->volumeClaimTemplate->metadata.annotations;
      c.metadata.ownerReferences.push_back(controller_reference(*pod));
      c.spec = v.ephemeral->volumeClaimTemplate->spec;
      if (auto there = claims_.get(key.ns, c.metadata.name)) {
        if (controlled_by(there->metadata, pod->metadata.uid)) continue;
        std::string why = fmt::format("PVC \"{}\" was not created for pod \"{}\" (pod is not owner)", c.metadata.name, key.name);
        events_.warning("ephemeral_volume", *pod, "EphemeralVolumeConflict", why);
        co_return base::fail(409, "AlreadyExists", why);
      }
      auto r = co_await api::create(client_, std::move(c));
      if (r || base::is_already_exists(r.error())) continue;
      events_.warning("ephemeral_volume", *pod, "FailedCreate",
                      fmt::format("ephemeral volume {}: create PVC: {}", v.name, r.error().message));
      co_return std::unexpected(std::move(r).error());
    }
    co_return Requeue{};
  }

 private:
  api::Informer<core::Pod>& pods_;
  api::Informer<Claim>& claims_;
};

}  // namespace

Made make_claim_protection(Context& c) { return std::make_unique<ClaimProtection>(c); }
Made make_volume_protection(Context& c) { return std::make_unique<VolumeProtection>(c); }
Made make_ephemeral_volumes(Context& c) { return std::make_unique<EphemeralVolumes>(c); }

}  // namespace server::controllers
