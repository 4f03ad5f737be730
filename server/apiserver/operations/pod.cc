// Subresources of pods that are commands: binding to a node, and eviction within disruption budgets.
#include <fmt/format.h>

#include "api/selector.h"
#include "base/time.h"
#include "server/apiserver/operations/operations.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/registry/write.h"

namespace server {

using base::json::array;
using base::json::object;
using base::json::value;

namespace {

Bytes success_text(int code) {
  return base::make_bytes(fmt::format(R"({{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Success","code":{}}})", code));
}

void set_condition(value& pod, std::string_view type, std::string_view status, std::string_view reason, std::string_view message) {
  value& list = base::make_object(pod, "status")["conditions"];
  if (!list.is_array()) list.emplace_array();
  object condition{{"type", type}, {"status", status}, {"lastProbeTime", nullptr}, {"lastTransitionTime", base::now_rfc3339()}};
  if (!reason.empty()) condition["reason"] = reason;
  if (!message.empty()) condition["message"] = message;
  for (value& c : list.get_array())
    if (base::get_string(c, "type") == type) {
      c = std::move(condition);
      return;
    }
  list.get_array().push_back(std::move(condition));
}

}  // namespace

Task<Result<Reply>> Operations::bind(Target t, Call& call, value binding) {
  std::string node(base::get_string(binding, "target.name"));
  std::string_view kind = base::get_string(binding, "target.kind", "Node");
  std::string uid(base::get_string(binding, "metadata.uid")), version(base::get_string(binding, "metadata.resourceVersion"));
  if (node.empty()) co_return base::invalid("Binding", t.name, {required("target.name")});
  if (!kind.empty() && kind != "Node")
    co_return base::invalid("Binding", t.name, {not_supported("target.kind", kind, {"Node", "<empty>"})});
  Registry::UpdateOptions options;
  options.system = true;
  options.uid = uid;
  options.resource_version = version;
  const std::string name = t.name;
  Registry::Change set = [binding, node, name](const value& live) -> Result<value> {
    auto refuse = [&](std::string_view why) { return base::conflict("pods/binding", name, why); };
    if (base::find(live, "metadata.deletionTimestamp"))
      return refuse(fmt::format("pod {} is being deleted, cannot be assigned to a host", name));
    if (std::string_view has = base::get_string(live, "spec.nodeName"); !has.empty())
      return refuse(fmt::format("pod {} is already assigned to node \"{}\"", name, has));
    if (const array* gates = base::find_array(live, "spec.schedulingGates"); gates && !gates->empty())
      return refuse(fmt::format("pod {} has non-empty .spec.schedulingGates", name));
    value now = live;
    base::make_object(now, "spec")["nodeName"] = node;
    if (const object* annotations = base::find_object(binding, "metadata.annotations"); annotations && !annotations->empty()) {
      object& mine = base::make_object(now, "metadata.annotations");
      for (const auto& [key, v] : *annotations) mine[key] = v;
    }
    set_condition(now, "PodScheduled", "True", {}, {});
    return now;
  };
  t.subresource = "binding";
  auto bound = co_await registry_.update(t, call, options, set);
  if (!bound) co_return std::unexpected(std::move(bound).error());
  co_return Reply{201, success_text(201), nullptr};
}

Task<Result<Reply>> Operations::evict(Target t, Call& call, value eviction) {
  DeleteRequest q;
  if (const value* g = base::find(eviction, "deleteOptions.gracePeriodSeconds"); g && g->is_int64()) q.grace_seconds = g->get_int64();
  q.propagation = base::get_string(eviction, "deleteOptions.propagationPolicy");
  q.uid = base::get_string(eviction, "deleteOptions.preconditions.uid");
  q.resource_version = base::get_string(eviction, "deleteOptions.preconditions.resourceVersion");
  if (const array* dry = base::find_array(eviction, "deleteOptions.dryRun"); dry && !dry->empty()) call.dry_run = true;
  t.subresource.clear();
  const ResourceInfo* budgets = registry_.resources().find("policy", "v1", "poddisruptionbudgets");
  for (int number = 0; number < most_attempts; ++number) {
    CO_TRY(RecordPtr record, registry_.get(t));
    CO_TRY(value pod, registry_.decode(*t.resource, *record));
    std::string_view phase = base::get_string(pod, "status.phase");
    bool running = phase != "Succeeded" && phase != "Failed" && phase != "Pending" && !attributes_of(*record).deleting;
    if (running && budgets) {
      auto all = co_await registry_.store().list(budgets->collection(t.ns));
      if (!all) co_return std::unexpected(std::move(all).error());
      std::vector<RecordPtr> matching;
      for (const RecordPtr& b : all->records) {
        auto budget = base::parse_json(*b->value, 256);
        const value* selector = budget ? base::find(*budget, "spec.selector") : nullptr;
        if (!selector || !selector->is_object()) continue;
        auto parsed = api::LabelSelector::of_json(*selector);
        static const object none;
        const object* labels = base::find_object(pod, "metadata.labels");
        if (parsed && parsed->matches(labels ? *labels : none)) matching.push_back(b);
      }
      if (matching.size() > 1)
        co_return base::internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.");
      if (!matching.empty()) {
        const std::string name(name_in_key(matching[0]->key));
        bool again = false;
        Target budget{budgets, t.ns, name, "status"};
        Registry::UpdateOptions options;
        options.system = true;
        std::string pod_name = t.name;
        Registry::Change take = [name, pod_name](const value& live) -> Result<value> {
          if (base::get_int(live, "status.observedGeneration") < base::get_int(live, "metadata.generation"))
            return base::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10);
          int64_t allowed = base::get_int(live, "status.disruptionsAllowed");
          if (allowed <= 0) {
            base::Error e = base::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0).error();
            e.causes.push_back({"DisruptionBudget",
                                fmt::format("The disruption budget {} needs {} healthy pods and has {} currently", name,
                                            base::get_int(live, "status.desiredHealthy"), base::get_int(live, "status.currentHealthy")),
                                {}});
            return std::unexpected(std::move(e));
          }
          value now = live;
          base::make_object(now, "status")["disruptionsAllowed"] = allowed - 1;
          base::make_object(now, "status.disruptedPods")[pod_name] = base::now_rfc3339();
          return now;
        };
        auto taken = co_await registry_.update(budget, call, options, take);
        if (!taken && taken.error().code == 404) again = true;
        if (!taken && !again) co_return std::unexpected(std::move(taken).error());
        if (again) continue;
      }
      // The pod's end says why.
      if (!call.dry_run) {
        Registry::UpdateOptions options;
        options.system = true;
        Target status = t;
        status.subresource = "status";
        auto marked = co_await registry_.update(status, call, options, [](const value& live) -> Result<value> {
          value now = live;
          set_condition(now, "DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting");
          return now;
        });
        if (!marked && marked.error().code != 404) co_return std::unexpected(std::move(marked).error());
      }
    }
    auto gone = co_await registry_.remove(t, call, q);
    if (!gone) co_return std::unexpected(std::move(gone).error());
    co_return Reply{201, success_text(201), nullptr};
  }
  co_return modified_meanwhile(*t.resource, t.name);
}

}  // namespace server
