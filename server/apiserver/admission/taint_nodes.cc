// TaintNodesByCondition: a new node takes no pods until the node lifecycle controller has found it ready.
#include "server/apiserver/admission/all.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

class TaintNodes final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "TaintNodesByCondition"; }
  bool handles(const Admit& a) const override { return a.operation == Operation::create && is_resource(a, "", "nodes"); }

  base::Task<Result<>> mutate(Admit a) override {
    value& taints = base::make_object(*a.object, "spec")["taints"];
    if (!taints.is_array()) taints.emplace_array();
    for (const value& t : taints.get_array())
      if (base::get_string(t, "key") == "node.kubernetes.io/not-ready" && base::get_string(t, "effect") == "NoSchedule")
        co_return Result<>{};
    taints.get_array().push_back(object{{"key", "node.kubernetes.io/not-ready"}, {"effect", "NoSchedule"}});
    co_return Result<>{};
  }
};

}  // namespace

Plugin make_taint_nodes_admission() { return std::make_unique<TaintNodes>(); }

}  // namespace server
