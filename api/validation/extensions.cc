// CustomResourceDefinitions and APIServices.
#include <set>

#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

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
  if (!versions.empty() && stored != 1)
    c.invalid("spec.versions", spec.at("versions"), "must have exactly one version marked as storage version");
  if (!before) return;
  const object& old = map(*before, "spec");
  c.immutable(old, spec, "group", "spec.group");
  c.immutable(old, spec, "scope", "spec.scope");
  c.immutable(map(old, "names"), names, "plural", "spec.names.plural");
  c.immutable(map(old, "names"), names, "kind", "spec.names.kind");
}

void api_service(Checker& c, const object*, const object& o) {
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

constexpr KindRule kind_rules[] = {
    {"apiextensions.k8s.io", "CustomResourceDefinition", custom_resource_definition},
    {"apiregistration.k8s.io", "APIService", api_service},
};

}  // namespace

std::span<const KindRule> extension_rules() { return kind_rules; }

}  // namespace api::validation
