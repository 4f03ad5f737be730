// NodeRestriction: an agent changes its own Node and the pods bound to it, nothing else, and not what others decide about it (taints, owners,
// labels of node-restriction.kubernetes.io).
#include <fmt/format.h>

#include "server/apiserver/admission/all.h"
#include "server/apiserver/auth/node_access.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

bool same(const value* a, const value* b) {
  auto empty = [](const value* v) { return !v || v->is_null() || (v->is_array() && v->get_array().empty()); };
  if (empty(a) || empty(b)) return empty(a) == empty(b);
  return *a == *b;
}

bool restricted_label(std::string_view name) { return name.starts_with("node-restriction.kubernetes.io/") || name.find(".node-restriction.kubernetes.io/") != name.npos; }

class NodeRestriction final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "NodeRestriction"; }
  bool handles(const Admit& a) const override { return node_of(*a.attempt.call.user).has_value(); }

  base::Task<Result<>> validate(Admit a) override {
    const std::string node = *node_of(*a.attempt.call.user);
    if (is_resource(a, "", "nodes")) co_return check_node(a, node);
    if (is_resource(a, "", "pods")) co_return check_pod(a, node);
    if (is_resource(a, "storage.k8s.io", "csinodes") && a.attempt.name != node) co_return refuse(a, "can only access CSINode with the same name as the requesting node");
    if (is_resource(a, "coordination.k8s.io", "leases") && a.attempt.name != node) co_return refuse(a, "can only access node lease with the same name as the requesting node");
    co_return Result<>{};
  }

 private:
  static base::Failure refuse(const Admit& a, std::string_view why) { return base::forbidden(a.attempt.resource.qualified, a.attempt.name, why); }

  static Result<> check_node(const Admit& a, const std::string& node) {
    if (a.attempt.name != node) return refuse(a, fmt::format("node \"{}\" is not allowed to modify node \"{}\"", node, a.attempt.name));
    if (a.operation == Operation::remove) return refuse(a, fmt::format("node \"{}\" is not allowed to delete itself", node));
    static const value none = object{};
    const value& before = a.before ? *a.before : none;
    if (base::find(*a.object, "metadata.ownerReferences") && !same(base::find(*a.object, "metadata.ownerReferences"), base::find(before, "metadata.ownerReferences")))
      return refuse(a, fmt::format("node \"{}\" is not allowed to modify ownerReferences", node));
    if (a.before && !same(base::find(*a.object, "spec.taints"), base::find(before, "spec.taints"))) return refuse(a, fmt::format("node \"{}\" is not allowed to modify taints", node));
    const object *now = base::find_object(*a.object, "metadata.labels"), *was = base::find_object(before, "metadata.labels");
    auto label = [](const object* from, std::string_view name) { return from ? text_of(*from, name) : std::string_view(); };
    for (const object* labels : {now, was}) {
      if (!labels) continue;
      for (const auto& [name, v] : *labels)
        if (restricted_label(name) && label(now, name) != label(was, name)) return refuse(a, fmt::format("is not allowed to modify labels: {}", std::string_view(name)));
    }
    return {};
  }

  static Result<> check_pod(const Admit& a, const std::string& node) {
    if (a.operation == Operation::create) {
      const object* annotations = base::find_object(*a.object, "metadata.annotations");
      if (!annotations || !annotations->contains("kubernetes.io/config.mirror")) return refuse(a, fmt::format("pod does not have \"kubernetes.io/config.mirror\" annotation, node \"{}\" can only create mirror pods", node));
      if (base::get_string(*a.object, "spec.nodeName") != node) return refuse(a, fmt::format("node \"{}\" can only create pods with spec.nodeName set to itself", node));
      if (!base::get_string(*a.object, "spec.serviceAccountName").empty()) return refuse(a, "pod may not reference a service account");
      return {};
    }
    if (base::get_string(*a.before, "spec.nodeName") != node)
      return refuse(a, fmt::format("node \"{}\" can only {} pods with spec.nodeName set to itself", node, a.operation == Operation::remove ? "delete" : "update pod status for"));
    if (a.operation == Operation::update && !same(base::find(*a.object, "metadata.labels"), base::find(*a.before, "metadata.labels")))
      return refuse(a, fmt::format("node \"{}\" cannot update labels through pod status", node));
    return {};
  }
};

}  // namespace

std::unique_ptr<AdmissionPlugin> make_node_restriction_admission() { return std::make_unique<NodeRestriction>(); }

}  // namespace server
