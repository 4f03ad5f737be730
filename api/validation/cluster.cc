// Classes, leases, extensions and other kinds that administer the cluster.
#include <set>

#include "api/validate_names.h"
#include "api/validation/checker.h"

namespace api::validation {
namespace {

void storage_class(Checker& c, const object* before, const object& o) {
  if (!before) return;
  for (std::string_view n : {"parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"}) {
    const value* b = before->if_contains(n);
    const value* a = o.if_contains(n);
    if ((b ? *b : value()) != (a ? *a : value())) c.forbidden(std::string(n), fmt::format("updates to {} are forbidden.", n));
  }
}

void priority_class(Checker& c, const object* before, const object& o) {
  std::string_view name = text(map(o, "metadata"), "name");
  int64_t v = number(o, "value");
  bool system = name.starts_with("system-");
  if (system && name != "system-node-critical" && name != "system-cluster-critical") {
    c.forbidden("metadata.name", "priority class names with 'system-' prefix are reserved for system use only. error: " + std::string(name) + " is not a known system priority class");
  }
  if (!system && v > 1'000'000'000) c.forbidden("value", "maximum allowed value of a user defined priority is 1000000000");
  if (!before) return;
  if (number(*before, "value") != v) c.forbidden("value", "may not be changed in an update.");
  if (text(*before, "preemptionPolicy") != text(o, "preemptionPolicy")) {
    c.invalid_text("preemptionPolicy", text(o, "preemptionPolicy"), "field is immutable");
  }
}

void lease(Checker& c, const object& o) {
  const object& spec = map(o, "spec");
  if (has(spec, "leaseDurationSeconds") && number(spec, "leaseDurationSeconds") <= 0) {
    c.invalid("spec.leaseDurationSeconds", *spec.if_contains("leaseDurationSeconds"), "must be greater than 0");
  }
  c.non_negative(spec, "leaseTransitions", "spec");
}

void node(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  std::set<std::string> seen;
  const array& taints = list(spec, "taints");
  for (size_t i = 0; i < taints.size(); ++i) {
    const object& t = as_object(taints[i]);
    std::string at = fmt::format("spec.taints[{}]", i);
    c.check_text(at + ".key", text(t, "key"), check_qualified_name(text(t, "key")));
    c.check_text(at + ".value", text(t, "value"), check_label_value(text(t, "value")));
    if (!seen.insert(fmt::format("{}:{}", text(t, "key"), text(t, "effect"))).second) c.duplicate(at, taints[i]);
  }
  if (!before) return;
  const object& old = map(*before, "spec");
  if (has(old, "podCIDR") && text(old, "podCIDR") != text(spec, "podCIDR")) {
    c.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
  }
  if (has(old, "providerID") && text(old, "providerID") != text(spec, "providerID")) {
    c.forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid");
  }
}

void custom_resource_definition(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  const object& names = map(spec, "names");
  std::string expected = fmt::format("{}.{}", text(names, "plural"), text(spec, "group"));
  if (std::string_view name = text(map(o, "metadata"), "name"); name != expected) {
    c.invalid_text("metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
  }
  if (std::string_view group = text(spec, "group"); !group.empty()) {
    c.check_text("spec.group", group, check_dns1123_subdomain(group));
    if (group.find('.') == std::string_view::npos) c.invalid_text("spec.group", group, "should be a domain with at least one dot");
  }
  for (std::string_view n : {"plural", "singular"}) {
    if (std::string_view v = text(names, n); !v.empty()) c.check_text(fmt::format("spec.names.{}", n), v, check_dns1035_label(v));
  }
  const array& versions = list(spec, "versions");
  int stored = 0;
  std::set<std::string> seen;
  for (size_t i = 0; i < versions.size(); ++i) {
    const object& v = as_object(versions[i]);
    std::string at = fmt::format("spec.versions[{}]", i);
    stored += flag(v, "storage");
    if (!text(v, "name").empty()) c.check_text(at + ".name", text(v, "name"), check_dns1035_label(text(v, "name")));
    if (!seen.emplace(text(v, "name")).second) c.invalid_text(at + ".name", text(v, "name"), "must be unique");
    if (!has(map(v, "schema"), "openAPIV3Schema")) c.required(at + ".schema.openAPIV3Schema", "schemas are required");
  }
  if (!versions.empty() && stored != 1) c.invalid("spec.versions", spec.at("versions"), "must have exactly one version marked as storage version");
  if (!before) return;
  const object& old = map(*before, "spec");
  c.immutable(old, spec, "group", "spec.group");
  c.immutable(old, spec, "scope", "spec.scope");
  c.immutable(map(old, "names"), names, "plural", "spec.names.plural");
  c.immutable(map(old, "names"), names, "kind", "spec.names.kind");
}

void api_service(Checker& c, const object& o) {
  const object& spec = map(o, "spec");
  std::string expected = fmt::format("{}.{}", text(spec, "version"), text(spec, "group"));
  if (std::string_view name = text(map(o, "metadata"), "name"); name != expected) {
    c.invalid_text("metadata.name", name, fmt::format("must be `spec.version+\".\"+spec.group`: \"{}\"", expected));
  }
  int64_t g = number(spec, "groupPriorityMinimum"), v = number(spec, "versionPriority");
  if (g <= 0 || g > 20000) c.invalid("spec.groupPriorityMinimum", value(g), "must be positive and less than 20000");
  if (v <= 0 || v > 1000) c.invalid("spec.versionPriority", value(v), "must be positive and less than 1000");
  if (flag(spec, "insecureSkipTLSVerify") && has(spec, "caBundle")) {
    c.invalid("spec.insecureSkipTLSVerify", true, "may not be true if caBundle is present");
  }
}

void webhooks(Checker& c, const object& o) {
  const array& all = list(o, "webhooks");
  for (size_t i = 0; i < all.size(); ++i) {
    const object& w = as_object(all[i]);
    std::string at = fmt::format("webhooks[{}]", i);
    const object& client = map(w, "clientConfig");
    bool url = has(client, "url"), service = has(client, "service");
    if (url == service) c.required(at + ".clientConfig", "exactly one of url or service is required");
    if (url && !text(client, "url").starts_with("https://")) {
      c.invalid_text(at + ".clientConfig.url", text(client, "url"), "'https' is the only allowed URL scheme; desired format: https://host[/path]");
    }
    int64_t seconds = number(w, "timeoutSeconds", 10);
    if (seconds < 1 || seconds > 30) c.invalid(at + ".timeoutSeconds", value(seconds), "the timeout value must be between 1 and 30 seconds");
    if (std::string_view name = text(w, "name"); !name.empty()) c.check_text(at + ".name", name, check_dns1123_subdomain(name));
    check_label_selector(c, map(w, "namespaceSelector"), at + ".namespaceSelector");
    check_label_selector(c, map(w, "objectSelector"), at + ".objectSelector");
  }
}

void certificate_request(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  if (list(spec, "usages").empty()) c.required("spec.usages", "usages are required for signing requests");
  if (std::string_view name = text(spec, "signerName"); !name.empty() && name.find('/') == std::string_view::npos) {
    c.invalid_text("spec.signerName", name, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
  }
  if (has(spec, "expirationSeconds") && number(spec, "expirationSeconds") < 600) {
    c.invalid("spec.expirationSeconds", *spec.if_contains("expirationSeconds"), "may not specify a duration less than 600 seconds (10 minutes)");
  }
  if (before && map(*before, "spec") != spec) c.invalid("spec", value(spec), "field is immutable");
}

}  // namespace

bool check_cluster(Checker& c, const Kind& kind, const object* before, const object& o) {
  std::string_view k = kind.kind;
  if (k == "StorageClass") storage_class(c, before, o);
  else if (k == "PriorityClass") priority_class(c, before, o);
  else if (k == "Lease") lease(c, o);
  else if (k == "Node" && kind.group.empty()) node(c, before, o);
  else if (k == "RuntimeClass" && before) c.immutable(*before, o, "handler", "handler");
  else if (k == "CustomResourceDefinition") custom_resource_definition(c, before, o);
  else if (k == "APIService") api_service(c, o);
  else if (k == "ValidatingWebhookConfiguration" || k == "MutatingWebhookConfiguration") webhooks(c, o);
  else if (k == "CertificateSigningRequest") certificate_request(c, before, o);
  else return false;
  return true;
}

}  // namespace api::validation
