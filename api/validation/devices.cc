// Claims for devices, classes and slices (resource.k8s.io).
#include <algorithm>
#include <set>

#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void check_amounts(Checker& c, const object& o, const std::string& path) {
  std::string_view mode = text(o, "allocationMode");
  int64_t count = number(o, "count");
  if (mode == "ExactCount") {
    if (count <= 0) c.invalid(path + ".count", value(count), "must be greater than zero");
  } else if (mode == "All") {
    if (count != 0) c.invalid(path + ".count", value(count), "must not be specified when allocationMode is 'All'");
  } else if (!mode.empty()) {
    c.unsupported(path + ".allocationMode", mode, {"All", "ExactCount"});
  }
}

void device_toleration(Checker& c, const object& o, const std::string& path) {
  std::string_view key = text(o, "key"), op = text(o, "operator");
  if (!key.empty()) c.check_text(path + ".key", key, check_qualified_name(key));
  if (key.empty() && op != "Exists") c.required(path + ".key", "must be set unless the operator is Exists");
  if (op == "Exists" && !text(o, "value").empty()) c.invalid_text(path + ".value", text(o, "value"), "must be empty for operator `Exists`");
  if (op == "Equal" && !text(o, "value").empty()) c.check_text(path + ".value", text(o, "value"), check_label_value(text(o, "value")));
}

void device_request(Checker& c, const object& o, const std::string& path) {
  bool exactly = has(o, "exactly"), first = !list(o, "firstAvailable").empty();
  if (!exactly && !first) c.required(path, "exactly one of `exactly` or `firstAvailable` is required");
  if (exactly && first) c.invalid(path, value(o), "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set");
}

void selector(Checker& c, const object& o, const std::string& path) {
  if (!has(o, "cel")) c.required(path + ".cel");
  if (size_t n = text(map(o, "cel"), "expression").size(); n > 10 * 1024) c.too_long(path + ".cel.expression", 10 * 1024);
}

void constraint(Checker& c, const object& o, const std::string& path) {
  bool match = has(o, "matchAttribute"), distinct = has(o, "distinctAttribute");
  if (!match && !distinct) c.required(path, "exactly one of `matchAttribute` or `distinctAttribute` is required");
  if (match && distinct)
    c.invalid(path, value(o), "exactly one of `matchAttribute` or `distinctAttribute` is required, but multiple fields are set");
  for (std::string_view n : {"matchAttribute", "distinctAttribute"}) {
    std::string_view s = text(o, n);
    if (!s.empty() && s.find('/') == std::string_view::npos)
      c.invalid_text(fmt::format("{}.{}", path, n), s, "a valid name must include a domain: must be fully qualified");
  }
}

void opaque(Checker& c, const object& o, const std::string& path) {
  const value* parameters = o.if_contains("parameters");
  if (parameters && !parameters->is_object()) c.invalid(path + ".parameters", *parameters, "must be a valid JSON object");
}

void configuration(Checker& c, const object& o, const std::string& path) {
  if (!has(o, "opaque")) c.required(path + ".opaque");
}

void device(Checker& c, const object& o, const std::string& path) {
  if (map(o, "attributes").size() + map(o, "capacity").size() > 32) {
    c.too_many(path, map(o, "attributes").size() + map(o, "capacity").size(), 32);
  }
  for (const auto& [name, v] : map(o, "attributes")) {
    std::string at = fmt::format("{}.attributes[{}]", path, std::string_view(name));
    auto kinds = present(as_object(v), {"int", "bool", "string", "version", "ints", "bools", "strings", "versions"});
    if (kinds.empty()) c.required(at, "exactly one value must be specified");
    if (kinds.size() > 1) c.invalid(at, v, "exactly one value must be specified");
  }
}

void check_requests(Checker& c, const object& devices, const std::string& path) {
  const array& requests = list(devices, "requests");
  std::set<std::string> names;
  for (size_t i = 0; i < requests.size(); ++i) {
    const object& r = as_object(requests[i]);
    std::string name(text(r, "name"));
    names.insert(name);
    std::set<std::string_view> subs;
    const array& first = list(r, "firstAvailable");
    for (size_t j = 0; j < first.size(); ++j) {
      std::string_view sub = text(as_object(first[j]), "name");
      if (!sub.empty() && !subs.insert(sub).second) c.duplicate(fmt::format("{}.requests[{}].firstAvailable[{}].name", path, i, j), sub);
      names.insert(fmt::format("{}/{}", name, sub));
    }
  }
  for (std::string_view member : {"constraints", "config"}) {
    const array& all = list(devices, member);
    for (size_t i = 0; i < all.size(); ++i) {
      const array& used = list(as_object(all[i]), "requests");
      for (size_t j = 0; j < used.size(); ++j) {
        if (names.contains(std::string(as_text(used[j])))) continue;
        c.invalid(fmt::format("{}.{}[{}].requests[{}]", path, member, i, j), used[j],
                  "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'");
      }
    }
  }
}

void claim(Checker& c, const object* before, const object& o) {
  check_requests(c, map(map(o, "spec"), "devices"), "spec.devices");
  if (before) c.immutable(*before, o, "spec", "spec");
}

void claim_status(Checker& c, const object& before, const object& o) {
  const object& status = map(o, "status");
  const array& users = list(status, "reservedFor");
  if (users.size() > 256) c.too_many("status.reservedFor", users.size(), 256);
  if (!users.empty() && !has(status, "allocation")) c.forbidden("status.reservedFor", "may not be specified when `allocated` is not set");
  const object& old = map(before, "status");
  if (has(old, "allocation") && has(status, "allocation") && !same(old, status, "allocation")) {
    c.invalid("status.allocation", *status.if_contains("allocation"), "field is immutable");
  }
}

void claim_template(Checker& c, const object* before, const object& o) {
  check_requests(c, map(map(map(o, "spec"), "spec"), "devices"), "spec.spec.devices");
  if (before) c.immutable(*before, o, "spec", "spec");
}

void slice(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  int count = !text(spec, "nodeName").empty() + has(spec, "nodeSelector") + flag(spec, "allNodes") + flag(spec, "perDeviceNodeSelection");
  constexpr std::string_view rule = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
  if (count == 0) c.required("spec", rule);
  if (count > 1) c.invalid("spec", value(spec), fmt::format("{}, but multiple fields are set", rule));
  const object& pool = map(spec, "pool");
  if (number(pool, "resourceSliceCount") <= 0)
    c.invalid("spec.pool.resourceSliceCount", value(number(pool, "resourceSliceCount")), "must be greater than zero");
  if (number(pool, "generation") < 0)
    c.invalid("spec.pool.generation", value(number(pool, "generation")), "must be greater than or equal to zero");
  if (!before) return;
  const object& old = map(*before, "spec");
  c.immutable(old, spec, "nodeName", "spec.nodeName");
  c.immutable(old, spec, "driver", "spec.driver");
  c.immutable(map(old, "pool"), pool, "name", "spec.pool.name");
}

constexpr TypeRule type_rules[] = {
    {"resource.v1.ExactDeviceRequest", check_amounts},         {"resource.v1.DeviceSubRequest", check_amounts},
    {"resource.v1.DeviceToleration", device_toleration},       {"resource.v1.DeviceRequest", device_request},
    {"resource.v1.DeviceSelector", selector},                  {"resource.v1.DeviceConstraint", constraint},
    {"resource.v1.OpaqueDeviceConfiguration", opaque},         {"resource.v1.DeviceClaimConfiguration", configuration},
    {"resource.v1.DeviceClassConfiguration", configuration},   {"resource.v1.Device", device},
};
constexpr KindRule kind_rules[] = {
    {"resource.k8s.io", "ResourceClaim", claim, claim_status},
    {"resource.k8s.io", "ResourceClaimTemplate", claim_template},
    {"resource.k8s.io", "ResourceSlice", slice},
};

}  // namespace

std::span<const TypeRule> device_type_rules() { return type_rules; }
std::span<const KindRule> device_rules() { return kind_rules; }

}  // namespace api::validation
