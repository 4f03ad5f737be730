#include "server/controllers/persistent_volumes.h"

#include <fmt/format.h>

#include "api/types/storage_v1.h"
#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"
#include "server/scheduler/translate.h"

namespace server::controllers {
namespace {

namespace json = base::json;
namespace sched = server::scheduler;
namespace storage = api::storage;
using Claim = core::PersistentVolumeClaim;
using Volume = core::PersistentVolume;

constexpr const char* component = "persistentvolume-controller";

// Converges: claims and volumes to pairs that name each other; what volumes lost their claim to what their reclaim policy says.
//
// Keys are "namespace/name" of claims and "name" of volumes. One worker, and every write names the revision it is based on: two claims never get one volume.
class PersistentVolumes final : public Controller {
 public:
  explicit PersistentVolumes(Context& c)
      : Controller(c), claims_(watch<Claim>()), volumes_(watch<Volume>()), classes_(informer<storage::StorageClass>()) {
    claims_.on_change([this](const auto& before, const auto& after) {
      const auto& name = (after ? after : before)->spec.volumeName;
      if (!name.empty()) enqueue({}, name);
      if (after) return;
      for (const auto& v : volumes_.list())
        if (v->spec.claimRef && v->spec.claimRef->uid == before->metadata.uid) enqueue(v->metadata);
    });
    volumes_.on_change([this](const auto& before, const auto& after) {
      const Volume& v = after ? *after : *before;
      if (const auto* ref = v.spec.claimRef.get()) enqueue(ref->namespace_, ref->name);
      if (after && !v.spec.claimRef && v.status.phase == "Available") wake_pending();
    });
    classes_.on_change([this](const auto&, const auto&) { wake_pending(); });
  }
  std::string_view name() const override { return "persistentvolume-binder"; }
  int workers() const override { return 1; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    Result<> r;
    if (key.ns.empty()) {
      if (auto v = volumes_.get(key)) r = co_await settle(*v);
    } else if (auto c = claims_.get(key); c && !deleting(c->metadata)) {
      r = annotation(c->metadata, sched::bind_completed).empty() ? co_await find_volume(*c) : co_await check_bound(*c);
    }
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  void wake_pending() {
    for (const auto& c : claims_.list())
      if (annotation(c->metadata, sched::bind_completed).empty()) enqueue(c->metadata);
  }

  // Claims.

  Task<Result<>> find_volume(Claim c) {
    sched::Claim view = sched::translate(c);
    if (!c.spec.volumeName.empty()) {
      auto v = volumes_.get({}, c.spec.volumeName);
      bool ours = v && (!v->spec.claimRef || sched::translate(*v).claimed_by(view));
      if (ours) co_return co_await bind(std::move(c), *v);
      co_return co_await set_claim(c, "Pending", nullptr);
    }
    auto storage_class = view.storage_class.empty() ? nullptr : classes_.get({}, view.storage_class);
    const bool waits = storage_class && storage_class->volumeBindingMode == "WaitForFirstConsumer";
    std::map<std::string, sched::VolumePtr> all;
    for (const auto& v : volumes_.list()) all.emplace(v->metadata.name, std::make_shared<const sched::Volume>(sched::translate(*v)));
    if (auto best = sched::best_volume(view, all, waits))
      if (auto v = volumes_.get({}, best->name)) co_return co_await bind(std::move(c), *v);
    if (waits && view.selected_node.empty()) {
      events_.normal(component, c, "WaitForFirstConsumer", "waiting for first consumer to be created before binding");
    } else if (view.storage_class.empty()) {
      events_.normal(component, c, "FailedBinding", "no persistent volumes available for this claim and no storage class is set");
    } else if (!storage_class) {
      events_.warning(component, c, "ProvisioningFailed", fmt::format("storageclass.storage.k8s.io \"{}\" not found", view.storage_class));
    } else if (storage_class->provisioner == sched::no_provisioner) {
      events_.normal(component, c, "FailedBinding", "no persistent volumes available for this claim");
    } else {
      const std::string& by = storage_class->provisioner;
      if (annotation(c.metadata, storage_provisioner) != by) {
        json::object marks{{storage_provisioner, by}, {"volume.beta.kubernetes.io/storage-provisioner", by}};
        CO_TRY(c, co_await patch<Claim>(c.metadata, {{"annotations", std::move(marks)}}, {}));
      }
      events_.normal(component, c, "ExternalProvisioning",
                     fmt::format("Waiting for a volume to be created either by the external provisioner '{}' or manually by the system "
                                 "administrator. If volume creation is "
                                 "delayed, please verify that the provisioner is running and correctly registered.",
                                 by));
    }
    co_return co_await set_claim(c, "Pending", nullptr);
  }

  Task<Result<>> check_bound(Claim c) {
    const std::string name = c.spec.volumeName;
    if (name.empty())
      co_return co_await lose(c, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!");
    auto v = co_await api::get<Volume>(client_, {{}, name});
    if (!v && !base::is_not_found(v.error())) co_return std::unexpected(std::move(v).error());
    if (!v) co_return co_await lose(c, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    if (v->spec.claimRef && v->spec.claimRef->uid != c.metadata.uid)
      co_return co_await lose(c, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly");
    co_return co_await bind(std::move(c), std::move(*v));
  }

  Task<Result<>> lose(Claim c, std::string reason, std::string message) {
    if (c.status.phase != "Lost") events_.warning(component, c, reason, message);
    co_return co_await set_claim(c, "Lost", nullptr);
  }

  // Each step only where it is missing: the volume names the claim, then the claim the volume, then both say Bound.
  Task<Result<>> bind(Claim c, Volume v) {
    if (!v.spec.claimRef || v.spec.claimRef->uid != c.metadata.uid) {
      json::object ref{{"kind", "PersistentVolumeClaim"}, {"apiVersion", "v1"}, {"namespace", c.metadata.namespace_}, {"name", c.metadata.name}, {"uid", c.metadata.uid}};
      json::object change;
      if (!v.spec.claimRef) change["annotations"] = json::object{{sched::bound_by_controller, "yes"}};
      CO_TRY(v, co_await patch<Volume>(v.metadata, std::move(change), {{"claimRef", std::move(ref)}}));
    }
    CO_CHECK_OK(co_await set_volume(v, "Bound"));
    json::object marks, spec;
    if (c.spec.volumeName.empty()) {
      spec["volumeName"] = v.metadata.name;
      marks[sched::bound_by_controller] = "yes";
    }
    if (annotation(c.metadata, sched::bind_completed).empty()) marks[sched::bind_completed] = "yes";
    if (!marks.empty()) {
      CO_TRY(c, co_await patch<Claim>(c.metadata, {{"annotations", std::move(marks)}}, std::move(spec)));
    }
    co_return co_await set_claim(c, "Bound", &v);
  }

  Task<Result<>> set_claim(Claim c, std::string phase, const Volume* v) {
    Claim changed = c;
    changed.status.phase = phase;
    if (v) {
      changed.status.accessModes = v->spec.accessModes;
      if (changed.status.capacity.empty()) changed.status.capacity = v->spec.capacity;
    } else if (phase == "Pending") {
      changed.status.accessModes.clear();
      changed.status.capacity.clear();
    }
    if (changed.status == c.status) co_return Result<>{};
    auto r = co_await api::update_status(client_, std::move(changed));
    if (!r) co_return std::unexpected(std::move(r).error());
    co_return Result<>{};
  }

  // Volumes.

  Task<Result<>> settle(Volume v) {
    const auto* ref = v.spec.claimRef.get();
    if (!ref || ref->uid.empty()) {
      if (ref) enqueue(ref->namespace_, ref->name);
      co_return co_await set_volume(std::move(v), "Available");
    }
    auto claim = co_await api::get<Claim>(client_, {ref->namespace_, ref->name});
    if (!claim && !base::is_not_found(claim.error())) co_return std::unexpected(std::move(claim).error());
    if (!claim || claim->metadata.uid != ref->uid) co_return co_await release(std::move(v));
    if (claim->spec.volumeName == v.metadata.name) co_return co_await set_volume(std::move(v), "Bound");
    if (claim->spec.volumeName.empty()) {
      enqueue(ref->namespace_, ref->name);
      co_return Result<>{};
    }
    // Its claim has another volume.
    if (!annotation(v.metadata, provisioned_by).empty() && v.spec.persistentVolumeReclaimPolicy == "Delete")
      co_return co_await release(std::move(v));
    const bool whole = !annotation(v.metadata, sched::bound_by_controller).empty();
    json::object change, spec;
    if (whole) change["annotations"] = json::object{{sched::bound_by_controller, nullptr}};
    if (whole) spec["claimRef"] = nullptr;
    else spec["claimRef"] = json::object{{"uid", nullptr}, {"resourceVersion", nullptr}};
    CO_TRY(v, co_await patch<Volume>(v.metadata, std::move(change), std::move(spec)));
    co_return co_await set_volume(std::move(v), "Available");
  }

  Task<Result<>> release(Volume v) {
    const std::string policy = v.spec.persistentVolumeReclaimPolicy, by = annotation(v.metadata, provisioned_by);
    const bool ours = by == local_path;
    // What others provisioned is theirs to delete.
    const bool helpless = !deleting(v.metadata) && ((policy == "Delete" && by.empty()) || policy == "Recycle");
    if (!helpless) {
      CO_CHECK_OK(co_await set_volume(v, "Released"));
      if (policy != "Delete" || !ours || deleting(v.metadata)) co_return Result<>{};
      api::DeleteOptions options;
      options.uid = v.metadata.uid;
      co_return co_await api::remove<Volume>(client_, {{}, v.metadata.name}, std::move(options));
    }
    const std::string why = policy == "Recycle"
                                ? "No recycler plugin found for the volume!"
                                : "error getting deleter volume plugin for volume \"" + v.metadata.name + "\": no volume plugin matched";
    if (v.status.phase != "Failed") events_.warning(component, v, policy == "Recycle" ? "VolumeFailedRecycle" : "VolumeFailedDelete", why);
    co_return co_await set_volume(std::move(v), "Failed", why);
  }

  Task<Result<>> set_volume(Volume v, std::string phase, std::string message = {}) {
    if (v.status.phase == phase && v.status.message == message) co_return Result<>{};
    v.status.phase = phase;
    v.status.message = std::move(message);
    v.status.lastPhaseTransitionTime = base::now_rfc3339();
    // Nobody else writes the phase: the change does not depend on the revision seen.
    json::object body{{"metadata", json::object{{"uid", v.metadata.uid}}}, {"status", api::encode_json(v.status)}};
    if (v.status.message.empty()) body["status"].as_object()["message"] = nullptr;
    api::WriteOptions status;
    status.subresource = "status";
    auto r = co_await api::patch<Volume>(client_, {{}, v.metadata.name}, api::PatchType::merge, base::to_text(body), std::move(status));
    if (!r) co_return std::unexpected(std::move(r).error());
    co_return Result<>{};
  }

  template <class T>
  Task<Result<T>> patch(meta::ObjectMeta m, json::object change, json::object spec) {
    change["resourceVersion"] = m.resourceVersion;
    json::object body{{"metadata", std::move(change)}};
    if (!spec.empty()) body["spec"] = std::move(spec);
    return api::patch<T>(client_, {m.namespace_, m.name}, api::PatchType::merge, base::to_text(body));
  }

  api::Informer<Claim>& claims_;
  api::Informer<Volume>& volumes_;
  api::Informer<storage::StorageClass>& classes_;
};

}  // namespace

Made make_persistent_volumes(Context& c) { return std::make_unique<PersistentVolumes>(c); }

}  // namespace server::controllers
