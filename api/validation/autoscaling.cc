// Autoscalers and disruption budgets.
#include "api/quantity.h"
#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void reference(Checker& c, const object& o, const std::string& path) {
  for (std::string_view n : {"kind", "name"}) {
    if (std::string_view s = text(o, n); !s.empty()) c.check_text(fmt::format("{}.{}", path, n), s, check_path_segment(s));
  }
}

void metric_identifier(Checker& c, const object& o, const std::string& path) {
  if (std::string_view s = text(o, "name"); !s.empty()) c.check_text(path + ".name", s, check_path_segment(s));
}

void metric_target(Checker& c, const object& o, const std::string& path) {
  if (has(o, "averageUtilization") && number(o, "averageUtilization") < 1) {
    c.invalid(path + ".averageUtilization", *o.if_contains("averageUtilization"), "must be greater than 0");
  }
  for (std::string_view n : {"value", "averageValue"}) {
    std::string_view s = text(o, n);
    if (!s.empty() && Quantity::of(s).sign() <= 0) c.invalid_text(fmt::format("{}.{}", path, n), s, "must be positive");
  }
}

void resource_source(Checker& c, const object& o, const std::string& path) {
  const object& target = map(o, "target");
  bool share = has(target, "averageUtilization"), amount = has(target, "averageValue");
  if (has(o, "target") && !share && !amount)
    c.required(path + ".target.averageUtilization", "must set either a target raw value or a target utilization");
  if (share && amount) c.forbidden(path + ".target.averageValue", "may not set both a target raw value and a target utilization");
}

void pods_source(Checker& c, const object& o, const std::string& path) {
  if (text(map(o, "target"), "averageValue").empty())
    c.required(path + ".target.averageValue", "must specify a positive target averageValue");
}

void object_source(Checker& c, const object& o, const std::string& path) {
  const object& target = map(o, "target");
  if (!has(target, "value") && !has(target, "averageValue")) {
    c.required(path + ".target.averageValue", "must set either a target value or averageValue");
  }
}

void external_source(Checker& c, const object& o, const std::string& path) {
  const object& target = map(o, "target");
  bool v = has(target, "value"), average = has(target, "averageValue");
  if (!v && !average) c.required(path + ".target.averageValue", "must set either a target value for metric or a per-pod target");
  if (v && average) c.forbidden(path + ".target.value", "may not set both a target value for metric and a per-pod target");
}

void metric(Checker& c, const object& o, const std::string& path) {
  static constexpr std::pair<std::string_view, std::string_view> kinds[] = {{"Object", "object"},
                                                                            {"Pods", "pods"},
                                                                            {"Resource", "resource"},
                                                                            {"ContainerResource", "containerResource"},
                                                                            {"External", "external"}};
  std::string_view type = text(o, "type");
  for (auto [name, member] : kinds) {
    if (name == type && !has(o, member))
      c.required(fmt::format("{}.{}", path, member), "must populate information for the given metric source");
    if (name != type && has(o, member)) c.forbidden(fmt::format("{}.{}", path, member), "must populate the given metric source only");
  }
}

void scaling_rules(Checker& c, const object& o, const std::string& path) {
  if (const value* v = o.if_contains("stabilizationWindowSeconds"); v && v->is_int64()) {
    if (v->get_int64() < 0) c.invalid(path + ".stabilizationWindowSeconds", *v, "must be greater than or equal to zero");
    if (v->get_int64() > 3600) c.invalid(path + ".stabilizationWindowSeconds", *v, "must be less than or equal to 3600");
  }
  if (list(o, "policies").empty()) c.required(path + ".policies", "must specify at least one Policy");
  std::string_view tolerance = text(o, "tolerance");
  if (!tolerance.empty() && Quantity::of(tolerance).sign() < 0)
    c.invalid_text(path + ".tolerance", tolerance, "must be greater than or equal to 0");
}

void scaling_policy(Checker& c, const object& o, const std::string& path) {
  int64_t n = number(o, "value"), seconds = number(o, "periodSeconds");
  if (n <= 0) c.invalid(path + ".value", value(n), "must be greater than zero");
  if (seconds <= 0) c.invalid(path + ".periodSeconds", value(seconds), "must be greater than zero");
  if (seconds > 1800) c.invalid(path + ".periodSeconds", value(seconds), "must be less than or equal to 1800");
}

void autoscaler(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  int64_t least = number(spec, "minReplicas", 1), most = number(spec, "maxReplicas");
  if (least < 1) c.invalid("spec.minReplicas", value(least), "must be greater than or equal to 1");
  if (most < 1) c.invalid("spec.maxReplicas", value(most), "must be greater than 0");
  if (most < least) c.invalid("spec.maxReplicas", value(most), "must be greater than or equal to `minReplicas`");
}

void disruption_budget(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  if (has(spec, "minAvailable") && has(spec, "maxUnavailable")) {
    c.invalid("spec", value(spec), "minAvailable and maxUnavailable cannot be both set");
  }
  check_count(c, spec, "minAvailable", "spec");
  check_count(c, spec, "maxUnavailable", "spec");
}

constexpr TypeRule type_rules[] = {
    {"autoscaling.v2.CrossVersionObjectReference", reference}, {"autoscaling.v2.MetricIdentifier", metric_identifier},
    {"autoscaling.v2.MetricTarget", metric_target},            {"autoscaling.v2.ResourceMetricSource", resource_source},
    {"autoscaling.v2.ContainerResourceMetricSource", resource_source}, {"autoscaling.v2.PodsMetricSource", pods_source},
    {"autoscaling.v2.ObjectMetricSource", object_source},      {"autoscaling.v2.ExternalMetricSource", external_source},
    {"autoscaling.v2.MetricSpec", metric},                     {"autoscaling.v2.HPAScalingRules", scaling_rules},
    {"autoscaling.v2.HPAScalingPolicy", scaling_policy},
};
constexpr KindRule kind_rules[] = {{"autoscaling", "HorizontalPodAutoscaler", autoscaler},
                                   {"policy", "PodDisruptionBudget", disruption_budget}};

}  // namespace

std::span<const TypeRule> autoscaling_type_rules() { return type_rules; }
std::span<const KindRule> autoscaling_rules() { return kind_rules; }

}  // namespace api::validation
