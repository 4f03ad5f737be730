// RuntimeClass: a pod's class exists, and adds its overhead, node selector and tolerations to the pod.
#include <fmt/format.h>

#include "server/apiserver/admission/all.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

class RuntimeClass final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "RuntimeClass"; }
  bool handles(const Admit& a) const override { return a.operation == Operation::create && is_resource(a, "", "pods"); }

  base::Task<Result<>> mutate(Admit a) override {
    auto refuse = [&](std::string why) { return base::forbidden("pods", a.attempt.name, why); };
    object& spec = base::make_object(*a.object, "spec");
    const std::string wanted(text_of(spec, "runtimeClassName"));
    value found;
    if (!wanted.empty()) {
      datastore::RecordPtr record = a.attempt.store.get(object_key("node.k8s.io", "runtimeclasses", {}, wanted));
      if (!record) co_return refuse(fmt::format("pod rejected: RuntimeClass \"{}\" not found", wanted));
      CO_TRY(found, base::parse_json(*record->value));
    }
    const object* overhead = base::find_object(found, "overhead.podFixed");
    const value* given = spec.if_contains("overhead");
    const bool has = given && given->is_object() && !given->get_object().empty();
    if (overhead && has && given->get_object() != *overhead)
      co_return refuse("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
    if (!overhead && has) co_return refuse("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    if (overhead) spec["overhead"] = *overhead;
    if (const object* selector = base::find_object(found, "scheduling.nodeSelector"))
      for (const auto& [key, v] : *selector) {
        object& own = base::make_object(*a.object, "spec.nodeSelector");
        const value* mine = own.if_contains(key);
        if (mine && *mine != v)
          co_return refuse(fmt::format("conflict: runtimeClass.scheduling.nodeSelector[{0}] = {1}; pod.spec.nodeSelector[{0}] = {2}",
                                       std::string_view(key), base::get_string(v, ""), base::get_string(*mine, "")));
        own[key] = v;
      }
    if (const array* tolerations = base::find_array(found, "scheduling.tolerations")) {
      value& list = base::make_object(*a.object, "spec")["tolerations"];
      if (!list.is_array()) list.emplace_array();
      for (const value& t : *tolerations)
        if (std::find(list.get_array().begin(), list.get_array().end(), t) == list.get_array().end()) list.get_array().push_back(t);
    }
    co_return Result<>{};
  }
};

}  // namespace

Plugin make_runtime_class_admission() { return std::make_unique<RuntimeClass>(); }

}  // namespace server
