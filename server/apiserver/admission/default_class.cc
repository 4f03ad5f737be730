// DefaultStorageClass and DefaultIngressClass: a claim or Ingress that names no class gets the one marked as default; of several the newest.
#include "server/apiserver/admission/all.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

base::Task<Result<std::string>> default_class(const datastore::Store& store, std::string prefix, std::vector<std::string> annotations) {
  auto all = co_await store.list(prefix);
  if (!all) co_return std::unexpected(std::move(all).error());
  std::string best, best_time;
  for (const datastore::RecordPtr& r : all->records) {
    auto one = base::parse_json(*r->value);
    const object* have = one ? base::find_object(*one, "metadata.annotations") : nullptr;
    if (!have) continue;
    bool marked = false;
    for (const std::string& a : annotations) marked |= text_of(*have, a) == "true";
    std::string_view time = base::get_string(*one, "metadata.creationTimestamp");
    if (!marked || (!best.empty() && time <= best_time)) continue;
    best = name_in_key(r->key);
    best_time = time;
  }
  co_return best;
}

class DefaultClass final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "DefaultClass"; }
  bool handles(const Admit& a) const override {
    return a.operation == Operation::create &&
           (is_resource(a, "", "persistentvolumeclaims") || is_resource(a, "networking.k8s.io", "ingresses"));
  }

  base::Task<Result<>> mutate(Admit a) override {
    const bool claim = a.attempt.resource.resource == "persistentvolumeclaims";
    object& spec = base::make_object(*a.object, "spec");
    const char* field = claim ? "storageClassName" : "ingressClassName";
    const object* annotations = base::find_object(*a.object, "metadata.annotations");
    const char* old_way = claim ? "volume.beta.kubernetes.io/storage-class" : "kubernetes.io/ingress.class";
    if (spec.contains(field) || (annotations && annotations->contains(old_way))) co_return Result<>{};
    std::string prefix =
        claim ? collection_prefix("storage.k8s.io", "storageclasses") : collection_prefix("networking.k8s.io", "ingressclasses");
    std::vector<std::string> marks;
    if (claim) marks = {"storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"};
    else marks = {"ingressclass.kubernetes.io/is-default-class"};
    CO_TRY(std::string found, co_await default_class(a.attempt.store, prefix, marks));
    if (!found.empty()) spec[field] = found;
    co_return Result<>{};
  }
};

}  // namespace

Plugin make_default_class_admission() { return std::make_unique<DefaultClass>(); }

}  // namespace server
