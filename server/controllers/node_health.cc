#include "server/controllers/node_health.h"

#include <array>

namespace server::controllers {

namespace core = api::core;

namespace {

constexpr const char* not_ready = "node.kubernetes.io/not-ready";
constexpr const char* unreachable = "node.kubernetes.io/unreachable";

struct Rule {  // a condition with this status means this taint
  const char *condition, *status, *taint, *effect;
};
constexpr std::array rules{
    Rule{"Ready", "False", not_ready, "NoSchedule"},
    Rule{"Ready", "False", not_ready, "NoExecute"},
    Rule{"Ready", "Unknown", unreachable, "NoSchedule"},
    Rule{"Ready", "Unknown", unreachable, "NoExecute"},
    Rule{"MemoryPressure", "True", "node.kubernetes.io/memory-pressure", "NoSchedule"},
    Rule{"DiskPressure", "True", "node.kubernetes.io/disk-pressure", "NoSchedule"},
    Rule{"PIDPressure", "True", "node.kubernetes.io/pid-pressure", "NoSchedule"},
    Rule{"NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable", "NoSchedule"},
};
constexpr const char* cordoned = "node.kubernetes.io/unschedulable";

}  // namespace

bool node_ready(const core::Node& node) {
  const auto* c = find_condition(node.status.conditions, "Ready");
  return c && c->status == "True";
}

bool mark_unknown(core::Node& node, WallTime now) {
  bool any = false;
  for (const char* type : {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"}) {
    const auto* c = find_condition(node.status.conditions, type);
    if (c && c->status == "Unknown") continue;
    any = true;
    if (c) set_condition(node.status.conditions, type, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.", now);
    else set_condition(node.status.conditions, type, "Unknown", "NodeStatusNeverUpdated", "Kubelet never posted node status.", now);
  }
  return any;
}

std::vector<core::Taint> wanted_taints(const core::Node& node, WallTime now) {
  std::vector<core::Taint> out;
  for (const auto& t : node.spec.taints) {
    bool ours = t.key == cordoned ||
                std::any_of(rules.begin(), rules.end(), [&](const Rule& r) { return t.key == r.taint && t.effect == r.effect; });
    if (!ours) out.push_back(t);
  }
  auto add = [&](const char* key, const char* effect) {
    for (const auto& t : node.spec.taints)
      if (t.key == key && t.effect == effect) return out.push_back(t);  // keeps the time it was added
    core::Taint t;
    t.key = key;
    t.effect = effect;
    t.timeAdded = base::rfc3339(now);
    out.push_back(std::move(t));
  };
  // A node that has never reported is not ready.
  if (!find_condition(node.status.conditions, "Ready")) {
    add(not_ready, "NoSchedule");
    add(not_ready, "NoExecute");
  }
  for (const Rule& r : rules)
    if (const auto* c = find_condition(node.status.conditions, r.condition); c && c->status == r.status) add(r.taint, r.effect);
  if (node.spec.unschedulable.value_or(false)) add(cordoned, "NoSchedule");
  return out;
}

bool tolerates(const core::Toleration& t, const core::Taint& taint) {
  if (!t.effect.empty() && t.effect != taint.effect) return false;
  if (!t.key.empty() && t.key != taint.key) return false;
  bool exists = t.operator_ == "Exists";
  return exists || (!t.key.empty() && t.value == taint.value);
}

std::optional<WallTime> eviction_time(const core::Pod& pod, const std::vector<core::Taint>& taints, WallTime now) {
  std::optional<WallTime> out;
  for (const auto& taint : taints) {
    if (taint.effect != "NoExecute") continue;
    bool tolerated = false;
    std::optional<int64_t> seconds;  // the shortest; none: forever
    for (const auto& t : pod.spec.tolerations) {
      if (!tolerates(t, taint)) continue;
      tolerated = true;
      if (t.tolerationSeconds) seconds = std::min(seconds.value_or(INT64_MAX), std::max<int64_t>(0, *t.tolerationSeconds));
    }
    if (!tolerated) return now;
    if (!seconds) continue;
    WallTime since = taint.timeAdded.empty() ? now : time_of(taint.timeAdded);
    WallTime end = *seconds > 1'000'000'000 ? since + std::chrono::hours(24 * 365) : since + std::chrono::seconds(*seconds);
    if (!out || end < *out) out = end;
  }
  return out;
}

}  // namespace server::controllers
