// Events. Both groups store core/v1; those with an eventTime follow the stricter rules of events.k8s.io.
#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void event(Checker& c, const object* before, const object& o) {
  std::string_view ns = text(map(o, "metadata"), "namespace"), about = text(map(o, "involvedObject"), "namespace");
  if (about.empty() ? ns != "default" && !ns.empty() && ns != "kube-system" : about != ns) {
    c.invalid_text("involvedObject.namespace", about, "does not match event.namespace");
  }
  bool has_time = !text(o, "eventTime").empty();
  if (!has_time) return;
  if (before) {
    for (std::string_view n : {"involvedObject", "reason", "message", "type", "source", "action", "related", "reportingComponent",
                               "reportingInstance", "eventTime", "firstTimestamp", "lastTimestamp", "count"}) {
      if (text(*before, "eventTime").empty()) break;
      std::string path(n == "involvedObject"       ? "regarding"
                       : n == "message"            ? "note"
                       : n == "reportingComponent" ? "reportingController"
                                                   : n);
      c.immutable(*before, o, n, path);
    }
    return;
  }
  std::string_view controller = text(o, "reportingComponent");
  if (controller.empty()) c.required("reportingController");
  else c.check_text("reportingController", controller, check_qualified_name(controller));
  for (std::string_view n : {"reportingInstance", "action", "reason"}) {
    if (text(o, n).empty()) c.required(std::string(n));
    else if (text(o, n).size() > 128) c.invalid_text(std::string(n), "", "can have at most 128 characters");
  }
  if (text(o, "message").size() > 1024) c.invalid_text("message", "", "can have at most 1024 characters");
  std::string_view type = text(o, "type");
  if (type != "Normal" && type != "Warning") c.invalid_text("type", "", fmt::format("has invalid value: {}", type));
  if (has(o, "series")) {
    const object& series = map(o, "series");
    if (number(series, "count") < 2) c.invalid_text("series.count", "", "should be at least 2");
    if (text(series, "lastObservedTime").empty()) c.required("series.lastObservedTime");
  }
}

constexpr KindRule kind_rules[] = {{"", "Event", event}};

}  // namespace

std::span<const KindRule> event_rules() { return kind_rules; }

}  // namespace api::validation
