#include "server/apiserver/registry/conversion.h"

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

object cpu_metric(std::string_view field, const value& amount) {
  if (field == "averageUtilization")
    return {{"type", "Resource"}, {"resource", object{{"name", "cpu"}, {"target", object{{"type", "Utilization"}, {field, amount}}}}}};
  return {{"type", "Resource"}, {"resource", object{{"name", "cpu"}, {"current", object{{field, amount}}}}}};
}

// The cpu utilisation among metrics, taken out of the list.
value take_cpu(object& part, std::string_view list_name, std::string_view amount_in) {
  value* list = part.if_contains(list_name);
  if (!list || !list->is_array()) return nullptr;
  array& metrics = list->get_array();
  value found = nullptr;
  for (auto it = metrics.begin(); it != metrics.end(); ++it) {
    if (base::get_string(*it, "type") != "Resource" || base::get_string(*it, "resource.name") != "cpu") continue;
    const object* amount = base::find_object(*it, amount_in);
    const value* u = amount ? amount->if_contains("averageUtilization") : nullptr;
    if (!u) continue;
    found = *u;
    metrics.erase(it);
    break;
  }
  part.erase(list_name);  // other metrics have no form in v1
  return found;
}

void autoscaler_to_v2(object& o) {
  o["apiVersion"] = "autoscaling/v2";
  if (value* spec = o.if_contains("spec"); spec && spec->is_object()) {
    object& s = spec->get_object();
    if (const value* cpu = s.if_contains("targetCPUUtilizationPercentage")) {
      value amount = *cpu;
      s.erase("targetCPUUtilizationPercentage");
      s["metrics"] = array{cpu_metric("averageUtilization", amount)};
    }
  }
  if (value* status = o.if_contains("status"); status && status->is_object()) {
    object& s = status->get_object();
    if (const value* cpu = s.if_contains("currentCPUUtilizationPercentage")) {
      object metric = cpu_metric("current", *cpu);
      metric["resource"].as_object()["current"] = object{{"averageUtilization", *cpu}};
      s.erase("currentCPUUtilizationPercentage");
      s["currentMetrics"] = array{std::move(metric)};
    }
  }
}

void autoscaler_to_v1(object& o) {
  o["apiVersion"] = "autoscaling/v1";
  if (value* spec = o.if_contains("spec"); spec && spec->is_object()) {
    object& s = spec->get_object();
    if (value cpu = take_cpu(s, "metrics", "resource.target"); !cpu.is_null()) s["targetCPUUtilizationPercentage"] = cpu;
    s.erase("behavior");
  }
  if (value* status = o.if_contains("status"); status && status->is_object()) {
    object& s = status->get_object();
    if (value cpu = take_cpu(s, "currentMetrics", "resource.current"); !cpu.is_null()) s["currentCPUUtilizationPercentage"] = cpu;
    s.erase("conditions");
  }
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
