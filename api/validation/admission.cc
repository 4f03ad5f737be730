// Webhook configurations and admission policies. Expressions are not compiled here.
#include <algorithm>
#include <set>

#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void check_wildcard(Checker& c, const object& o, std::string_view name, const std::string& path) {
  const array& values = list(o, name);
  std::string at = fmt::format("{}.{}", path, name);
  if (values.empty()) c.required(at);
  bool all = std::any_of(values.begin(), values.end(), [](const value& v) { return as_text(v) == "*"; });
  if (all && values.size() > 1) c.invalid(at, value(values), fmt::format("if '*' is present, must not specify other {}", name == "apiGroups" ? "API groups" : name == "apiVersions" ? "API versions" : name));
  for (size_t i = 0; i < values.size(); ++i) {
    if (as_text(values[i]).empty() && name != "apiGroups") c.required(fmt::format("{}[{}]", at, i));
  }
}

void rule(Checker& c, const object& o, const std::string& path) {
  check_wildcard(c, o, "operations", path);
  check_wildcard(c, o, "apiGroups", path);
  check_wildcard(c, o, "apiVersions", path);
  const array& resources = list(o, "resources");
  if (resources.empty()) c.required(path + ".resources");
  std::set<std::string> whole, subs;
  for (size_t i = 0; i < resources.size(); ++i) {
    std::string_view r = as_text(resources[i]);
    std::string at = fmt::format("{}.resources[{}]", path, i);
    if (r.empty()) c.required(at);
    if (r == "*/*" && resources.size() > 1)
      c.invalid(path + ".resources", value(resources), "if '*/*' is present, must not specify other resources");
    size_t slash = r.find('/');
    std::string_view name = r.substr(0, slash), sub = slash == std::string_view::npos ? std::string_view() : r.substr(slash + 1);
    if (!sub.empty() && whole.contains(std::string(name) + "/*"))
      c.invalid(at, resources[i], fmt::format("if '{}/*' is present, must not specify {}", name, r));
    if (sub.empty() && name != "*" && whole.contains("*"))
      c.invalid(at, resources[i], fmt::format("if '*' is present, must not specify resources without subresources"));
    whole.emplace(r);
  }
}

void client_config(Checker& c, const object& o, const std::string& path) {
  bool url = has(o, "url"), service = has(o, "service");
  if (url == service) c.required(path, "exactly one of url or service is required");
  if (url) {
    std::string_view u = text(o, "url");
    std::string_view form = "; desired format: https://host[/path]";
    if (!u.starts_with("https://")) c.invalid_text(path + ".url", u, fmt::format("'https' is the only allowed URL scheme{}", form));
    else if (u.substr(8).empty() || u[8] == '/') c.invalid_text(path + ".url", u, fmt::format("host must be specified{}", form));
    if (u.find('@') != std::string_view::npos) c.invalid_text(path + ".url", u, "user information is not permitted in the URL");
    if (u.find('#') != std::string_view::npos) c.invalid_text(path + ".url", u, "fragments are not permitted in the URL");
    if (u.find('?') != std::string_view::npos) c.invalid_text(path + ".url", u, "query parameters are not permitted in the URL");
  }
}

void service_reference(Checker& c, const object& o, const std::string& path) {
  if (std::string_view p = text(o, "path"); !p.empty()) {
    if (p.front() != '/') c.invalid_text(path + ".path", p, "must start with a '/'");
    if (p.find("//") != std::string_view::npos) c.invalid_text(path + ".path", p, "segment[0] may not be empty");
  }
  int64_t port = number(o, "port", 443);
  if (port < 1 || port > 65535) c.invalid(path + ".port", value(port), "port is not valid: must be between 1 and 65535, inclusive");
}

void check_conditions(Checker& c, const object& o, const std::string& path) {
  const array& all = list(o, "matchConditions");
  std::string at = path.empty() ? "matchConditions" : path + ".matchConditions";
  if (all.size() > 64) c.too_many(at, all.size(), 64);
  std::set<std::string_view> names;
  for (size_t i = 0; i < all.size(); ++i) {
    std::string_view name = text(as_object(all[i]), "name");
    if (name.empty()) continue;
    c.check_text(fmt::format("{}[{}].name", at, i), name, check_qualified_name(name));
    if (!names.insert(name).second) c.duplicate(fmt::format("{}[{}].name", at, i), name);
  }
}

void webhooks(Checker& c, const object*, const object& o) {
  const array& all = list(o, "webhooks");
  std::set<std::string_view> names;
  for (size_t i = 0; i < all.size(); ++i) {
    const object& w = as_object(all[i]);
    std::string at = fmt::format("webhooks[{}]", i);
    std::string_view name = text(w, "name");
    if (!name.empty()) {
      c.check_text(at + ".name", name, check_dns1123_subdomain(name));
      if (std::count(name.begin(), name.end(), '.') < 2)
        c.invalid_text(at + ".name", name, "should be a domain with at least three segments separated by dots");
      if (!names.insert(name).second) c.duplicate(at + ".name", name);
    }
    std::string_view effects = text(w, "sideEffects");
    if (effects == "Unknown" || effects == "Some") c.unsupported(at + ".sideEffects", effects, {"None", "NoneOnDryRun"});
    const array& versions = list(w, "admissionReviewVersions");
    bool known =
        std::any_of(versions.begin(), versions.end(), [](const value& v) { return as_text(v) == "v1" || as_text(v) == "v1beta1"; });
    if (!versions.empty() && !known)
      c.invalid(at + ".admissionReviewVersions", value(versions), "must include at least one of v1, v1beta1");
    std::set<std::string_view> seen;
    for (size_t j = 0; j < versions.size(); ++j) {
      if (!seen.insert(as_text(versions[j])).second)
        c.invalid(fmt::format("{}.admissionReviewVersions[{}]", at, j), versions[j], "duplicate version");
    }
    check_conditions(c, w, at);
  }
}

void check_constraints(Checker& c, const object& spec) {
  const object& match = map(spec, "matchConstraints");
  if (!has(spec, "matchConstraints")) c.required("spec.matchConstraints");
  else if (list(match, "resourceRules").empty()) c.required("spec.matchConstraints.resourceRules");
}

void check_variables(Checker& c, const object& spec) {
  const array& all = list(spec, "variables");
  std::set<std::string_view> names;
  for (size_t i = 0; i < all.size(); ++i) {
    std::string_view name = text(as_object(all[i]), "name");
    std::string at = fmt::format("spec.variables[{}].name", i);
    if (name.empty()) continue;
    if (!check_c_identifier(name).empty()) c.invalid_text(at, name, "name is not a valid CEL identifier");
    if (!names.insert(name).second) c.duplicate(at, name);
  }
}

void validating_policy(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  check_constraints(c, spec);
  check_variables(c, spec);
  check_conditions(c, spec, "spec");
  const array& validations = list(spec, "validations");
  if (validations.empty() && list(spec, "auditAnnotations").empty()) {
    c.required("spec.validations", "validations or auditAnnotations must be non-empty");
    c.required("spec.auditAnnotations", "validations or auditAnnotations must be non-empty");
  }
  for (size_t i = 0; i < validations.size(); ++i) {
    const object& v = as_object(validations[i]);
    std::string at = fmt::format("spec.validations[{}]", i);
    std::string_view reason = text(v, "reason"), message = text(v, "message");
    if (text(v, "expression").find_first_not_of(" \n\t") == std::string_view::npos && !text(v, "expression").empty())
      c.required(at + ".expression", "expression is not specified");
    if (!reason.empty() && reason != "Unauthorized" && reason != "Forbidden" && reason != "Invalid" && reason != "RequestEntityTooLarge") {
      c.unsupported(at + ".reason", reason, {"Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"});
    }
    if (message.find('\n') != std::string_view::npos) c.invalid_text(at + ".message", message, "message must not contain line breaks");
    if (text(v, "expression").find('\n') != std::string_view::npos && message.empty()) {
      c.required(at + ".message", "message must be specified if expression contains line breaks");
    }
  }
  const array& annotations = list(spec, "auditAnnotations");
  if (annotations.size() > 20) c.too_many("spec.auditAnnotations", annotations.size(), 20);
}

void mutating_policy(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  check_constraints(c, spec);
  check_variables(c, spec);
  check_conditions(c, spec, "spec");
  const array& mutations = list(spec, "mutations");
  if (mutations.empty()) c.required("spec.mutations", "mutations must contain at least one item");
  for (size_t i = 0; i < mutations.size(); ++i) {
    const object& m = as_object(mutations[i]);
    std::string at = fmt::format("spec.mutations[{}]", i);
    bool json = text(m, "patchType") == "JSONPatch";
    std::string_view wanted = json ? "jsonPatch" : "applyConfiguration", other = json ? "applyConfiguration" : "jsonPatch";
    if (!has(m, wanted))
      c.required(fmt::format("{}.{}", at, wanted), fmt::format("must be specified when patchType is {}", text(m, "patchType")));
    if (has(m, other))
      c.invalid(fmt::format("{}.{}", at, other), *m.if_contains(other),
                fmt::format("must not be specified when patchType is {}", text(m, "patchType")));
  }
  if (text(spec, "reinvocationPolicy").empty()) c.required("spec.reinvocationPolicy");
}

void check_param_ref(Checker& c, const object& spec) {
  if (!has(spec, "paramRef")) return;
  const object& ref = map(spec, "paramRef");
  bool name = !text(ref, "name").empty(), selector = has(ref, "selector");
  if (name && selector) c.forbidden("spec.paramRef.name", "name and selector are mutually exclusive");
  if (!name && !selector) c.required("spec.paramRef", "one of name or selector must be specified");
  if (text(ref, "parameterNotFoundAction").empty()) c.required("spec.paramRef.parameterNotFoundAction");
}

void policy_binding(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  if (text(spec, "policyName").empty()) c.required("spec.policyName");
  else c.check_text("spec.policyName", text(spec, "policyName"), check_dns1123_subdomain(text(spec, "policyName")));
  check_param_ref(c, spec);
}

void validating_binding(Checker& c, const object* before, const object& o) {
  policy_binding(c, before, o);
  const array& actions = list(map(o, "spec"), "validationActions");
  if (actions.empty()) c.required("spec.validationActions");
  std::set<std::string_view> seen;
  for (size_t i = 0; i < actions.size(); ++i) {
    if (!seen.insert(as_text(actions[i])).second) c.duplicate(fmt::format("spec.validationActions[{}]", i), as_text(actions[i]));
  }
  if (seen.contains("Deny") && seen.contains("Warn")) {
    c.invalid("spec.validationActions", value(actions),
              "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers "
              "serves no purpose)");
  }
}

constexpr std::string_view group = "admissionregistration.k8s.io";
constexpr TypeRule type_rules[] = {
    {"admissionregistration.v1.RuleWithOperations", rule},
    {"admissionregistration.v1.NamedRuleWithOperations", rule},
    {"admissionregistration.v1.WebhookClientConfig", client_config},
    {"admissionregistration.v1.ServiceReference", service_reference},
};
constexpr KindRule kind_rules[] = {
    {group, "ValidatingWebhookConfiguration", webhooks},       {group, "MutatingWebhookConfiguration", webhooks},
    {group, "ValidatingAdmissionPolicy", validating_policy},   {group, "MutatingAdmissionPolicy", mutating_policy},
    {group, "ValidatingAdmissionPolicyBinding", validating_binding}, {group, "MutatingAdmissionPolicyBinding", policy_binding},
};

}  // namespace

std::span<const TypeRule> admission_type_rules() { return type_rules; }
std::span<const KindRule> admission_rules() { return kind_rules; }

}  // namespace api::validation
