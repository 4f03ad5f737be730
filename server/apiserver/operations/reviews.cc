// Questions about identity and permission: TokenReview, SelfSubjectReview, the access reviews and the rules review.
#include <fmt/format.h>

#include "api/selector.h"
#include "base/time.h"
#include "server/apiserver/auth/node_access.h"
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

std::vector<std::string> texts(const value& v, std::string_view path) {
  std::vector<std::string> out;
  if (const array* list = base::find_array(v, path))
    for (const value& one : *list)
      if (one.is_string()) out.emplace_back(one.get_string());
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

// One of the two selectors of a review: a text or requirements, not both and not neither.
void check_selector(const value& spec, std::string_view name, std::vector<base::Cause>& causes) {
  const std::string path = fmt::format("resourceAttributes.{}", name), field = "spec." + path;
  const object* selector = base::find_object(spec, path);
  if (!selector) return;
  const std::string_view raw = text_of(*selector, "rawSelector");
  const array* requirements = base::find_array(spec, path + ".requirements");
  const bool listed = requirements && !requirements->empty();
  if (!raw.empty() && listed)
    causes.push_back(invalid_value(field + ".rawSelector", value(raw), "may not specified at the same time as requirements"));
  if (raw.empty() && !listed)
    causes.push_back(
        required(field + ".requirements", fmt::format("when {} is specified, requirements or rawSelector is required", field)));
  if (!listed) return;
  for (size_t i = 0; i < requirements->size(); ++i) {
    const value& one = (*requirements)[i];
    const std::string at = fmt::format("{}.requirements[{}]", field, i);
    std::string_view op = base::get_string(one, "operator");
    const bool values = !texts(one, "values").empty();
    if (base::get_string(one, "key").empty()) causes.push_back(required(at + ".key", "must be specified"));
    if (op == "In" || op == "NotIn") {
      if (!values) causes.push_back(required(at + ".values", "must be specified when `operator` is 'In' or 'NotIn'"));
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (values) causes.push_back(forbidden_field(at + ".values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
    } else {
      causes.push_back(invalid_value(at + ".operator", value(op), "not a valid selector operator"));
    }
  }
}

// A name that a field selector asks for, as on a list or watch request; `problem` when the selector cannot be read, which is ignored then.
std::string selected_name(const value& spec, std::string& problem) {
  const object* selector = base::find_object(spec, "resourceAttributes.fieldSelector");
  if (!selector) return {};
  if (std::string_view raw = text_of(*selector, "rawSelector"); !raw.empty()) {
    auto parsed = api::FieldSelector::parse(raw);
    if (parsed) return parsed->required_value("metadata.name").value_or(std::string());
    problem = "spec.resourceAttributes.fieldSelector ignored due to parse error";
    return {};
  }
  if (const array* requirements = base::find_array(spec, "resourceAttributes.fieldSelector.requirements"))
    for (const value& one : *requirements)
      if (auto values = texts(one, "values");
          base::get_string(one, "key") == "metadata.name" && base::get_string(one, "operator") == "In" && values.size() == 1)
        return values[0];
  return {};
}

Access access_of(const value& spec, std::string& problem) {
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
    a.selected_name = selected_name(spec, problem);
    std::string_view labels = base::get_string(spec, "resourceAttributes.labelSelector.rawSelector");
    if (!labels.empty() && !api::LabelSelector::parse(labels))
      problem += fmt::format("{}spec.resourceAttributes.labelSelector ignored due to parse error", problem.empty() ? "" : "; ");
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
  std::string token(base::get_string(v, "spec.token"));
  if (token.empty()) co_return base::bad_request("token is required for TokenReview in authentication");
  auto verified = co_await authenticator_.verify_token(std::move(token), texts(v, "spec.audiences"));
  object status;
  if (verified) {
    status["authenticated"] = true;
    status["user"] = user_object(verified->user);
    status["audiences"] = strings(verified->audiences);
  } else {
    status["user"] = object{};
    status["error"] = verified.error().message;
  }
  v.as_object()["status"] = std::move(status);
  co_return created(std::move(v));
}

Task<Result<Reply>> Operations::review_access(Target t, Call& call, value v) {
  const std::string kind = t.resource->kind->kind;
  const value* given = v.as_object().if_contains("spec");
  const value spec = given && given->is_object() ? *given : value(object{});
  std::string problem;
  Access a = access_of(spec, problem);
  std::vector<base::Cause> causes;
  bool resource = base::find_object(spec, "resourceAttributes"), other = base::find_object(spec, "nonResourceAttributes");
  if (resource && other)
    causes.push_back(
        invalid_value("spec.nonResourceAttributes", value(nullptr), "cannot be specified in combination with resourceAttributes"));
  if (!resource && !other)
    causes.push_back(invalid_value("spec.resourceAttributes", value(nullptr),
                                   "exactly one of nonResourceAttributes or resourceAttributes must be specified"));
  check_selector(spec, "fieldSelector", causes);
  check_selector(spec, "labelSelector", causes);
  if (!text_of(metadata_of(v.as_object()), "name").empty())
    causes.push_back(invalid_value("metadata", v.as_object()["metadata"], "must be empty"));
  UserInfo user = *call.user;
  if (kind != "SelfSubjectAccessReview") {
    user = {};
    user.name = base::get_string(spec, "user");
    user.uid = base::get_string(spec, "uid");
    user.groups = texts(spec, "groups");
    if (user.name.empty() && user.groups.empty())
      causes.push_back(invalid_value("spec.user", value(""), "at least one of user or group must be specified"));
  }
  if (kind == "LocalSubjectAccessReview") {
    if (other) causes.push_back(invalid_value("spec.nonResourceAttributes", value(nullptr), "disallowed on this kind of request"));
    else if (a.ns != t.ns)
      causes.push_back(invalid_value("spec.resourceAttributes.namespace", value(a.ns), "must match metadata.namespace"));
  }
  if (!causes.empty()) co_return base::invalid(kind + ".authorization.k8s.io", "", std::move(causes));
  Decision d = co_await authorizer_.decide(user, a);
  object status{{"allowed", d.allowed}};
  if (!d.reason.empty()) status["reason"] = d.reason;
  if (!problem.empty()) status["evaluationError"] = problem;
  v.as_object()["status"] = std::move(status);
  co_return created(std::move(v));
}

Result<Reply> Operations::review_rules(Call& call, value v) {
  std::string ns(base::get_string(v, "spec.namespace"));
  if (ns.empty()) return base::bad_request("no namespace on request");
  array resources, others;
  std::string problems;
  for (const PolicyRule& rule : authorizer_.rbac().rules_for(*call.user, ns, &problems)) {
    if (!rule.resources.empty()) {
      object one{{"verbs", strings(rule.verbs)}, {"apiGroups", strings(rule.groups)}, {"resources", strings(rule.resources)}};
      if (!rule.names.empty()) one["resourceNames"] = strings(rule.names);
      resources.push_back(std::move(one));
    }
    if (!rule.urls.empty()) others.push_back(object{{"verbs", strings(rule.verbs)}, {"nonResourceURLs", strings(rule.urls)}});
  }
  // What the node authoriser grants depends on objects and cannot be listed.
  const bool node = node_of(*call.user).has_value();
  if (node) problems += fmt::format("{}node authorizer does not support user rule resolution", problems.empty() ? "" : "; ");
  object status{
      {"resourceRules", std::move(resources)}, {"nonResourceRules", std::move(others)}, {"incomplete", node || !problems.empty()}};
  if (!problems.empty()) status["evaluationError"] = problems;
  v.as_object()["status"] = std::move(status);
  return created(std::move(v));
}

}  // namespace server
