// RBAC escalation: nobody grants what he does not have, neither by writing a role nor by binding one, unless allowed to `escalate` or `bind`.
#include <fmt/format.h>

#include "server/apiserver/admission/all.h"

namespace server {
namespace {

using base::json::value;

constexpr std::string_view group = "rbac.authorization.k8s.io";

std::string rule_text(const PolicyRule& r) {
  auto list = [](std::string_view name, const std::vector<std::string>& items) {
    if (items.empty()) return std::string();
    std::string out;
    for (const std::string& i : items) out += fmt::format("{}\"{}\"", out.empty() ? "" : " ", i);
    return fmt::format("{}:[{}]", name, out);
  };
  std::string out;
  for (const std::string& part : {list("APIGroups", r.groups), list("Resources", r.resources), list("ResourceNames", r.names),
                                  list("NonResourceURLs", r.urls), list("Verbs", r.verbs)})
    if (!part.empty()) out += (out.empty() ? "" : ", ") + part;
  return "{" + out + "}";
}

class Escalation final : public AdmissionPlugin {
 public:
  explicit Escalation(const Authorizer& authorizer) : authorizer_(authorizer) {}
  std::string_view name() const override { return "RbacEscalation"; }
  bool handles(const Admit& a) const override {
    return a.attempt.resource.group == group && (a.operation == Operation::create || a.operation == Operation::update) &&
           !a.attempt.call.user->in_group("system:masters");
  }

  base::Task<Result<>> validate(Admit a) override {
    const std::string& resource = a.attempt.resource.resource;
    const UserInfo& user = *a.attempt.call.user;
    const bool role = resource == "roles" || resource == "clusterroles";
    if (a.before && only_collected(*a.object, *a.before)) co_return Result<>{};
    Access ask;
    ask.group = group;
    ask.version = "v1";
    std::vector<PolicyRule> wanted;
    if (role) {
      ask.verb = "escalate";
      ask.resource = resource;
      ask.ns = a.attempt.ns;
      ask.name = a.attempt.name;
      wanted = Rbac::parse_rules(base::find_array(*a.object, "rules"));
      // Gathering may gather anything: who asks for it must hold everything.
      if (gathers(*a.object) && !(a.before && same(*a.object, *a.before, "aggregationRule"))) {
        wanted.push_back({{"*"}, {"*"}, {"*"}, {}, {}});
        wanted.push_back({{"*"}, {}, {}, {}, {"*"}});
      }
    } else {
      std::string role_name(base::get_string(*a.object, "roleRef.name"));
      bool cluster = base::get_string(*a.object, "roleRef.kind") != "Role";
      ask.verb = "bind";
      ask.resource = cluster ? "clusterroles" : "roles";
      ask.ns = a.attempt.ns;
      ask.name = role_name;
      auto rules = authorizer_.rbac().role_rules(cluster ? std::string() : a.attempt.ns, role_name);
      if (rules) wanted = std::move(*rules);
      else
        co_return co_await denied_unless(user, ask, a,
                                         base::not_found((cluster ? "clusterroles." : "roles.") + std::string(group), role_name));
    }
    std::vector<PolicyRule> owned = authorizer_.rbac().rules_for(user, a.attempt.ns);
    std::string missing;
    for (const PolicyRule& r : wanted)
      if (!rules_cover(owned, r)) missing += "\n" + rule_text(r);
    if (missing.empty()) co_return Result<>{};
    std::string groups;
    for (const std::string& g : user.groups) groups += fmt::format("{}\"{}\"", groups.empty() ? "" : " ", g);
    co_return co_await denied_unless(
        user, ask, a,
        base::forbidden(a.attempt.resource.qualified, a.attempt.name,
                        fmt::format("user \"{}\" (groups=[{}]) is attempting to grant RBAC permissions not currently held:{}", user.name,
                                    groups, missing)));
  }

 private:
  static bool same(const value& now, const value& before, std::string_view path) {
    const value *a = base::find(now, path), *b = base::find(before, path);
    return !a == !b && (!a || *a == *b);
  }
  static bool gathers(const value& role) {
    const base::json::array* selectors = base::find_array(role, "aggregationRule.clusterRoleSelectors");
    return selectors && !selectors->empty();
  }
  // What the garbage collector does. Anything else counts as granting anew: a label alone can make a role part of another.
  static bool only_collected(value now, value before) {
    for (value* v : {&now, &before}) {
      base::json::object& meta = metadata_of(v->as_object());
      for (std::string_view field : {"finalizers", "ownerReferences", "managedFields", "resourceVersion", "generation"}) meta.erase(field);
    }
    return now == before;
  }

  base::Task<Result<>> denied_unless(const UserInfo& user, Access ask, Admit, base::Failure otherwise) {
    Decision d = co_await authorizer_.decide(user, std::move(ask));
    if (d.allowed) co_return Result<>{};
    co_return otherwise;
  }
  const Authorizer& authorizer_;
};

}  // namespace

Plugin make_escalation_admission(const Authorizer& authorizer) { return std::make_unique<Escalation>(authorizer); }

}  // namespace server
