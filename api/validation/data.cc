// ConfigMaps, Secrets, limits and quotas.
#include <algorithm>
#include <set>

#include "api/quantity.h"
#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

constexpr size_t most_data = 1024 * 1024;

size_t decoded_size(std::string_view base64) {
  size_t padding = base64.ends_with("==") ? 2 : base64.ends_with("=") ? 1 : 0;
  return base64.size() / 4 * 3 - padding;
}

void frozen(Checker& c, const object& before, const object& o, std::initializer_list<std::string_view> members) {
  if (!flag(before, "immutable")) return;
  if (!flag(o, "immutable")) c.forbidden("immutable", "field is immutable when `immutable` is set");
  for (std::string_view m : members) {
    if (map(before, m) != map(o, m)) c.forbidden(std::string(m), "field is immutable when `immutable` is set");
  }
}

void config_map(Checker& c, const object* before, const object& o) {
  size_t total = 0;
  for (const auto& [key, v] : map(o, "data")) {
    std::string at = fmt::format("data[{}]", std::string_view(key));
    c.check_text(at, key, check_config_key(key));
    if (map(o, "binaryData").contains(key)) c.invalid_text(at, key, "duplicate of key present in binaryData");
    total += as_text(v).size();
  }
  for (const auto& [key, v] : map(o, "binaryData")) {
    c.check_text(fmt::format("binaryData[{}]", std::string_view(key)), key, check_config_key(key));
    total += decoded_size(as_text(v));
  }
  if (total > most_data) c.too_long("", most_data);
  if (before) frozen(c, *before, o, {"data", "binaryData"});
}

void secret(Checker& c, const object* before, const object& o) {
  size_t total = 0;
  for (const auto& [key, v] : map(o, "data")) {
    c.check_text(fmt::format("data[{}]", std::string_view(key)), key, check_config_key(key));
    total += decoded_size(as_text(v));
  }
  if (total > most_data) c.too_long("data", most_data);
  std::string_view type = text(o, "type");
  if (type == "kubernetes.io/service-account-token" &&
      text(map(map(o, "metadata"), "annotations"), "kubernetes.io/service-account.name").empty()) {
    c.required("metadata.annotations[kubernetes.io/service-account.name]");
  }
  if (type == "kubernetes.io/basic-auth" && !map(o, "data").contains("username") && !map(o, "data").contains("password")) {
    c.required("data[username]");
    c.required("data[password]");
  }
  if (before) frozen(c, *before, o, {"data"});
}

bool is_storage(std::string_view name) { return name == "storage"; }

void check_limit_item(Checker& c, const object& item, const std::string& at) {
  std::string_view type = text(item, "type");
  static constexpr std::string_view bounds[] = {"max", "min", "default", "defaultRequest", "maxLimitRequestRatio"};
  std::set<std::string> keys;
  for (std::string_view bound : bounds) {
    for (const auto& [name, amount] : map(item, bound)) {
      keys.emplace(name);
      std::string here = fmt::format("{}.{}[{}]", at, bound, std::string_view(name));
      c.check_text(here, name, check_qualified_name(name));
      check_amount(c, name, amount, here);
    }
  }
  if (type == "Pod") {
    for (std::string_view n : {"default", "defaultRequest"}) {
      if (!map(item, n).empty()) c.forbidden(fmt::format("{}.{}", at, n), "may not be specified when `type` is 'Pod'");
    }
  }
  if (type == "PersistentVolumeClaim" && !map(item, "min").contains("storage") && !map(item, "max").contains("storage")) {
    c.required(at + ".limits", "either minimum or maximum storage value is required, but neither was provided");
  }
  auto amount = [&](std::string_view bound, std::string_view name) -> std::optional<Quantity> {
    std::string_view s = text(map(item, bound), name);
    if (s.empty()) return std::nullopt;
    return Quantity::of(s);
  };
  auto ordered = [&](std::string_view less, std::string_view more, std::string_view name, std::string_view less_name,
                     std::string_view more_name) {
    auto a = amount(less, name), b = amount(more, name);
    if (!a || !b || *a <= *b) return;
    c.invalid_text(fmt::format("{}.{}[{}]", at, less, name), text(map(item, less), name),
                   fmt::format("{} value {} is greater than {} value {}", less_name, a->to_string(), more_name, b->to_string()));
  };
  for (const std::string& name : keys) {
    if (type == "Pod" && is_storage(name)) continue;
    ordered("min", "max", name, "min", "max");
    ordered("min", "defaultRequest", name, "min", "default request");
    ordered("defaultRequest", "max", name, "default request", "max");
    ordered("defaultRequest", "default", name, "default request", "default limit");
    ordered("min", "default", name, "min", "default");
    ordered("default", "max", name, "default", "max");
    auto ratio = amount("maxLimitRequestRatio", name);
    std::string here = fmt::format("{}.maxLimitRequestRatio[{}]", at, name);
    if (ratio && *ratio < Quantity::of_value(1)) {
      c.invalid_text(here, text(map(item, "maxLimitRequestRatio"), name), fmt::format("ratio {} is less than 1", ratio->to_string()));
    }
    auto least = amount("min", name), most = amount("max", name);
    if (ratio && least && most && least->sign() > 0 && ratio->as_double() > most->as_double() / least->as_double()) {
      c.invalid_text(here, text(map(item, "maxLimitRequestRatio"), name),
                     fmt::format("ratio {} is greater than max/min = {:f}", ratio->to_string(), most->as_double() / least->as_double()));
    }
  }
}

void limit_range(Checker& c, const object*, const object& o) {
  const array& limits = list(map(o, "spec"), "limits");
  std::set<std::string_view> types;
  for (size_t i = 0; i < limits.size(); ++i) {
    const object& item = as_object(limits[i]);
    std::string at = fmt::format("spec.limits[{}]", i);
    std::string_view type = text(item, "type");
    if (!type.empty() && !types.insert(type).second) c.duplicate(at + ".type", type);
    check_limit_item(c, item, at);
  }
}

bool is_quota_resource(std::string_view name) {
  static constexpr std::string_view known[] = {
      "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage", "limits.cpu", "limits.memory",
      "limits.ephemeral-storage", "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "persistentvolumeclaims", "configmaps",
      "services.nodeports", "services.loadbalancers"};
  return std::find(std::begin(known), std::end(known), name) != std::end(known) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-") ||
         name.starts_with("limits.hugepages-");
}

void check_scopes(Checker& c, const object& spec) {
  std::set<std::string_view> scopes;
  for (const value& v : list(spec, "scopes")) scopes.insert(as_text(v));
  for (const auto& [name, amount] : map(spec, "hard")) {
    std::string_view n = name;
    bool compute =
        n == "pods" || n == "cpu" || n == "memory" || n.starts_with("requests.") || n.starts_with("limits.") || n == "ephemeral-storage";
    for (std::string_view s : scopes) {
      if (s == "VolumeAttributesClass") continue;
      bool fits = s == "BestEffort" ? n == "pods" : compute;
      if (!fits) c.invalid("spec.scopes", value(list(spec, "scopes")), "unsupported scope applied to resource");
    }
  }
  for (auto [a, b] : {std::pair<std::string_view, std::string_view>{"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"}}) {
    if (scopes.contains(a) && scopes.contains(b)) c.invalid("spec.scopes", value(list(spec, "scopes")), "conflicting scopes");
  }
  const array& expressions = list(map(spec, "scopeSelector"), "matchExpressions");
  for (size_t i = 0; i < expressions.size(); ++i) {
    const object& e = as_object(expressions[i]);
    std::string at = fmt::format("spec.scopeSelector.matchExpressions[{}]", i);
    std::string_view op = text(e, "operator"), scope = text(e, "scopeName");
    const array& values = list(e, "values");
    bool plain = scope != "PriorityClass" && scope != "VolumeAttributesClass";
    if (plain && !scope.empty() && op != "Exists") {
      c.invalid_text(at + ".operator", op,
                     "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
                     "ResourceQuotaScopeBestEffort, "
                     "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
    }
    if ((op == "In" || op == "NotIn") && values.empty())
      c.required(at + ".values", "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
    if ((op == "Exists" || op == "DoesNotExist") && !values.empty())
      c.invalid(at + ".values", value(values), "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
  }
}

void resource_quota(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  for (const auto& [name, amount] : map(spec, "hard")) {
    std::string at = fmt::format("spec.hard[{}]", std::string_view(name));
    c.check_text(at, name, check_qualified_name(name));
    if (std::string_view(name).find('/') == std::string_view::npos && !is_quota_resource(name))
      c.invalid_text(at, name, "must be a standard resource for quota");
    check_amount(c, name, amount, at);
  }
  check_scopes(c, spec);
}

constexpr KindRule kind_rules[] = {
    {"", "ConfigMap", config_map}, {"", "Secret", secret}, {"", "LimitRange", limit_range}, {"", "ResourceQuota", resource_quota}};

}  // namespace

std::span<const KindRule> data_rules() { return kind_rules; }

}  // namespace api::validation
