#include "server/apiserver/audit/policy.h"

#include <algorithm>

#include <fmt/format.h>

#include "api/yaml.h"

namespace server::audit {
namespace {

using base::json::array;
using base::json::value;

constexpr std::string_view kLevels[] = {"None", "Metadata", "Request", "RequestResponse"};
constexpr std::string_view kStages[] = {"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"};

constexpr std::string_view kStandard = R"(
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/metrics", "/openapi*", "/api", "/apis*", "/api/*"]
  verbs: [get]
- level: None
  resources: [{group: "", resources: [events]}, {group: events.k8s.io, resources: [events]}]
- level: None
  verbs: [get, create, update, patch, list, watch]
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: None
  userGroups: ["system:nodes"]
  verbs: [get, list, watch]
- level: None
  userGroups: ["system:nodes"]
  verbs: [update, patch]
  resources: [{group: "", resources: [nodes/status]}]
- level: None
  userGroups: ["system:nodes"]
  verbs: [create]
  resources: [{group: "", resources: [serviceaccounts/token]}, {group: authentication.k8s.io}, {group: authorization.k8s.io}]
- level: Metadata
)";

bool has(const std::vector<std::string>& list, std::string_view wanted) {
  for (const std::string& s : list)
    if (s == wanted) return true;
  return false;
}

Result<std::vector<std::string>> texts(const value& rule, std::string_view name, size_t number) {
  std::vector<std::string> out;
  const value* v = base::find(rule, name);
  if (!v || v->is_null()) return out;
  if (!v->is_array()) return base::bad_request(fmt::format("rules[{}].{}: a list is expected", number, name));
  for (const value& one : v->get_array()) {
    if (!one.is_string()) return base::bad_request(fmt::format("rules[{}].{}: texts are expected", number, name));
    out.emplace_back(one.get_string());
  }
  return out;
}

Result<unsigned> stages(const std::vector<std::string>& names, std::string_view where) {
  unsigned out = 0;
  for (const std::string& n : names) {
    auto it = std::find(std::begin(kStages), std::end(kStages), n);
    if (it == std::end(kStages)) return base::bad_request(fmt::format("{}: \"{}\" is not a stage", where, n));
    out |= 1u << (it - std::begin(kStages));
  }
  return out;
}

bool resource_matches(const std::string& wanted, const Subject& s) {
  std::string_view w = wanted;
  if (w == "*") return true;
  if (s.subresource.empty()) return w == s.resource;
  if (w.ends_with("/*")) return w.substr(0, w.size() - 2) == s.resource;
  if (w.starts_with("*/")) return w.substr(2) == s.subresource;
  size_t slash = w.find('/');
  return slash != w.npos && w.substr(0, slash) == s.resource && w.substr(slash + 1) == s.subresource;
}

}  // namespace

std::string_view level_name(Level level) { return kLevels[static_cast<size_t>(level)]; }

Result<Policy> Policy::parse(std::string_view yaml) {
  TRY(value v, api::parse_yaml(yaml));
  if (base::get_string(v, "kind") != "Policy" || base::get_string(v, "apiVersion") != "audit.k8s.io/v1")
    return base::bad_request("kind Policy of audit.k8s.io/v1 is expected");
  Policy out;
  TRY(std::vector<std::string> all_stages, texts(v, "omitStages", 0));
  TRY(unsigned omitted, stages(all_stages, "omitStages"));
  const bool strip = base::get_bool(v, "omitManagedFields");
  const array* rules = base::find_array(v, "rules");
  if (!rules || rules->empty()) return base::bad_request("rules: Required value");
  for (size_t i = 0; i < rules->size(); ++i) {
    const value& one = (*rules)[i];
    Rule r;
    std::string_view level = base::get_string(one, "level");
    auto it = std::find(std::begin(kLevels), std::end(kLevels), level);
    if (it == std::end(kLevels))
      return base::bad_request(fmt::format(
          "rules[{}].level: Unsupported value: \"{}\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\"", i,
          level));
    r.decision.level = static_cast<Level>(it - std::begin(kLevels));
    TRY(std::vector<std::string> omit, texts(one, "omitStages", i));
    TRY(r.decision.omitted, stages(omit, fmt::format("rules[{}].omitStages", i)));
    r.decision.omitted |= omitted;
    r.decision.omit_managed_fields = base::get_bool(one, "omitManagedFields", strip);
    TRY(r.users, texts(one, "users", i));
    TRY(r.groups, texts(one, "userGroups", i));
    TRY(r.verbs, texts(one, "verbs", i));
    TRY(r.namespaces, texts(one, "namespaces", i));
    TRY(r.urls, texts(one, "nonResourceURLs", i));
    for (const std::string& url : r.urls)
      if (url != "*" && !url.starts_with('/'))
        return base::bad_request(fmt::format("rules[{}].nonResourceURLs: \"{}\" does not begin with \"/\"", i, url));
    if (const array* resources = base::find_array(one, "resources")) {
      for (const value& g : *resources) {
        GroupResources group;
        group.group = base::get_string(g, "group");
        TRY(group.resources, texts(g, "resources", i));
        TRY(group.names, texts(g, "resourceNames", i));
        if (!group.names.empty() && group.resources.empty())
          return base::bad_request(fmt::format("rules[{}].resources: resourceNames need resources", i));
        r.resources.push_back(std::move(group));
      }
    }
    if (!r.urls.empty() && (!r.resources.empty() || !r.namespaces.empty()))
      return base::bad_request(fmt::format("rules[{}]: a rule is for nonResourceURLs, or for resources and namespaces", i));
    out.rules_.push_back(std::move(r));
  }
  return out;
}

const Policy& Policy::standard() {
  static const Policy policy = parse(kStandard).value_or(Policy());
  return policy;
}

bool Policy::matches(const Rule& r, const Subject& s) {
  if (!r.verbs.empty() && !has(r.verbs, s.verb)) return false;
  if (!r.users.empty() && !has(r.users, s.user.name)) return false;
  if (!r.groups.empty() && std::none_of(r.groups.begin(), r.groups.end(), [&](const std::string& g) { return s.user.in_group(g); }))
    return false;
  if (!r.namespaces.empty() || !r.resources.empty()) {
    if (!s.is_resource || (!r.namespaces.empty() && !has(r.namespaces, s.ns))) return false;
    if (r.resources.empty()) return true;
    for (const GroupResources& g : r.resources) {
      if (g.group != s.group) continue;
      if (g.resources.empty()) return true;
      if (!g.names.empty() && !has(g.names, s.name)) continue;
      if (std::any_of(g.resources.begin(), g.resources.end(), [&](const std::string& w) { return resource_matches(w, s); })) return true;
    }
    return false;
  }
  if (r.urls.empty()) return true;
  if (s.is_resource) return false;
  return std::any_of(r.urls.begin(), r.urls.end(), [&](const std::string& url) {
    return url == "*" || url == s.path || (url.ends_with('*') && s.path.starts_with(std::string_view(url).substr(0, url.size() - 1)));
  });
}

Decision Policy::decide(const Subject& subject) const {
  for (const Rule& r : rules_)
    if (matches(r, subject)) return r.decision;
  return {};
}

}  // namespace server::audit
