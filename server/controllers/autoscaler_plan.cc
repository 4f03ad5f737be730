#include <cmath>

#include <fmt/format.h>

#include "server/controllers/autoscaler.h"

namespace server::controllers {
namespace {

namespace scaling = api::autoscalingv2;
using std::chrono::seconds;

struct Figure {
  double used = 0, request = 0;
};

double tolerance(const api::Box<scaling::HPAScalingRules>& rules) {
  return rules && !rules->tolerance.empty() ? api::Quantity::of(rules->tolerance).as_double() : 0.1;
}

struct Rules {
  seconds window;
  bool disabled = false, smallest = false;
  std::vector<scaling::HPAScalingPolicy> policies;
};
Rules rules_of(const scaling::HorizontalPodAutoscalerSpec& spec, bool up) {
  Rules out{up ? seconds(0) : seconds(300)};
  scaling::HPAScalingPolicy percent, pods;
  percent.type = "Percent", percent.value = 100, percent.periodSeconds = 15;
  pods.type = "Pods", pods.value = 4, pods.periodSeconds = 15;
  out.policies = {percent};
  if (up) out.policies.push_back(pods);
  const scaling::HPAScalingRules* said = !spec.behavior ? nullptr : up ? spec.behavior->scaleUp.get() : spec.behavior->scaleDown.get();
  if (!said) return out;
  if (said->stabilizationWindowSeconds) out.window = seconds(*said->stabilizationWindowSeconds);
  if (!said->policies.empty()) out.policies = said->policies;
  out.disabled = said->selectPolicy == "Disabled";
  out.smallest = said->selectPolicy == "Min";
  return out;
}

// How far the policies let the number go.
int32_t rate_limit(const Rules& rules, bool up, int32_t current, const ScalingHistory& history, WallTime now) {
  if (rules.disabled) return current;
  std::optional<int32_t> out;
  for (const auto& p : rules.policies) {
    int32_t start = current;
    for (const auto& c : history.changed)
      if (c.at > now - seconds(p.periodSeconds)) start -= c.replicas;
    int32_t reach = p.type == "Pods" ? (up ? start + p.value : start - p.value)
                                     : int32_t(up ? std::ceil(start * (1 + p.value / 100.0)) : std::floor(start * (1 - p.value / 100.0)));
    const bool larger = up != rules.smallest;  // the largest change goes furthest
    out = !out ? reach : larger ? std::max(*out, reach) : std::min(*out, reach);
  }
  int32_t reach = out.value_or(current);
  return up ? std::max(reach, current) : std::min(reach, current);
}

}  // namespace

MetricAnswer evaluate_metric(const scaling::MetricSpec& metric, const scaling::HorizontalPodAutoscalerSpec& spec, int32_t current,
                             const std::vector<PodUsage>& pods) {
  MetricAnswer out;
  out.status.type = metric.type;
  auto fail = [&](std::string reason, std::string why) {
    out.reason = std::move(reason);
    out.failure = std::move(why);
    return out;
  };
  const bool of_container = metric.type == "ContainerResource" && metric.containerResource;
  if (!of_container && !(metric.type == "Resource" && metric.resource))
    return fail("FailedGet" + metric.type + "Metric", fmt::format("metrics of type {} need an adapter, and there is none", metric.type));
  const std::string& name = of_container ? metric.containerResource->name : metric.resource->name;
  const std::string container = of_container ? metric.containerResource->container : "";
  const scaling::MetricTarget& target = of_container ? metric.containerResource->target : metric.resource->target;
  const bool by_share = target.averageUtilization.has_value();

  std::vector<Figure> known, missing, unready;
  for (const PodUsage& p : pods) {
    if (deleting(p.pod->metadata) || p.pod->status.phase == "Failed") continue;
    Figure f;
    bool has_request = true;
    for (const auto& c : p.pod->spec.containers) {
      if (of_container && c.name != container) continue;
      auto it = c.resources ? c.resources->requests.find(name) : std::map<std::string, std::string>::const_iterator();
      if (!c.resources || it == c.resources->requests.end()) has_request = false;
      else f.request += api::Quantity::of(it->second).as_double();
      if (by_share && !has_request)
        return fail("FailedGetResourceMetric", fmt::format("failed to get {} utilization: missing request for {} in container {} of Pod {}",
                                                           name, name, c.name, p.pod->metadata.name));
    }
    bool measured = p.containers.has_value();
    if (measured)
      for (const auto& [c, used] : *p.containers) {
        if (of_container && c != container) continue;
        if (auto it = used.find(name); it != used.end()) f.used += it->second.as_double();
      }
    bool waits = p.pod->status.phase == "Pending" || (name == "cpu" && !pod_ready(*p.pod));
    (waits ? unready : measured ? known : missing).push_back(f);
  }
  if (known.empty())
    return fail("FailedGetResourceMetric",
                fmt::format("failed to get {} {}: did not receive metrics for targeted pods (pods might be unready)", name,
                            by_share ? "utilization" : "usage"));

  const double wanted = by_share ? *target.averageUtilization / 100.0 : api::Quantity::of(target.averageValue).as_double();
  auto ratio_of = [&](const std::vector<Figure>& figures) {
    double used = 0, request = 0;
    for (const Figure& f : figures) used += f.used, request += f.request;
    return (by_share ? (request > 0 ? used / request : 0) : used / double(figures.size())) / wanted;
  };
  double used = 0, request = 0;
  for (const Figure& f : known) used += f.used, request += f.request;
  scaling::MetricValueStatus value;
  auto average = api::Quantity::of_milli(int64_t(std::ceil(used / double(known.size()) * 1000)));
  value.averageValue =
      name == "memory" ? api::Quantity::of_value(average.value(), api::Quantity::Format::binary_si).to_string() : average.to_string();
  if (by_share && request > 0) value.averageUtilization = int32_t(used * 100 / request);
  if (of_container) {
    auto& s = out.status.containerResource.emplace();
    s.name = name, s.container = container, s.current = value;
  } else {
    auto& s = out.status.resource.emplace();
    s.name = name, s.current = value;
  }
  const auto* behavior = spec.behavior.get();
  const double up = behavior ? tolerance(behavior->scaleUp) : 0.1, down = behavior ? tolerance(behavior->scaleDown) : 0.1;
  auto near = [&](double ratio) { return ratio >= 1 - down && ratio <= 1 + up; };
  const double ratio = ratio_of(known);
  out.replicas = current;
  // Pods without figures are taken to speak against the change: they use what they asked for when there are to be fewer, nothing when there are to be more.
  const bool with_unready = !unready.empty() && ratio > 1;
  if (missing.empty() && !with_unready) {
    if (!near(ratio)) out.replicas = int32_t(std::ceil(ratio * double(known.size()) - 1e-9));
    return out;
  }
  std::vector<Figure> all = known;
  for (Figure f : missing) {
    f.used = ratio < 1 ? (by_share ? f.request * std::max(1.0, wanted) : wanted) : 0;
    all.push_back(f);
  }
  if (with_unready)
    for (Figure f : unready) {
      f.used = 0;
      all.push_back(f);
    }
  const double again = ratio_of(all);
  if (near(again) || (ratio < 1) != (again < 1)) return out;
  int32_t n = int32_t(std::ceil(again * double(all.size()) - 1e-9));
  if ((again < 1 && n > current) || (again > 1 && n < current)) return out;
  out.replicas = n;
  return out;
}

ScalingLimit limit_scaling(const scaling::HorizontalPodAutoscalerSpec& spec, int32_t current, int32_t wish, ScalingHistory& history,
                           WallTime now) {
  const Rules up = rules_of(spec, true), down = rules_of(spec, false);
  const int32_t least = spec.minReplicas.value_or(1), most = spec.maxReplicas;
  int32_t rise = wish, fall = wish;
  for (const auto& r : history.recommended) {
    if (r.at > now - up.window) rise = std::min(rise, r.replicas);
    if (r.at > now - down.window) fall = std::max(fall, r.replicas);
  }
  history.recommended.push_back({now, wish});
  std::erase_if(history.recommended, [&](const auto& r) { return r.at <= now - std::max(up.window, down.window); });
  std::erase_if(history.changed, [&](const auto& c) { return c.at <= now - seconds(1800); });
  const int32_t steady = std::min(std::max(current, rise), fall);

  ScalingLimit out{steady, "DesiredWithinRange", "the desired count is within the acceptable range"};
  auto bound = [&](int32_t n, std::string reason, std::string message) { out = {n, std::move(reason), std::move(message), true}; };
  if (steady > current) {
    int32_t reach = rate_limit(up, true, current, history, now);
    if (steady > std::min(reach, most)) {
      if (reach < most) bound(reach, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
      else bound(most, "TooManyReplicas", "the desired replica count is more than the maximum replica count");
    }
  } else if (steady < current) {
    int32_t reach = rate_limit(down, false, current, history, now);
    if (steady < std::max(reach, least)) {
      if (reach > least) bound(reach, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
      else bound(least, "TooFewReplicas", "the desired replica count is less than the minimum replica count");
    }
  }
  if (out.replicas > most) bound(most, "TooManyReplicas", "the desired replica count is more than the maximum replica count");
  if (out.replicas < least) bound(least, "TooFewReplicas", "the desired replica count is less than the minimum replica count");
  // Where the bounds are what holds it, they say so.
  if (!out.limited && wish > most && out.replicas == most)
    bound(most, "TooManyReplicas", "the desired replica count is more than the maximum replica count");
  if (!out.limited && wish < least && out.replicas == least)
    bound(least, "TooFewReplicas", "the desired replica count is less than the minimum replica count");
  return out;
}

}  // namespace server::controllers
