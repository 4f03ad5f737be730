// Namespaces: the finalizer that keeps one until it is empty, the phase, and the label with its own name.
#include <algorithm>

#include <fmt/format.h>

#include "server/apiserver/strategy/all.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

object& child(object& o, std::string_view name) {
  value& v = o[name];
  if (!v.is_object()) v.emplace_object();
  return v.get_object();
}

class Namespace final : public Strategy {
 public:
  Result<> prepare_create(WriteAttempt&, object& o) const override {
    value& finalizers = child(o, "spec")["finalizers"];
    if (!finalizers.is_array()) finalizers.emplace_array();
    base::json::array& list = finalizers.get_array();
    bool has = std::any_of(list.begin(), list.end(), [](const value& v) { return v.is_string() && v.get_string() == "kubernetes"; });
    if (!has) list.emplace_back("kubernetes");
    o["status"] = object{{"phase", "Active"}};
    label(o);
    return {};
  }

  Result<> prepare_update(WriteAttempt& attempt, object& now, const object& before) const override {
    label(now);
    if (attempt.subresource != "finalize") {
      if (const value* spec = before.if_contains("spec")) now["spec"] = *spec;
      else now.erase("spec");
    }
    if (metadata_of(now).contains("deletionTimestamp")) child(now, "status")["phase"] = "Terminating";
    return {};
  }

  Result<> allow_delete(WriteAttempt& attempt, const object&) const override {
    for (std::string_view name : {"default", "kube-system", "kube-public", "kube-node-lease"})
      if (attempt.name == name) return base::forbidden("namespaces", attempt.name, "this namespace may not be deleted");
    return {};
  }

  bool may_go(const object& o) const override {
    const value* spec = o.if_contains("spec");
    const base::json::array* list = spec ? base::find_array(*spec, "finalizers") : nullptr;
    return !list || list->empty();
  }

 private:
  static void label(object& o) {
    object& meta = metadata_of(o);
    std::string name(text_of(meta, "name"));
    child(meta, "labels")["kubernetes.io/metadata.name"] = name;
  }
};

}  // namespace

std::unique_ptr<const Strategy> make_namespace_strategy() { return std::make_unique<Namespace>(); }

}  // namespace server
