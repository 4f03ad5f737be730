#include "server/apiserver/bootstrap/role_reconciliation.h"

#include <algorithm>

#include "server/apiserver/auth/rbac.h"
#include "server/apiserver/registry/metadata.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

array list_of(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v && v->is_array() ? v->get_array() : array();
}

// Members of wanted[name] that now[name] lacks.
bool add_members(object& now, const object& wanted, std::string_view name) {
  const value* from = wanted.if_contains(name);
  if (!from || !from->is_object()) return false;
  value& into = now[name];
  if (!into.is_object()) into.emplace_object();
  bool changed = false;
  for (const auto& [key, v] : from->get_object())
    if (!into.get_object().contains(key)) {
      into.get_object()[key] = v;
      changed = true;
    }
  return changed;
}

// Elements of wanted[name] that `present` does not find in now[name].
template <class F>
bool add_elements(object& now, const object& wanted, std::string_view name, F present) {
  array have = list_of(now, name), more = list_of(wanted, name);
  const size_t before = have.size();
  for (const value& one : more)
    if (!present(have, one)) have.push_back(one);
  if (have.size() == before) return false;
  now[name] = std::move(have);
  return true;
}

bool holds(const array& have, const value& one) { return std::find(have.begin(), have.end(), one) != have.end(); }

bool grants(const array& have, const value& one) {
  const array single{one};
  return rules_cover(Rbac::parse_rules(&have), Rbac::parse_rules(&single).front());
}

bool same_subject(const value& a, const value& b) {
  for (std::string_view field : {"kind", "name", "namespace"})
    if (base::get_string(a, field) != base::get_string(b, field)) return false;
  return true;
}

}  // namespace

std::optional<Reconciled> reconcile_role(const object& wanted, const object& live) {
  const object& meta = metadata_of(live);
  if (const value* notes = meta.if_contains("annotations"); notes && notes->is_object())
    if (text_of(notes->get_object(), "rbac.authorization.kubernetes.io/autoupdate") == "false") return std::nullopt;
  if (const value* role = wanted.if_contains("roleRef"); role && (!live.contains("roleRef") || *role != live.at("roleRef"))) {
    // What users added stays bound, now to the right role.
    Reconciled out{wanted, true};
    add_elements(out.object, live, "subjects", [](const array& have, const value& one) {
      return std::any_of(have.begin(), have.end(), [&](const value& s) { return same_subject(s, one); });
    });
    return out;
  }
  Reconciled out{live, false};
  object& now = out.object;
  const object& wanted_meta = metadata_of(wanted);
  bool changed = add_members(metadata_of(now), wanted_meta, "labels");
  changed |= add_members(metadata_of(now), wanted_meta, "annotations");
  changed |= add_elements(now, wanted, "subjects", [](const array& have, const value& one) {
    return std::any_of(have.begin(), have.end(), [&](const value& s) { return same_subject(s, one); });
  });
  if (const value* gathers = wanted.if_contains("aggregationRule")) {
    // Its rules are those of the roles it selects: the aggregation controller's.
    value& rule = now["aggregationRule"];
    if (!rule.is_object()) rule.emplace_object();
    changed |= add_elements(rule.get_object(), gathers->get_object(), "clusterRoleSelectors", holds);
  } else {
    changed |= add_elements(now, wanted, "rules", grants);
  }
  if (!changed) return std::nullopt;
  return out;
}

}  // namespace server
