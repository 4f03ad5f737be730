#include "agent/pods/status.h"

#include <algorithm>

#include <fmt/format.h>

namespace agent {

namespace {

using api::core::ContainerStatus;

const ContainerStatus* find(const std::vector<ContainerStatus>& list, const std::string& name) {
  for (const auto& s : list)
    if (s.name == name) return &s;
  return nullptr;
}

bool terminated(const ContainerStatus* s) { return s && s->state && s->state->terminated; }
bool running(const ContainerStatus* s) { return s && s->state && s->state->running; }
const api::core::ContainerStateTerminated* last_end(const ContainerStatus* s) {
  return s && s->lastState && s->lastState->terminated ? s->lastState->terminated.get() : nullptr;
}

constexpr std::string_view kOwned[] = {"PodReadyToStartContainers", "Initialized",      "Ready",
                                       "ContainersReady",           "PodResizePending", "PodResizeInProgress"};

}  // namespace

bool owns_condition(std::string_view type) { return std::find(std::begin(kOwned), std::end(kOwned), type) != std::end(kOwned); }

void set_condition(std::vector<api::core::PodCondition>& list, const std::string& type, bool value, std::string reason, std::string message,
                   const std::string& now, std::optional<int64_t> generation) {
  auto it = std::find_if(list.begin(), list.end(), [&](const auto& c) { return c.type == type; });
  if (it == list.end()) {
    list.emplace_back();
    it = list.end() - 1;
    it->type = type;
  }
  std::string status = value ? "True" : "False";
  if (it->status != status || it->lastTransitionTime.empty()) it->lastTransitionTime = now;
  it->status = std::move(status);
  it->reason = std::move(reason);
  it->message = std::move(message);
  it->observedGeneration = generation;
}

bool is_sidecar(const api::core::Container& c) { return c.restartPolicy == "Always"; }

bool should_restart(const api::core::Pod& pod, const api::core::Container& container, bool init, int exit_code) {
  std::string policy = pod.spec.restartPolicy.empty() ? "Always" : pod.spec.restartPolicy;
  if (init && is_sidecar(container)) return true;
  if (!container.restartPolicy.empty()) policy = container.restartPolicy;
  for (const auto& rule : container.restartPolicyRules) {
    if (!rule.exitCodes) continue;
    const auto& v = rule.exitCodes->values;
    bool in = std::find(v.begin(), v.end(), exit_code) != v.end();
    if (rule.action == "Restart" && (rule.exitCodes->operator_ == "NotIn" ? !in : in)) return true;
  }
  if (init) return exit_code != 0 && policy != "Never";
  return policy == "Always" || (policy == "OnFailure" && exit_code != 0);
}

std::string pod_phase(const api::core::Pod& pod, const api::core::PodStatus& status) {
  std::string policy = pod.spec.restartPolicy.empty() ? "Always" : pod.spec.restartPolicy;
  bool pending_init = false;
  for (const auto& c : pod.spec.initContainers) {
    const auto* s = find(status.initContainerStatuses, c.name);
    if (is_sidecar(c)) {
      if (!s || (!running(s) && !terminated(s) && !last_end(s))) pending_init = true;
      continue;
    }
    if (terminated(s)) {
      if (s->state->terminated->exitCode == 0) continue;
      if (!should_restart(pod, c, true, s->state->terminated->exitCode)) return "Failed";
      pending_init = true;
    } else {
      pending_init = true;
    }
  }
  int unknown = 0, waiting = 0, live = 0, stopped = 0, succeeded = 0;
  for (const auto& c : pod.spec.containers) {
    const auto* s = find(status.containerStatuses, c.name);
    if (!s || !s->state) {
      ++unknown;
    } else if (s->state->running) {
      ++live;
    } else if (s->state->terminated) {
      ++stopped;
      if (s->state->terminated->exitCode == 0) ++succeeded;
    } else if (last_end(s)) {
      ++stopped;
      if (last_end(s)->exitCode == 0) ++succeeded;
    } else {
      ++waiting;
    }
  }
  if (pending_init && live == 0 && stopped == 0) return "Pending";
  if (waiting > 0 || unknown > 0) return "Pending";
  if (live > 0) return "Running";
  if (stopped > 0) {
    // A restart that is still to come keeps the pod running.
    bool restarts = std::any_of(pod.spec.containers.begin(), pod.spec.containers.end(), [&](const auto& c) {
      const auto* s = find(status.containerStatuses, c.name);
      int code = terminated(s) ? s->state->terminated->exitCode : last_end(s) ? last_end(s)->exitCode : 0;
      return should_restart(pod, c, false, code);
    });
    if (restarts) return "Running";
    return stopped == succeeded ? "Succeeded" : "Failed";
  }
  return "Pending";
}

void set_conditions(const api::core::Pod& pod, api::core::PodStatus& status, bool sandbox_ready, const std::string& now) {
  auto& list = status.conditions;
  const auto set = [&](const char* type, bool value, std::string reason, std::string message) {
    set_condition(list, type, value, std::move(reason), std::move(message), now, pod.metadata.generation);
  };
  bool done = status.phase == "Succeeded", failed = status.phase == "Failed";
  set("PodReadyToStartContainers", sandbox_ready, "", "");

  std::vector<std::string> incomplete;
  for (const auto& c : pod.spec.initContainers) {
    const auto* s = find(status.initContainerStatuses, c.name);
    bool complete = is_sidecar(c) ? s && s->started.value_or(false) : terminated(s) && s->state->terminated->exitCode == 0;
    if (!complete) incomplete.push_back(c.name);
  }
  if (done) {
    set("Initialized", true, "PodCompleted", "");
  } else if (incomplete.empty()) {
    set("Initialized", true, "", "");
  } else {
    set("Initialized", false, "ContainersNotInitialized",
        fmt::format("containers with incomplete status: [{}]", fmt::join(incomplete, " ")));
  }

  std::vector<std::string> unready;
  for (const auto& c : pod.spec.initContainers) {
    const auto* s = find(status.initContainerStatuses, c.name);
    if (is_sidecar(c) && (!s || !s->ready)) unready.push_back(c.name);
  }
  for (const auto& c : pod.spec.containers) {
    const auto* s = find(status.containerStatuses, c.name);
    if (!s || !s->ready) unready.push_back(c.name);
  }
  std::vector<std::string> gates;
  for (const auto& g : pod.spec.readinessGates) {
    const auto& theirs = pod.status.conditions;
    auto it = std::find_if(theirs.begin(), theirs.end(), [&](const auto& c) { return c.type == g.conditionType; });
    if (it == theirs.end()) {
      gates.push_back(fmt::format("corresponding condition of pod readiness gate \"{}\" does not exist.", g.conditionType));
    } else if (it->status != "True") {
      gates.push_back(fmt::format("the status of pod readiness gate \"{}\" is not \"True\", but {}", g.conditionType, it->status));
    }
  }
  std::string reason, message;
  bool ready = false;
  if (done) {
    reason = "PodCompleted";
  } else if (failed) {
    reason = "PodFailed";
  } else if (!unready.empty()) {
    reason = "ContainersNotReady";
    message = fmt::format("containers with unready status: [{}]", fmt::join(unready, " "));
  } else {
    ready = true;
  }
  set("ContainersReady", ready, reason, message);
  if (ready && !gates.empty()) {
    set("Ready", false, "ReadinessGatesNotReady", fmt::format("{}", fmt::join(gates, ", ")));
  } else {
    set("Ready", ready, reason, message);
  }
}

// Lists of conditions and addresses are merged by key: what is no more is said to be no more.
base::json::array list_patch(const base::json::array& before, const base::json::array& after, std::string_view key) {
  auto text = [](const base::json::value& v, std::string_view name) -> std::string_view {
    const auto* o = v.if_object();
    const auto* t = o ? o->if_contains(name) : nullptr;
    return t && t->is_string() ? std::string_view(t->get_string()) : std::string_view();
  };
  auto find = [&](const base::json::array& in, std::string_view value) -> const base::json::value* {
    for (const auto& e : in)
      if (text(e, key) == value) return &e;
    return nullptr;
  };
  base::json::array out;
  for (const auto& e : after) {
    const auto* old = find(before, text(e, key));
    if (old && *old == e) continue;
    out.push_back(e);
    if (!old || !old->is_object() || !e.is_object()) continue;
    for (const auto& [name, value] : old->get_object()) {
      if (!e.get_object().contains(name)) out.back().get_object()[name] = nullptr;
    }
  }
  for (const auto& e : before) {
    if (!find(after, text(e, key))) out.push_back(base::json::object{{key, text(e, key)}, {"$patch", "delete"}});
  }
  return out;
}

std::string status_patch(const std::string& uid, const base::json::object& before, const base::json::object& after) {
  base::json::object changed;
  for (const auto& [key, value] : after) {
    const auto* old = before.if_contains(key);
    if (old && *old == value) continue;
    std::string_view merge_key = key == "conditions" ? "type" : key == "podIPs" || key == "hostIPs" ? "ip" : "";
    if (old && !merge_key.empty() && old->is_array() && value.is_array())
      changed[key] = list_patch(old->get_array(), value.get_array(), merge_key);
    else changed[key] = value;
  }
  for (const auto& [key, value] : before) {
    if (!after.contains(key)) changed[key] = nullptr;
  }
  if (changed.empty()) return {};
  base::json::object patch{{"metadata", base::json::object{{"uid", uid}}}, {"status", std::move(changed)}};
  return base::to_text(patch);
}

}  // namespace agent
