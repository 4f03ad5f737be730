#include <fmt/format.h>

#include "api/types/storage_v1.h"
#include "base/log.h"
#include "server/controllers/controllers.h"
#include "server/controllers/node_health.h"
#include "server/controllers/objects.h"
#include "server/controllers/persistent_volumes.h"
#include "server/scheduler/volumes.h"

namespace server::controllers {
namespace {

namespace json = base::json;
namespace storage = api::storage;
using Claim = core::PersistentVolumeClaim;
using Volume = core::PersistentVolume;

constexpr const char* hostname = "kubernetes.io/hostname";

// Converges: claims of a class with our provisioner to volumes that are directories of the node their pod was given. Makes the class `local-path`.
//
// The node's agent makes the directory when it is mounted first, and removes it when the volume goes; for a node that has gone, nobody can.
class LocalStorage final : public Controller {
 public:
  explicit LocalStorage(Context& c)
      : Controller(c), claims_(watch<Claim>()), volumes_(informer<Volume>()), nodes_(informer<core::Node>()), classes_(informer<storage::StorageClass>()) {
    volumes_.on_change([this](const auto&, const auto& after) {
      if (after && deleting(after->metadata) && annotation(after->metadata, provisioned_by) == local_path) enqueue(after->metadata);
    });
    nodes_.on_change([this](const auto& before, const auto& after) {
      for (const auto& v : volumes_.list())
        if (!after && deleting(v->metadata)) enqueue(v->metadata);
      if (!after || (before && annotation(before->metadata, storage_dir) == annotation(after->metadata, storage_dir))) return;
      for (const auto& claim : claims_.list())
        if (wants_us(*claim)) enqueue(claim->metadata);
    });
  }
  std::string_view name() const override { return "local-storage"; }
  void started() override { context_.tasks.spawn("local-path class", make_class()); }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    if (key.ns.empty()) co_return co_await forget(key);
    auto claim = claims_.get(key);
    if (!claim || !wants_us(*claim)) co_return Requeue{};
    auto found = classes_.get({}, claim->spec.storageClassName);
    if (!found) co_return Requeue{};
    auto node = node_for(*claim, *found);
    auto fail = [&](std::string why) {
      events_.warning(local_path, *claim, "ProvisioningFailed",
                      "failed to provision volume with StorageClass \"" + found->metadata.name + "\": " + why);
    };
    if (!node) {
      if (annotation(claim->metadata, scheduler::selected_node).empty()) co_return Requeue{};
      fail("the selected node has gone");
      json::object body{{"metadata", json::object{{"annotations", json::object{{scheduler::selected_node, nullptr}}}}}};
      CO_TRY(Claim again, co_await api::patch<Claim>(client_, key, api::PatchType::merge, base::to_text(body)));
      co_return Requeue{};
    }
    if (claim->spec.volumeMode == "Block") {
      fail("block volumes are not supported");
      co_return Requeue{};
    }
    if (claim->spec.selector || claim->spec.dataSource || claim->spec.dataSourceRef) {
      fail("claims with a selector or a data source are not supported");
      co_return Requeue{};
    }
    const std::string directory = annotation(node->metadata, storage_dir);
    if (directory.empty()) co_return Requeue{};  // its agent will say
    Volume v = volume_for(*claim, *found, *node, directory);
    const std::string volume = v.metadata.name;
    auto made = co_await api::create(client_, std::move(v));
    if (!made && !base::is_already_exists(made.error())) {
      fail(made.error().message);
      co_return std::unexpected(std::move(made).error());
    }
    if (made) events_.normal(local_path, *claim, "ProvisioningSucceeded", "Successfully provisioned volume " + volume);
    co_return Requeue{};
  }

 private:
  static bool wants_us(const Claim& c) {
    return c.spec.volumeName.empty() && !deleting(c.metadata) && annotation(c.metadata, storage_provisioner) == local_path;
  }

  std::shared_ptr<const core::Node> node_for(const Claim& c, const storage::StorageClass& cls) const {
    const std::string chosen = annotation(c.metadata, scheduler::selected_node);
    if (!chosen.empty() || cls.volumeBindingMode == "WaitForFirstConsumer") return nodes_.get({}, chosen);
    for (const auto& n : nodes_.list())
      if (node_ready(*n) && !annotation(n->metadata, storage_dir).empty()) return n;
    return nullptr;
  }

  static Volume volume_for(const Claim& c, const storage::StorageClass& cls, const core::Node& node, const std::string& directory) {
    Volume v;
    v.metadata.name = "pvc-" + c.metadata.uid;
    v.metadata.labels[node_label] = node.metadata.name;
    v.metadata.annotations[provisioned_by] = local_path;
    v.metadata.finalizers = {local_path};
    auto& s = v.spec;
    if (c.spec.resources) s.capacity = c.spec.resources->requests;
    s.accessModes = c.spec.accessModes;
    auto& ref = s.claimRef.emplace();
    ref.kind = "PersistentVolumeClaim";
    ref.apiVersion = "v1";
    ref.namespace_ = c.metadata.namespace_;
    ref.name = c.metadata.name;
    ref.uid = c.metadata.uid;
    s.persistentVolumeReclaimPolicy = cls.reclaimPolicy.empty() ? "Delete" : cls.reclaimPolicy;
    s.storageClassName = cls.metadata.name;
    s.volumeMode = "Filesystem";
    s.local.emplace().path = fmt::format("{}/{}_{}_{}", directory, v.metadata.name, c.metadata.namespace_, c.metadata.name);
    auto label = node.metadata.labels.find(hostname);
    core::NodeSelectorTerm term;
    core::NodeSelectorRequirement is;
    is.key = label == node.metadata.labels.end() ? "metadata.name" : hostname;
    is.operator_ = "In";
    is.values = {label == node.metadata.labels.end() ? node.metadata.name : label->second};
    (label == node.metadata.labels.end() ? term.matchFields : term.matchExpressions).push_back(std::move(is));
    s.nodeAffinity.emplace().required.emplace().nodeSelectorTerms.push_back(std::move(term));
    return v;
  }

  // A volume whose node has gone for good waits for nobody.
  Task<Result<Requeue>> forget(ObjectKey key) {
    auto v = volumes_.get(key);
    if (!v || !deleting(v->metadata)) co_return Requeue{};
    auto label = v->metadata.labels.find(node_label);
    if (label != v->metadata.labels.end() && nodes_.get({}, label->second)) co_return Requeue{};
    json::array rest;
    for (const auto& f : v->metadata.finalizers)
      if (f != local_path) rest.emplace_back(f);
    if (rest.size() == v->metadata.finalizers.size()) co_return Requeue{};
    json::object body{{"metadata", json::object{{"resourceVersion", v->metadata.resourceVersion}, {"finalizers", std::move(rest)}}}};
    auto r = co_await api::patch<Volume>(client_, key, api::PatchType::merge, base::to_text(body));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

  // The default class, unless another one is.
  Task<> make_class() {
    if (classes_.get({}, "local-path")) co_return;
    storage::StorageClass c;
    c.metadata.name = "local-path";
    bool another = false;
    for (const auto& other : classes_.list())
      another = another || annotation(other->metadata, "storageclass.kubernetes.io/is-default-class") == "true";
    if (!another) c.metadata.annotations["storageclass.kubernetes.io/is-default-class"] = "true";
    c.provisioner = local_path;
    c.reclaimPolicy = "Delete";
    c.volumeBindingMode = "WaitForFirstConsumer";
    auto r = co_await api::create(client_, std::move(c));
    if (!r && !base::is_already_exists(r.error())) base::log::warn("controllers", "storage class local-path: {}", r.error().message);
  }

  api::Informer<Claim>& claims_;
  api::Informer<Volume>& volumes_;
  api::Informer<core::Node>& nodes_;
  api::Informer<storage::StorageClass>& classes_;
};

}  // namespace

Made make_local_storage(Context& c) { return std::make_unique<LocalStorage>(c); }

}  // namespace server::controllers
