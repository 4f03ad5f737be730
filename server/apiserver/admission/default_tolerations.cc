// DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or unreachable, unless they say otherwise.
#include "server/apiserver/admission/all.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

class DefaultTolerations final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "DefaultTolerationSeconds"; }
  bool handles(const Admit& a) const override { return a.operation == Operation::create && is_resource(a, "", "pods"); }

  base::Task<Result<>> mutate(Admit a) override {
    object& spec = base::make_object(*a.object, "spec");
    for (std::string_view key : {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}) {
      bool has = false;
      if (const value* list = spec.if_contains("tolerations"); list && list->is_array())
        for (const value& t : list->get_array()) {
          std::string_view k = base::get_string(t, "key"), effect = base::get_string(t, "effect");
          if ((k.empty() || k == key) && (effect.empty() || effect == "NoExecute")) has = true;
        }
      if (has) continue;
      value& list = spec["tolerations"];
      if (!list.is_array()) list.emplace_array();
      list.get_array().push_back(object{{"key", key}, {"operator", "Exists"}, {"effect", "NoExecute"}, {"tolerationSeconds", 300}});
    }
    co_return Result<>{};
  }
};

}  // namespace

Plugin make_default_tolerations_admission() { return std::make_unique<DefaultTolerations>(); }

}  // namespace server
