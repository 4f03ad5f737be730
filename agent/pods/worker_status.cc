// What the API is told about a pod: made from the slots, written by one coroutine, only when it differs, coalesced while a write is under
// way.
#include <algorithm>

#include <fmt/format.h>

#include "agent/pods/resources.h"
#include "agent/pods/status.h"
#include "agent/pods/worker.h"
#include "base/log.h"
#include "base/time.h"

namespace agent {

using namespace std::chrono_literals;

api::core::PodStatus PodWorker::make_status() {
  const std::string now = base::now_rfc3339();
  api::core::PodStatus s;
  s.conditions = status_.conditions;
  s.startTime = status_.startTime.empty() ? now : status_.startTime;
  s.qosClass = pod_->status.qosClass.empty() ? std::string(qos_name(qos_class(*pod_))) : pod_->status.qosClass;
  s.observedGeneration = pod_->metadata.generation;
  for (const auto& ip : context_.host_ips()) {
    if (s.hostIP.empty()) s.hostIP = ip;
    s.hostIPs.push_back({ip});
  }
  // The last address stays visible after the end.
  const auto& ips = ips_;
  for (const auto& ip : ips) {
    if (s.podIP.empty()) s.podIP = ip;
    s.podIPs.push_back({ip});
  }
  if (ips.empty() && stage_ != Stage::preparing) {
    s.podIP = status_.podIP;
    s.podIPs = status_.podIPs;
  }
  for (const auto& slot : slots_) {
    auto& list = slot.role == Role::app         ? s.containerStatuses
                 : slot.role == Role::ephemeral ? s.ephemeralContainerStatuses
                                                : s.initContainerStatuses;
    list.push_back(slot.status);
    auto& c = list.back();
    if (c.started.has_value() == false) c.started = false;
    // An init container is ready when it has done its work.
    if (slot.role == Role::init) c.ready = c.state && c.state->terminated && c.state->terminated->exitCode == 0;
  }
  s.phase = pod_phase(*pod_, s);
  bool stopping = stage_ == Stage::stopping || stage_ == Stage::stopped || stage_ == Stage::gone;
  if (!final_phase_.empty()) {
    s.phase = final_phase_;
    s.reason = final_reason_;
    s.message = final_message_;
    // While containers are still being stopped the pod has not ended.
    if (stage_ == Stage::stopping && final_reason_ != "DeadlineExceeded" && final_reason_ != "Evicted")
      s.phase = status_.phase == "Failed" ? "Failed" : s.phase;
  } else if (stopping && (stage_ == Stage::stopped || stage_ == Stage::gone)) {
    bool any = false, failed = false;
    for (const auto& c : s.containerStatuses) {
      if (!c.state || !c.state->terminated) continue;
      any = true;
      failed = failed || c.state->terminated->exitCode != 0;
    }
    if (any) s.phase = failed ? "Failed" : "Succeeded";
  } else if (stage_ == Stage::stopping && s.phase != "Failed" && s.phase != "Succeeded") {
    s.phase = status_.phase.empty() ? s.phase : status_.phase;
  }
  // An end is final.
  if (status_.phase == "Succeeded" || status_.phase == "Failed") s.phase = status_.phase;
  if (s.phase == "Succeeded" || s.phase == "Failed") {
    for (auto* list : {&s.initContainerStatuses, &s.containerStatuses}) {
      for (auto& c : *list) c.ready = c.ready && list == &s.initContainerStatuses;
    }
  }
  bool running = std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.running; });
  set_conditions(*pod_, s, sandbox_ != nullptr && (ready_for_containers_ || running), now);
  auto condition = [&](const char* type, std::string reason, std::string message) {
    set_condition(s.conditions, type, true, std::move(reason), std::move(message), now, pod_->metadata.generation);
  };
  // A pod that named its node itself has passed no scheduler.
  if (std::none_of(pod_->status.conditions.begin(), pod_->status.conditions.end(), [](const auto& c) { return c.type == "PodScheduled"; }))
    condition("PodScheduled", "", "");
  if (disrupted_) condition("DisruptionTarget", "TerminationByKubelet", final_message_);
  std::erase_if(s.conditions, [](const auto& c) { return c.type == "PodResizePending" || c.type == "PodResizeInProgress"; });
  if (!resize_refused_.reason.empty()) condition("PodResizePending", resize_refused_.reason, resize_refused_.message);
  if (resizing_ || !resize_error_.empty()) condition("PodResizeInProgress", resize_error_.empty() ? "" : "Error", resize_error_);
  return s;
}

void PodWorker::publish() {
  auto s = make_status();
  bool changed = !(s == status_);
  status_ = std::move(s);
  {
    std::scoped_lock lock(view_mutex_);
    view_.pod = pod_;
    view_.sandbox = sandbox_;
    view_.ips = ips_;
    view_.host_link = host_link_;
    view_.status = status_;
    view_.containers.clear();
    for (const auto& slot : slots_) {
      ContainerView c;
      c.name = slot.name;
      c.id = slot.id;
      c.log_path = slot.log_path;
      c.previous_log_path = slot.previous_log_path;
      c.running = slot.running;
      c.started_once = slot.attempt >= 0;
      c.tty = slot.spec->tty.value_or(false);
      c.in = slot.spec->stdin.value_or(false);
      c.in_once = slot.spec->stdinOnce.value_or(false);
      if (slot.status.state && slot.status.state->waiting) c.waiting_reason = slot.status.state->waiting->reason;
      view_.containers.push_back(std::move(c));
    }
  }
  if (!changed) return;
  status_dirty_ = true;
  // A pod that starts quickly is Running before anyone has seen it being created: one write instead of two.
  bool creating = stage_ == Stage::preparing || stage_ == Stage::running;
  for (const auto& slot : slots_) {
    const auto& st = slot.status.state;
    creating = creating && st && st->waiting && (st->waiting->reason == "ContainerCreating" || st->waiting->reason == "PodInitializing");
  }
  status_not_before_ = creating && !deleting_ ? born_ + 40ms : base::TimePoint{};
  status_changed_.notify();
}

Task<> PodWorker::write_status() {
  base::Duration retry = 200ms;
  for (;;) {
    uint64_t seen = status_changed_.version();
    if (!status_dirty_) {
      co_await status_changed_.wait(seen);
      continue;
    }
    if (base::Clock::now() < status_not_before_) {
      co_await status_changed_.wait(seen, status_not_before_);
      continue;
    }
    if (object_gone_) {
      status_dirty_ = false;
      status_sent_.notify();
      continue;
    }
    auto json = api::encode_json(status_);
    base::json::object after = json.is_object() ? json.as_object() : base::json::object();
    std::string patch = status_patch(uid_, sent_, after);
    status_dirty_ = false;
    if (!patch.empty()) {
      api::WriteOptions options;
      options.subresource = "status";
      auto r = co_await context_.client.patch(api::resource_of<api::core::Pod>(),
                                              api::ObjectKey{pod_->metadata.namespace_, pod_->metadata.name}, api::PatchType::strategic,
                                              std::move(patch), std::move(options));
      if (r) {
        sent_ = std::move(after);
        retry = 200ms;
      } else if (r.error().code == 404 || base::is_conflict(r.error())) {
        // Gone, or another object of that name: the informer will say so.
        status_lost_ = true;
      } else {
        base::log::warn("agent", "writing the status of pod {}/{}: {}", pod_->metadata.namespace_, pod_->metadata.name, r.error().message);
        status_dirty_ = true;
        co_await base::sleep_for(retry);
        retry = std::min<base::Duration>(retry * 2, 30s);
        continue;
      }
    }
    if (!status_dirty_) status_sent_.notify();
  }
}

Task<> PodWorker::status_written() {
  for (;;) {
    uint64_t seen = status_sent_.version();
    if (object_gone_ || status_lost_) co_return;
    if (!status_dirty_) {
      // A write may be under way: sent_ is set when it has ended.
      auto json = api::encode_json(status_);
      if (json.is_object() && status_patch(uid_, sent_, json.as_object()).empty()) co_return;
    }
    co_await status_sent_.wait(seen, base::Clock::now() + 5s);
    if (!status_dirty_ && base::Clock::now() > stop_began_ + grace_ + 60s) co_return;
  }
}

void PodWorker::event(std::string_view type, std::string_view reason, std::string message, const std::string& container) {
  auto about = api::reference_to(*pod_);
  if (Slot* s = slot_named(container)) {
    const char* list = s->role == Role::app ? "containers" : s->role == Role::ephemeral ? "ephemeralContainers" : "initContainers";
    about.fieldPath = fmt::format("spec.{}{{{}}}", list, container);
  }
  context_.events.record({"kubelet", context_.node_name}, std::move(about), type, reason, std::move(message));
}

}  // namespace agent
