// Questions about identity and permission: TokenReview, SelfSubjectReview, the access reviews and the rules review.
#include <fmt/format.h>

#include "base/time.h"
#include "server/apiserver/operations/operations.h"

namespace server {

using base::json::array;
using base::json::object;
using base::json::value;

namespace {

array strings(const std::vector<std::string>& in) {
  array out;
  for (const std::string& s : in) out.emplace_back(s);
  return out;
}

object user_object(const UserInfo& user) {
  object out{{"username", user.name}};
  if (!user.uid.empty()) out["uid"] = user.uid;
  if (!user.groups.empty()) out["groups"] = strings(user.groups);
  if (!user.extra.empty()) {
    object extra;
    for (const auto& [key, values] : user.extra) extra[key] = strings(values);
    out["extra"] = std::move(extra);
  }
  return out;
}

Reply created(value v) {
  object& o = v.as_object();
  if (!o.contains("metadata")) o["metadata"] = object{};
  return {201, base::make_bytes(base::to_text(o)), nullptr};
}

Access access_of(const value& spec) {
  Access a;
  if (const object* r = base::find_object(spec, "resourceAttributes")) {
    a.verb = text_of(*r, "verb");
    a.group = text_of(*r, "group");
    a.version = text_of(*r, "version");
    a.resource = text_of(*r, "resource");
    a.subresource = text_of(*r, "subresource");
    a.ns = text_of(*r, "namespace");
    a.name = text_of(*r, "name");
    if (a.resource.empty()) a.resource = "*";
  } else {
    a.verb = base::get_string(spec, "nonResourceAttributes.verb");
    a.path = base::get_string(spec, "nonResourceAttributes.path");
  }
  return a;
}

}  // namespace

Task<Result<Reply>> Operations::review(Target t, Call& call, value v) {
  const std::string& kind = t.resource->kind->kind;
  if (kind == "TokenReview") co_return co_await review_token(std::move(v));
  if (kind == "SelfSubjectReview") {
    v.as_object()["status"] = object{{"userInfo", user_object(*call.user)}};
    metadata_of(v.as_object())["creationTimestamp"] = base::now_rfc3339();
    co_return created(std::move(v));
  }
  if (kind == "SelfSubjectRulesReview") co_return review_rules(call, std::move(v));
  if (kind.ends_with("AccessReview")) co_return co_await review_access(std::move(t), call, std::move(v));
  co_return base::fail(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}

Task<Result<Reply>> Operations::review_token(value v) {
  std::vector<std::string> audiences;
  if (const array* list = base::find_array(v, "spec.audiences"))
    for (const value& a : *list)
      if (a.is_string()) audiences.emplace_back(a.get_string());
  auto verified = authenticator_.verify_token(std::string(base::get_string(v, "spec.token")), audiences);
  object status;
  if (verified) {
    status["authenticated"] = true;
    status["user"] = user_object(verified->user);
    if (!verified->audiences.empty()) status["audiences"] = strings(verified->audiences);
  } else {
    status["user"] = object{};
    status["error"] = verified.error().message;
  }
  v.as_object()["status"] = std::move(status);
  co_return created(std::move(v));
}

Task<Result<Reply>> Operations::review_access(Target t, Call& call, value v) {
  const std::string kind = t.resource->kind->kind;
  const value* spec = v.as_object().if_contains("spec");
  static const value none = object{};
  if (!spec) spec = &none;
  Access a = access_of(*spec);
  std::vector<base::Cause> causes;
  bool resource = base::find_object(*spec, "resourceAttributes"), other = base::find_object(*spec, "nonResourceAttributes");
  if (resource == other)
    causes.push_back(invalid_value("spec.resourceAttributes", value(nullptr), "exactly one of nonResourceAttributes or resourceAttributes must be specified"));
  UserInfo user = *call.user;
  if (kind != "SelfSubjectAccessReview") {
    user = {};
    user.name = base::get_string(*spec, "user");
    user.uid = base::get_string(*spec, "uid");
    if (const array* groups = base::find_array(*spec, "groups"))
      for (const value& g : *groups)
        if (g.is_string()) user.groups.emplace_back(g.get_string());
    if (user.name.empty() && user.groups.empty()) causes.push_back(invalid_value("spec.user", value(""), "at least one of user or group must be specified"));
  }
  if (kind == "LocalSubjectAccessReview" && a.ns != t.ns)
    causes.push_back(invalid_value("spec.resourceAttributes.namespace", value(a.ns), "must match metadata.namespace"));
  if (!causes.empty()) co_return base::invalid(kind + ".authorization.k8s.io", "", std::move(causes));
  Decision d = co_await authorizer_.decide(user, a);
  object status{{"allowed", d.allowed}};
  if (!d.reason.empty()) status["reason"] = d.reason;
  v.as_object()["status"] = std::move(status);
  co_return created(std::move(v));
}

Result<Reply> Operations::review_rules(Call& call, value v) {
  std::string ns(base::get_string(v, "spec.namespace"));
  if (ns.empty()) return base::bad_request("no namespace on request");
  array resources, others;
  for (const PolicyRule& rule : authorizer_.rbac().rules_for(*call.user, ns)) {
    if (!rule.resources.empty()) {
      object one{{"verbs", strings(rule.verbs)}, {"apiGroups", strings(rule.groups)}, {"resources", strings(rule.resources)}};
      if (!rule.names.empty()) one["resourceNames"] = strings(rule.names);
      resources.push_back(std::move(one));
    }
    if (!rule.urls.empty()) others.push_back(object{{"verbs", strings(rule.verbs)}, {"nonResourceURLs", strings(rule.urls)}});
  }
  v.as_object()["status"] = object{{"resourceRules", std::move(resources)}, {"nonResourceRules", std::move(others)}, {"incomplete", false}};
  return created(std::move(v));
}

}  // namespace server
