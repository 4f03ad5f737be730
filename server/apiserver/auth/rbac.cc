#include "server/apiserver/auth/rbac.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/log.h"
#include "server/apiserver/registry/attributes.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

constexpr std::string_view group = "rbac.authorization.k8s.io";

std::vector<std::string> strings(const base::json::value& rule, std::string_view name) {
  std::vector<std::string> out;
  if (const base::json::array* a = base::find_array(rule, name))
    for (const base::json::value& v : *a)
      if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}

// A LabelSelector over the labels of a ClusterRole.
bool selects(const base::json::value& selector, const std::vector<std::pair<std::string, std::string>>& labels) {
  auto label = [&](std::string_view name) -> const std::string* {
    for (const auto& [n, v] : labels)
      if (n == name) return &v;
    return nullptr;
  };
  if (const base::json::object* match = base::find_object(selector, "matchLabels"))
    for (const auto& [name, value] : *match) {
      const std::string* v = label(name);
      if (!v || !value.is_string() || *v != std::string_view(value.get_string())) return false;
    }
  if (const base::json::array* expressions = base::find_array(selector, "matchExpressions"))
    for (const base::json::value& e : *expressions) {
      const std::string* v = label(base::get_string(e, "key"));
      std::string_view op = base::get_string(e, "operator");
      std::vector<std::string> values = strings(e, "values");
      bool in = v && std::find(values.begin(), values.end(), *v) != values.end();
      if ((op == "In" && !in) || (op == "NotIn" && in) || (op == "Exists" && !v) || (op == "DoesNotExist" && v)) return false;
    }
  return true;
}

}  // namespace

Rbac::Rbac(datastore::Store& store) : store_(store), snapshot_(std::make_shared<Snapshot>()) {}

std::vector<PolicyRule> Rbac::parse_rules(const base::json::array* rules) {
  std::vector<PolicyRule> out;
  if (!rules) return out;
  for (const base::json::value& r : *rules)
    out.push_back({strings(r, "verbs"), strings(r, "apiGroups"), strings(r, "resources"), strings(r, "resourceNames"),
                   strings(r, "nonResourceURLs")});
  return out;
}

void Rbac::put(const datastore::Record& record) {
  auto [g, resource] = resource_in_key(record.key);
  bool scoped = resource == "roles" || resource == "rolebindings";
  std::pair key(scoped ? std::string(namespace_in_key(record.key)) : std::string(), std::string(name_in_key(record.key)));
  bool is_role = resource == "roles" || resource == "clusterroles";
  if (!record.value) {
    if (is_role) roles_.erase(key);
    else bindings_.erase(key);
    return;
  }
  auto object = base::parse_json(*record.value);
  if (!object) return;
  if (is_role) {
    Role role;
    role.rules = std::make_shared<const std::vector<PolicyRule>>(parse_rules(base::find_array(*object, "rules")));
    role.labels = attributes_of(record).labels;
    if (auto* s = base::find_array(*object, "aggregationRule.clusterRoleSelectors")) role.selectors = *s;
    roles_[key] = std::move(role);
    return;
  }
  Binding b;
  b.ns = key.first;
  b.name = key.second;
  b.role = base::get_string(*object, "roleRef.name");
  if (base::get_string(*object, "roleRef.kind") == "Role") b.role_ns = key.first;
  if (const base::json::array* subjects = base::find_array(*object, "subjects"))
    for (const base::json::value& s : *subjects) {
      std::string_view kind = base::get_string(s, "kind");
      std::string_view name = base::get_string(s, "name");
      std::string_view ns = base::get_string(s, "namespace", b.ns);
      if (kind == "User") b.subjects.push_back(fmt::format("U:{}", name));
      else if (kind == "Group") b.subjects.push_back(fmt::format("G:{}", name));
      else if (kind == "ServiceAccount") b.subjects.push_back(fmt::format("U:system:serviceaccount:{}:{}", ns, name));
    }
  bindings_[key] = std::move(b);
}

// The rules of the role and of all it gathers, through roles that gather themselves.
void Rbac::gather(const Role& role, std::vector<PolicyRule>& into, std::set<const Role*>& seen) const {
  if (!seen.insert(&role).second) return;
  // What a gathering role holds itself is what the aggregation controller has put there.
  if (role.selectors.empty()) into.insert(into.end(), role.rules->begin(), role.rules->end());
  for (const auto& [key, other] : roles_) {
    if (!key.first.empty()) continue;
    bool wanted = std::any_of(role.selectors.begin(), role.selectors.end(), [&](const auto& s) { return selects(s, other.labels); });
    if (wanted) gather(other, into, seen);
  }
}

void Rbac::publish() {
  auto next = std::make_shared<Snapshot>();
  for (const auto& [key, role] : roles_) {
    if (role.selectors.empty()) {
      next->roles[key] = role.rules;
      continue;
    }
    auto sum = std::make_shared<std::vector<PolicyRule>>();
    std::set<const Role*> seen;
    gather(role, *sum, seen);
    next->roles[key] = std::move(sum);
  }
  for (const auto& [key, b] : bindings_) {
    auto role = next->roles.find({b.role_ns, b.role});
    Rules rules = role == next->roles.end() ? nullptr : role->second;
    for (const std::string& subject : b.subjects) next->by_subject[subject].push_back({b.ns, b.name, b.role, rules, b.role_ns.empty()});
  }
  std::scoped_lock lock(mutex_);
  snapshot_ = std::move(next);
}

base::Task<base::Result<>> Rbac::load() {
  // Exact prefixes of the four resources; nothing else lives in the group.
  auto all = co_await store_.list(fmt::format("/registry/{}/", group));
  if (!all) co_return std::unexpected(std::move(all).error());
  roles_.clear();
  bindings_.clear();
  for (const datastore::RecordPtr& r : all->records) put(*r);
  loaded_ = all->revision;
  publish();
  co_return base::Result<>{};
}

base::Task<> Rbac::run() {
  for (;;) {
    auto watcher = store_.watch(fmt::format("/registry/{}/", group), loaded_);
    if (!watcher) co_await base::sleep_for(std::chrono::milliseconds(100));
    while (watcher) {
      auto events = co_await (*watcher)->next();
      if (!events) break;
      for (const datastore::Event& e : *events) {
        put(*e.record);
        loaded_ = e.record->revision;
      }
      publish();
    }
    auto again = co_await load();
    if (!again) {
      base::log::warn("rbac", "loading roles: {}", again.error().message);
      co_await base::sleep_for(std::chrono::seconds(1));
    }
  }
}

std::shared_ptr<const Rbac::Snapshot> Rbac::snapshot() const {
  std::scoped_lock lock(mutex_);
  return snapshot_;
}

template <class F>
void Rbac::each_grant(const UserInfo& user, const std::string& ns, F f) const {
  auto now = snapshot();
  // False: stop.
  auto visit = [&](const std::string& subject) {
    auto it = now->by_subject.find(subject);
    if (it == now->by_subject.end()) return true;
    for (const Grant& g : it->second)
      if (g.ns.empty() || (!ns.empty() && g.ns == ns))
        if (!f(g)) return false;
    return true;
  };
  if (!visit("U:" + user.name)) return;
  for (const std::string& g : user.groups)
    if (!visit("G:" + g)) return;
}

std::string Rbac::problem(const Grant& g) {
  return fmt::format("{}.{} \"{}\" not found", g.of_cluster ? "clusterrole" : "role", group, g.role);
}

Decision Rbac::authorize(const UserInfo& user, const Access& access) const {
  Decision out;
  std::string problems;
  each_grant(user, access.ns, [&](const Grant& g) {
    if (!g.rules) {
      problems += (problems.empty() ? "RBAC: " : ", ") + problem(g);
      return true;
    }
    for (const PolicyRule& rule : *g.rules)
      if (rule_allows(rule, access)) {
        out.allowed = true;
        out.reason = g.ns.empty() ? fmt::format("RBAC: allowed by ClusterRoleBinding \"{}\" of ClusterRole \"{}\"", g.binding, g.role)
                                  : fmt::format("RBAC: allowed by RoleBinding \"{}/{}\" of role \"{}\"", g.binding, g.ns, g.role);
        return false;
      }
    return true;
  });
  if (!out.allowed) out.reason = std::move(problems);
  return out;
}

std::vector<PolicyRule> Rbac::rules_for(const UserInfo& user, const std::string& ns, std::string* problems) const {
  std::vector<PolicyRule> out;
  if (user.in_group("system:masters")) {
    out.push_back({{"*"}, {"*"}, {"*"}, {}, {}});
    out.push_back({{"*"}, {}, {}, {}, {"*"}});
  }
  each_grant(user, ns, [&](const Grant& g) {
    if (!g.rules) {
      if (problems) *problems += (problems->empty() ? "" : "; ") + problem(g);
      return true;
    }
    out.insert(out.end(), g.rules->begin(), g.rules->end());
    return true;
  });
  return out;
}

std::optional<std::vector<PolicyRule>> Rbac::role_rules(const std::string& ns, const std::string& name) const {
  auto now = snapshot();
  auto it = now->roles.find({ns, name});
  if (it == now->roles.end()) return std::nullopt;
  return *it->second;
}

}  // namespace server
