// OwnerReferencesPermissionEnforcement: who changes an object's owners must be allowed to delete it (that is what an owner's end does), and who lets it hold
// up the deletion of an owner must be allowed to set finalizers on that owner.
#include <fmt/format.h>

#include "server/apiserver/admission/all.h"

namespace server {
namespace {

using base::json::array;
using base::json::value;

const array& owners(const value* o) {
  static const array none;
  const array* list = o ? base::find_array(*o, "metadata.ownerReferences") : nullptr;
  return list ? *list : none;
}

class OwnerReferences final : public AdmissionPlugin {
 public:
  explicit OwnerReferences(const Authorizer& authorizer) : authorizer_(authorizer) {}
  std::string_view name() const override { return "OwnerReferencesPermissionEnforcement"; }
  bool handles(const Admit& a) const override {
    return a.object && a.attempt.subresource.empty() && (a.operation == Operation::create || a.operation == Operation::update) &&
           !(owners(a.object) == owners(a.before));
  }

  base::Task<Result<>> validate(Admit a) override {
    const ResourceInfo& r = a.attempt.resource;
    if (a.operation == Operation::update) {
      Access ask;
      ask.verb = "delete";
      ask.group = r.group;
      ask.version = r.version;
      ask.resource = r.resource;
      ask.ns = a.attempt.ns;
      ask.name = a.attempt.name;
      Decision d = co_await authorizer_.decide(*a.attempt.call.user, std::move(ask));
      if (!d.allowed)
        co_return base::forbidden(r.qualified, a.attempt.name,
                                  fmt::format("cannot set an ownerRef on a resource you can't delete: {}", d.reason));
    }
    for (const value& ref : owners(a.object)) {
      if (!base::get_bool(ref, "blockOwnerDeletion")) continue;
      bool old = false;
      for (const value& b : owners(a.before))
        old = old || (base::get_string(b, "uid") == base::get_string(ref, "uid") && base::get_bool(b, "blockOwnerDeletion"));
      if (old) continue;
      auto [group, version] = api::split_api_version(base::get_string(ref, "apiVersion"));
      const api::Kind* kind = api::Schema::builtin().kind(group, version, base::get_string(ref, "kind"));
      Access ask;
      ask.verb = "update";
      ask.group = group;
      ask.version = version;
      ask.resource = kind ? std::string(kind->plural) : "*";  // a kind not known here: only who may do it to all
      ask.subresource = "finalizers";
      ask.ns = kind && !kind->namespaced ? std::string() : a.attempt.ns;
      ask.name = base::get_string(ref, "name");
      Decision d = co_await authorizer_.decide(*a.attempt.call.user, std::move(ask));
      if (!d.allowed)
        co_return base::forbidden(
            r.qualified, a.attempt.name,
            fmt::format("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}",
                        d.reason));
    }
    co_return Result<>{};
  }

 private:
  const Authorizer& authorizer_;
};

}  // namespace

Plugin make_owner_references_admission(const Authorizer& authorizer) { return std::make_unique<OwnerReferences>(authorizer); }

}  // namespace server
