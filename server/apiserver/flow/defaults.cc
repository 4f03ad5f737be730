#include "server/apiserver/flow/defaults.h"

#include <span>

#include <fmt/format.h>

#include "base/time.h"

namespace server::flow {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

struct Level {
  std::string_view name;
  int shares, lendable;
  int queues, hand;  // 0 queues: requests over the limit are refused
  bool mandatory;
};
constexpr Level kLevels[] = {
    {"catch-all", 5, 0, 0, 0, true},          {"system", 30, 33, 64, 6, false},        {"node-high", 40, 25, 64, 6, false},
    {"leader-election", 10, 0, 16, 4, false}, {"workload-high", 40, 50, 128, 6, false}, {"workload-low", 100, 90, 128, 6, false},
    {"global-default", 20, 50, 128, 6, false},
};

// Subjects: "G:group", "U:user", "S:namespace/name". Rules: "verbs|groups|resources|namespaces", a trailing '!' also for cluster scope;
// "verbs|urls" for paths. Lists with commas.
struct Schema {
  std::string_view name, level;
  int precedence;
  std::string_view by;
  std::span<const std::string_view> subjects, rules, paths;
  bool mandatory = false;
};

constexpr std::string_view everything[] = {"*|*|*|*!"}, every_path[] = {"*|*"};
constexpr std::string_view masters[] = {"G:system:masters"}, everybody[] = {"G:system:unauthenticated", "G:system:authenticated"},
                           nodes[] = {"G:system:nodes"};
constexpr std::string_view probe_paths[] = {"get|/healthz,/readyz,/livez"};
constexpr std::string_view node_status[] = {"*||nodes,nodes/status|*!", "*|coordination.k8s.io|leases|*"};
constexpr std::string_view leaders[] = {"U:system:kube-controller-manager", "U:system:kube-scheduler", "S:kube-system/*"};
constexpr std::string_view system_leases[] = {"get,create,update|coordination.k8s.io|leases|kube-system"},
                           leases[] = {"get,create,update|coordination.k8s.io|leases|*"};
constexpr std::string_view endpoint_controllers[] = {"U:system:kube-controller-manager", "S:kube-system/endpoint-controller",
                                                     "S:kube-system/endpointslicemirroring-controller"};
constexpr std::string_view endpoints[] = {"get,create,update||endpoints|*"};
constexpr std::string_view controller_manager[] = {"U:system:kube-controller-manager"}, scheduler[] = {"U:system:kube-scheduler"},
                           system_accounts[] = {"S:kube-system/*"}, accounts[] = {"G:system:serviceaccounts"};

constexpr Schema kSchemas[] = {
    {"exempt", "exempt", 1, "", masters, everything, every_path, true},
    {"probes", "exempt", 2, "", everybody, {}, probe_paths},
    {"system-leader-election", "leader-election", 100, "ByUser", leaders, system_leases, {}},
    {"endpoint-controller", "workload-high", 150, "ByUser", endpoint_controllers, endpoints, {}},
    {"workload-leader-election", "leader-election", 200, "ByUser", system_accounts, leases, {}},
    {"system-node-high", "node-high", 400, "ByUser", nodes, node_status, {}},
    {"system-nodes", "system", 500, "ByUser", nodes, everything, every_path},
    {"kube-controller-manager", "workload-high", 800, "ByNamespace", controller_manager, everything, every_path},
    {"kube-scheduler", "workload-high", 800, "ByNamespace", scheduler, everything, every_path},
    {"kube-system-service-accounts", "workload-high", 900, "ByNamespace", system_accounts, everything, every_path},
    {"service-accounts", "workload-low", 9000, "ByUser", accounts, everything, every_path},
    {"global-default", "global-default", 9900, "ByUser", everybody, everything, every_path},
    {"catch-all", "catch-all", 10000, "ByUser", everybody, everything, every_path, true},
};

array words(std::string_view text) {
  array out;
  for (;;) {
    size_t comma = text.find(',');
    out.emplace_back(text.substr(0, comma));
    if (comma == text.npos) return out;
    text.remove_prefix(comma + 1);
  }
}

std::string_view take(std::string_view& text) {
  size_t bar = text.find('|');
  std::string_view out = text.substr(0, bar);
  text = bar == text.npos ? std::string_view() : text.substr(bar + 1);
  return out;
}

object subject(std::string_view text) {
  std::string_view name = text.substr(2);
  if (text[0] == 'G') return object{{"kind", "Group"}, {"group", object{{"name", name}}}};
  if (text[0] == 'U') return object{{"kind", "User"}, {"user", object{{"name", name}}}};
  size_t slash = name.find('/');
  return object{{"kind", "ServiceAccount"},
                {"serviceAccount", object{{"namespace", name.substr(0, slash)}, {"name", name.substr(slash + 1)}}}};
}

object resource_rule(std::string_view text) {
  const bool cluster = text.ends_with('!');
  if (cluster) text.remove_suffix(1);
  object rule{{"verbs", words(take(text))}};
  rule["apiGroups"] = words(take(text));
  rule["resources"] = words(take(text));
  if (cluster) rule["clusterScope"] = true;
  rule["namespaces"] = words(take(text));
  return rule;
}

object whole(std::string_view kind, std::string_view name, object spec) {
  return object{{"apiVersion", "flowcontrol.apiserver.k8s.io/v1"},
                {"kind", kind},
                {"metadata", object{{"name", name}, {"annotations", object{{kAutoUpdate, "true"}}}}},
                {"spec", std::move(spec)},
                {"status", object{}}};
}

object level(const Level& l) {
  object response{{"type", l.queues ? "Queue" : "Reject"}};
  if (l.queues) response["queuing"] = object{{"queues", l.queues}, {"handSize", l.hand}, {"queueLengthLimit", 50}};
  return whole(
      "PriorityLevelConfiguration", l.name,
      object{{"type", "Limited"},
             {"limited",
              object{{"nominalConcurrencyShares", l.shares}, {"lendablePercent", l.lendable}, {"limitResponse", std::move(response)}}}});
}

object schema(const Schema& s, std::string_view now) {
  object group;
  array subjects, rules, paths;
  for (std::string_view text : s.subjects) subjects.push_back(subject(text));
  for (std::string_view text : s.rules) rules.push_back(resource_rule(text));
  for (std::string_view text : s.paths) {
    object rule{{"verbs", words(take(text))}};
    rule["nonResourceURLs"] = words(take(text));
    paths.push_back(std::move(rule));
  }
  group["subjects"] = std::move(subjects);
  if (!rules.empty()) group["resourceRules"] = std::move(rules);
  if (!paths.empty()) group["nonResourceRules"] = std::move(paths);
  object spec{{"priorityLevelConfiguration", object{{"name", s.level}}}, {"matchingPrecedence", s.precedence}};
  if (!s.by.empty()) spec["distinguisherMethod"] = object{{"type", s.by}};
  spec["rules"] = array{std::move(group)};
  object out = whole("FlowSchema", s.name, std::move(spec));
  out["status"] = object{{"conditions", array{dangling_condition(s.level, true, now)}}};
  return out;
}

}  // namespace

object dangling_condition(std::string_view level, bool exists, std::string_view since) {
  return object{
      {"type", "Dangling"},
      {"status", exists ? "False" : "True"},
      {"lastTransitionTime", since},
      {"reason", exists ? "Found" : "NotFound"},
      {"message",
       exists ? fmt::format("This FlowSchema references the PriorityLevelConfiguration object named \"{}\" and it exists", level)
              : fmt::format("This FlowSchema references the PriorityLevelConfiguration object named \"{}\" but there is no such object",
                            level)}};
}

std::vector<DefaultObject> default_objects() {
  std::string now = base::now_rfc3339();
  std::vector<DefaultObject> out;
  out.push_back({whole("PriorityLevelConfiguration", "exempt",
                       object{{"type", "Exempt"}, {"exempt", object{{"nominalConcurrencyShares", 0}, {"lendablePercent", 0}}}}),
                 true});
  for (const Level& l : kLevels) out.push_back({level(l), l.mandatory});
  for (const Schema& s : kSchemas) out.push_back({schema(s, now), s.mandatory});
  return out;
}

}  // namespace server::flow
