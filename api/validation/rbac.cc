// Roles and their bindings.
#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

constexpr std::string_view kGroup = "rbac.authorization.k8s.io";

void rules(Checker& c, const object& o, bool namespaced) {
  const array& all = list(o, "rules");
  for (size_t i = 0; i < all.size(); ++i) {
    const object& rule = as_object(all[i]);
    std::string at = fmt::format("rules[{}]", i);
    bool urls = !list(rule, "nonResourceURLs").empty(), resources = !list(rule, "resources").empty(),
         groups = !list(rule, "apiGroups").empty();
    if (urls) {
      if (namespaced)
        c.invalid(at + ".nonResourceURLs", *rule.if_contains("nonResourceURLs"), "namespaced rules cannot apply to non-resource URLs");
      if (groups || resources || !list(rule, "resourceNames").empty()) {
        c.invalid(at + ".nonResourceURLs", *rule.if_contains("nonResourceURLs"),
                  "rules cannot apply to both regular resources and non-resource URLs");
      }
      continue;
    }
    if (!groups) c.required(at + ".apiGroups", "resource rules must supply at least one api group");
    if (!resources) c.required(at + ".resources", "resource rules must supply at least one resource");
  }
}

void binding(Checker& c, const object* before, const object& o, bool namespaced) {
  const object& role = map(o, "roleRef");
  if (text(role, "apiGroup") != kGroup) c.unsupported("roleRef.apiGroup", text(role, "apiGroup"), {kGroup});
  std::string_view kind = text(role, "kind");
  if (namespaced && !kind.empty() && kind != "Role" && kind != "ClusterRole") c.unsupported("roleRef.kind", kind, {"ClusterRole", "Role"});
  if (!namespaced && !kind.empty() && kind != "ClusterRole") c.unsupported("roleRef.kind", kind, {"ClusterRole"});
  if (std::string_view name = text(role, "name"); !name.empty()) c.check_text("roleRef.name", name, check_path_segment(name));
  const array& subjects = list(o, "subjects");
  for (size_t i = 0; i < subjects.size(); ++i) {
    const object& s = as_object(subjects[i]);
    std::string at = fmt::format("subjects[{}]", i);
    std::string_view k = text(s, "kind"), group = text(s, "apiGroup");
    if (k == "ServiceAccount") {
      if (!text(s, "name").empty()) c.check_text(at + ".name", text(s, "name"), check_dns1123_subdomain(text(s, "name")));
      if (!group.empty()) c.unsupported(at + ".apiGroup", group, {""});
      if (text(s, "namespace").empty()) c.required(at + ".namespace");
    } else if (k == "User" || k == "Group") {
      if (group != kGroup) c.unsupported(at + ".apiGroup", group, {kGroup});
    } else if (!k.empty()) {
      c.unsupported(at + ".kind", k, {"Group", "ServiceAccount", "User"});
    }
  }
  if (before) c.immutable(*before, o, "roleRef", "roleRef", "cannot change roleRef");
}

void role(Checker& c, const object*, const object& o) { rules(c, o, true); }

void cluster_role(Checker& c, const object*, const object& o) {
  rules(c, o, false);
  if (has(o, "aggregationRule") && list(map(o, "aggregationRule"), "clusterRoleSelectors").empty()) {
    c.required("aggregationRule.clusterRoleSelectors", "at least one clusterRoleSelector required if aggregationRule is non-nil");
  }
}

void role_binding(Checker& c, const object* before, const object& o) { binding(c, before, o, true); }
void cluster_role_binding(Checker& c, const object* before, const object& o) { binding(c, before, o, false); }

constexpr KindRule kind_rules[] = {{kGroup, "Role", role},
                                   {kGroup, "ClusterRole", cluster_role},
                                   {kGroup, "RoleBinding", role_binding},
                                   {kGroup, "ClusterRoleBinding", cluster_role_binding}};

}  // namespace

std::span<const KindRule> access_rules() { return kind_rules; }

}  // namespace api::validation
