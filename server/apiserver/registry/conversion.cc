#include "server/apiserver/registry/conversion.h"

#include <algorithm>
#include <string>

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

constexpr std::pair<std::string_view, std::string_view> event_names[] = {  // events.k8s.io, core
    {"note", "message"},
    {"regarding", "involvedObject"},
    {"reportingController", "reportingComponent"},
    {"deprecatedCount", "count"},
    {"deprecatedFirstTimestamp", "firstTimestamp"},
    {"deprecatedLastTimestamp", "lastTimestamp"},
    {"deprecatedSource", "source"},
};

void rename(object& o, std::string_view from, std::string_view to) {
  auto it = o.find(from);
  if (it == o.end()) return;
  value v = std::move(it->value());
  o.erase(it);
  o[to] = std::move(v);
}

void event_to_core(object& o) {
  for (auto [theirs, ours] : event_names) rename(o, theirs, ours);
  o["apiVersion"] = "v1";
}

void event_from_core(object& o) {
  for (auto [theirs, ours] : event_names) rename(o, ours, theirs);
  o["apiVersion"] = "events.k8s.io/v1";
}

// What has no place in v1 stands in annotations there, so that nothing is lost to those who read v1 and write it back.
constexpr std::string_view kept = "autoscaling.alpha.kubernetes.io/";

void keep(object& o, std::string_view name, value v) {
  value& meta = o["metadata"];
  if (!meta.is_object()) meta.emplace_object();
  value& annotations = meta.get_object()["annotations"];
  if (!annotations.is_object()) annotations.emplace_object();
  annotations.get_object()[std::string(kept) + std::string(name)] = base::to_text(v);
}

// Null when nothing was kept.
value take_kept(object& o, std::string_view name) {
  value* meta = o.if_contains("metadata");
  value* annotations = meta && meta->is_object() ? meta->get_object().if_contains("annotations") : nullptr;
  if (!annotations || !annotations->is_object()) return nullptr;
  object& all = annotations->get_object();
  auto it = all.find(std::string(kept) + std::string(name));
  if (it == all.end()) return nullptr;
  value out = nullptr;
  if (it->value().is_string())
    if (auto parsed = base::parse_json(it->value().get_string())) out = std::move(*parsed);
  all.erase(it);
  if (all.empty()) meta->get_object().erase("annotations");
  return out;
}

object* part(object& o, std::string_view name) {
  value* v = o.if_contains(name);
  return v && v->is_object() ? &v->get_object() : nullptr;
}

bool is_cpu(const value& metric, std::string_view amount_in) {
  const object* amount = base::find_object(metric, amount_in);
  return base::get_string(metric, "type") == "Resource" && base::get_string(metric, "resource.name") == "cpu" && amount &&
         amount->contains("averageUtilization");
}

// The cpu utilisation among metrics; null when there is none.
value cpu_of(const object& section, std::string_view list, std::string_view amount_in) {
  const value* metrics = section.if_contains(list);
  if (!metrics || !metrics->is_array()) return nullptr;
  for (const value& m : metrics->get_array())
    if (is_cpu(m, amount_in)) return *base::find(m, std::string(amount_in) + ".averageUtilization");
  return nullptr;
}

object cpu_metric(std::string_view amount_name, const value& amount) {
  object measure{{"averageUtilization", amount}};
  if (amount_name == "target") measure["type"] = "Utilization";
  return {{"type", "Resource"}, {"resource", object{{"name", "cpu"}, {amount_name, std::move(measure)}}}};
}

// The list as it was, with the cpu utilisation that v1 says now.
value with_cpu(value list, const value& cpu, std::string_view amount_name) {
  array out;
  if (list.is_array()) out = std::move(list.get_array());
  const std::string amount_in = "resource." + std::string(amount_name);
  auto at = std::find_if(out.begin(), out.end(), [&](const value& m) { return is_cpu(m, amount_in); });
  if (cpu.is_null() && at != out.end()) out.erase(at);
  else if (!cpu.is_null() && at != out.end()) base::make_object(*at, amount_in)["averageUtilization"] = cpu;
  else if (!cpu.is_null()) out.push_back(cpu_metric(amount_name, cpu));
  return out.empty() ? value() : value(std::move(out));
}

value take(object& from, std::string_view name) {
  value* v = from.if_contains(name);
  value out = v ? *v : value();
  from.erase(name);
  return out;
}

void set(object& into, std::string_view name, value v) {
  if (!v.is_null()) into[name] = std::move(v);
}

void autoscaler_to_v2(object& o) {
  o["apiVersion"] = "autoscaling/v2";
  value metrics = take_kept(o, "metrics"), behavior = take_kept(o, "behavior"), current = take_kept(o, "current-metrics"),
        conditions = take_kept(o, "conditions");
  if (object* spec = part(o, "spec")) {
    value cpu = take(*spec, "targetCPUUtilizationPercentage");
    set(*spec, "metrics", with_cpu(std::move(metrics), cpu, "target"));
    set(*spec, "behavior", std::move(behavior));
  }
  if (object* status = part(o, "status")) {
    if (const value* n = status->if_contains("currentReplicas"); n && *n == 0) status->erase("currentReplicas");  // v1 always tells it
    value cpu = take(*status, "currentCPUUtilizationPercentage");
    set(*status, "currentMetrics", with_cpu(std::move(current), cpu, "current"));
    set(*status, "conditions", std::move(conditions));
  }
}

void autoscaler_to_v1(object& o) {
  o["apiVersion"] = "autoscaling/v1";
  // A lone cpu metric is all that v1 has words for.
  auto needs_keeping = [](const value& list, const value& cpu) {
    return list.is_array() && list.get_array().size() > (cpu.is_null() ? 0u : 1u);
  };
  value metrics, behavior, current, conditions;
  if (object* spec = part(o, "spec")) {
    value cpu = cpu_of(*spec, "metrics", "resource.target");
    if (value list = take(*spec, "metrics"); needs_keeping(list, cpu)) metrics = std::move(list);
    behavior = take(*spec, "behavior");
    set(*spec, "targetCPUUtilizationPercentage", std::move(cpu));
  }
  if (object* status = part(o, "status")) {
    if (!status->contains("currentReplicas")) (*status)["currentReplicas"] = 0;
    value cpu = cpu_of(*status, "currentMetrics", "resource.current");
    if (value list = take(*status, "currentMetrics"); needs_keeping(list, cpu)) current = std::move(list);
    conditions = take(*status, "conditions");
    set(*status, "currentCPUUtilizationPercentage", std::move(cpu));
  }
  const std::pair<std::string_view, value*> rest[] = {
      {"metrics", &metrics}, {"behavior", &behavior}, {"current-metrics", &current}, {"conditions", &conditions}};
  for (auto [name, v] : rest)
    if (!v->is_null()) keep(o, name, std::move(*v));
}

}  // namespace

const Conversion& event_conversion() {
  static const Conversion c{event_to_core, event_from_core};
  return c;
}

const Conversion& autoscaler_conversion() {
  static const Conversion c{autoscaler_to_v2, autoscaler_to_v1};
  return c;
}

}  // namespace server
