// StorageObjectInUseProtection: claims and volumes get the finalizer that keeps them while they are used.
// PersistentVolumeClaimResize: a claim grows only when it is bound and its class allows it.
#include <fmt/format.h>

#include "api/quantity.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::value;

class StorageProtection final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "StorageObjectInUseProtection"; }
  bool handles(const Admit& a) const override {
    return a.operation == Operation::create && (is_resource(a, "", "persistentvolumeclaims") || is_resource(a, "", "persistentvolumes"));
  }
  base::Task<Result<>> mutate(Admit a) override {
    set_finalizer(metadata_of(a.object->as_object()),
                  a.attempt.resource.namespaced ? "kubernetes.io/pvc-protection" : "kubernetes.io/pv-protection", true);
    co_return Result<>{};
  }
};

class ClaimResize final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "PersistentVolumeClaimResize"; }
  bool handles(const Admit& a) const override {
    return a.operation == Operation::update && a.attempt.subresource.empty() && is_resource(a, "", "persistentvolumeclaims");
  }
  base::Task<Result<>> validate(Admit a) override {
    auto size = [](const value& c) { return api::Quantity::of(base::get_string(c, "spec.resources.requests.storage", "0")); };
    if (size(*a.object) <= size(*a.before)) co_return Result<>{};
    auto refuse = [&](std::string_view why) { return base::forbidden("persistentvolumeclaims", a.attempt.name, why); };
    if (base::get_string(*a.before, "status.phase") != "Bound") co_return refuse("Only bound persistent volume claims can be expanded");
    std::string_view name = base::get_string(*a.before, "spec.storageClassName");
    datastore::RecordPtr record = name.empty() ? nullptr : a.attempt.store.get(object_key("storage.k8s.io", "storageclasses", {}, name));
    auto found = record ? base::parse_json(*record->value) : base::Result<value>(value());
    if (!found || !base::get_bool(*found, "allowVolumeExpansion"))
      co_return refuse("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize");
    co_return Result<>{};
  }
};

}  // namespace

Plugin make_storage_protection_admission() { return std::make_unique<StorageProtection>(); }
Plugin make_claim_resize_admission() { return std::make_unique<ClaimResize>(); }

}  // namespace server
