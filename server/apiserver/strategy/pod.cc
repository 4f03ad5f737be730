// Pods: the status a new one has, its quality of service, and graceful deletion.
#include <map>
#include <set>

#include "api/quantity.h"
#include "server/apiserver/strategy/all.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

// Guaranteed: limits of cpu and memory in every container, requests equal to them. BestEffort: neither anywhere. Burstable: the rest.
std::string_view quality_of_service(const value& pod) {
  bool any = false, guaranteed = true;
  for (const char* list : {"spec.containers", "spec.initContainers"}) {
    const base::json::array* containers = base::find_array(pod, list);
    if (!containers) continue;
    for (const value& c : *containers) {
      int limits_seen = 0;
      for (const char* name : {"cpu", "memory"}) {
        const object* limits = base::find_object(c, "resources.limits");
        const object* requests = base::find_object(c, "resources.requests");
        auto amount = [&](const object* from) {
          std::string_view text = from ? text_of(*from, name) : std::string_view();
          return text.empty() ? api::Quantity() : api::Quantity::of(text);
        };
        api::Quantity limit = amount(limits), request = amount(requests);
        if (!limit.is_zero() || !request.is_zero()) any = true;
        if (!limit.is_zero()) ++limits_seen;
        if (!request.is_zero() && request != limit) guaranteed = false;
      }
      if (limits_seen != 2) guaranteed = false;
    }
  }
  if (!any) return "BestEffort";
  return guaranteed ? "Guaranteed" : "Burstable";
}

class Pod final : public Strategy {
 public:
  Result<> prepare_create(WriteAttempt&, object& o) const override {
    o["status"] = object{{"phase", "Pending"}};
    value whole(o);
    o["status"].as_object()["qosClass"] = quality_of_service(whole);
    // Gates hold a pod back from the scheduler; it says so itself.
    if (const base::json::array* gates = base::find_array(whole, "spec.schedulingGates"); gates && !gates->empty())
      o["status"].as_object()["conditions"] =
          base::json::array{object{{"type", "PodScheduled"},
                                   {"status", "False"},
                                   {"reason", "SchedulingGated"},
                                   {"lastProbeTime", nullptr},
                                   {"lastTransitionTime", metadata_of(o)["creationTimestamp"]},
                                   {"message", "Scheduling is blocked due to non-empty scheduling gates"}}};
    return {};
  }

  Result<> prepare_update(WriteAttempt& attempt, object& now, const object& before) const override {
    if (attempt.subresource == "status") {
      // A status that does not name its class keeps it.
      object& status = now["status"].is_object() ? now["status"].as_object() : now["status"].emplace_object();
      if (const value* old = before.if_contains("status"); old && old->is_object())
        if (const value* qos = old->get_object().if_contains("qosClass")) status["qosClass"] = *qos;
    }
    return {};
  }

  std::optional<int64_t> grace(const object& pod, const DeleteRequest& q) const override {
    value whole(pod);
    if (base::get_string(whole, "spec.nodeName").empty()) return 0;
    std::string_view phase = base::get_string(whole, "status.phase");
    if (phase == "Succeeded" || phase == "Failed") return 0;
    int64_t seconds = q.grace_seconds ? *q.grace_seconds : base::get_int(whole, "spec.terminationGracePeriodSeconds", 30);
    return seconds < 0 ? 1 : seconds;
  }
};

}  // namespace

std::unique_ptr<const Strategy> make_pod_strategy() { return std::make_unique<Pod>(); }

}  // namespace server
