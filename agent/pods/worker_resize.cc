// Resources that change while containers run: accepted when the node has room, then made true one container after the other.
#include <algorithm>

#include <fmt/format.h>

#include "agent/pods/resources.h"
#include "agent/pods/room.h"
#include "agent/pods/worker.h"
#include "base/log.h"

namespace agent {

using namespace std::chrono_literals;

namespace {

constexpr auto kRetry = 10s;

// The groups keep a limit that is not mentioned: its end is said.
runtime::Resources explicitly(runtime::Resources r) {
  if (!r.memory_bytes) r.memory_bytes = -1;
  if (!r.cpu_quota_us) r.cpu_quota_us = -1;
  return r;
}

// Room for both: the pod's group while its containers change.
runtime::Resources wider(runtime::Resources a, const runtime::Resources& b) {
  auto larger = [](std::optional<int64_t>& mine, const std::optional<int64_t>& theirs) {
    mine = *mine < 0 || *theirs < 0 ? -1 : std::max(*mine, *theirs);
  };
  larger(a.memory_bytes, b.memory_bytes);
  larger(a.cpu_quota_us, b.cpu_quota_us);
  if (!a.cpu_period_us) a.cpu_period_us = b.cpu_period_us;
  a.cpu_shares = std::max(a.cpu_shares, b.cpu_shares);
  return a;
}

using Amounts = std::map<std::string, std::string>;

const Amounts& of(const api::core::ContainerStatus& s, bool limits) {
  static const Amounts none;
  return !s.resources ? none : limits ? s.resources->limits : s.resources->requests;
}
const Amounts& of(const api::core::Container& c, bool limits) {
  static const Amounts none;
  return !c.resources ? none : limits ? c.resources->limits : c.resources->requests;
}

// Whether what differs includes a resource whose change needs a new start.
bool needs_restart(const api::core::Container& c, const api::core::ContainerStatus& now) {
  auto value = [](const Amounts& in, const std::string& name) {
    auto it = in.find(name);
    return it == in.end() ? std::string() : it->second;
  };
  return std::any_of(c.resizePolicy.begin(), c.resizePolicy.end(), [&](const auto& p) {
    if (p.restartPolicy != "RestartContainer") return false;
    return value(of(c, true), p.resourceName) != value(of(now, true), p.resourceName) ||
           value(of(c, false), p.resourceName) != value(of(now, false), p.resourceName);
  });
}

}  // namespace

// The pod with what its containers were given, which may not be yet what its object asks for.
api::core::Pod PodWorker::allocated_pod() const {
  api::core::Pod pod = *pod_;
  for (auto* list : {&pod.spec.initContainers, &pod.spec.containers}) {
    for (auto& c : *list) {
      for (const auto& s : slots_) {
        if (s.name == c.name) c.resources = s.spec->resources;
      }
    }
  }
  return pod;
}

void PodWorker::show_resources(Slot& s) {
  s.status.resources = s.planned->resources;
  s.status.allocatedResources = s.planned->resources ? s.planned->resources->requests : Amounts();
}

std::optional<base::TimePoint> PodWorker::step_resize(base::TimePoint now) {
  auto wanted = [&](const Slot& s) -> const api::core::Container* {
    for (const auto* list : {&pod_->spec.containers, &pod_->spec.initContainers}) {
      for (const auto& c : *list)
        if (c.name == s.name) return &c;
    }
    return nullptr;
  };
  bool differs = std::any_of(slots_.begin(), slots_.end(), [&](const Slot& s) {
    const auto* c = wanted(s);
    return s.role != Role::ephemeral && c && !(c->resources == s.spec->resources);
  });
  if (!differs) {
    resize_refused_ = {};
  } else if (auto refusal = context_.room.change(*pod_)) {
    if (resize_refused_.reason != refusal->reason || resize_refused_.message != refusal->message) {
      event("Warning", "Resize" + refusal->reason, "Pod resize: " + refusal->message);
      resize_refused_ = std::move(*refusal);
    }
  } else {
    resize_refused_ = {};
    for (auto& s : slots_) {
      const auto* c = wanted(s);
      if (s.role == Role::ephemeral || !c || c->resources == s.spec->resources) continue;
      auto next = std::make_shared<api::core::Container>(*s.spec);
      next->resources = c->resources;
      s.spec = std::move(next);
    }
  }
  bool due = std::any_of(slots_.begin(), slots_.end(), [](const Slot& s) {
    return s.running && !s.launching && s.planned && !(s.planned->resources == s.spec->resources);
  });
  if (!due || resizing_ || stage_ != Stage::running) return std::nullopt;
  if (resize_not_before_ > now) return resize_not_before_;
  resizing_ = true;
  active_->spawn("resize of " + pod_->metadata.name, strand_,
                 [](std::shared_ptr<PodWorker> self) -> Task<> { co_await self->resize(); }(shared_from_this()));
  return std::nullopt;
}

Task<> PodWorker::resize() {
  struct End {
    PodWorker& w;
    ~End() {
      w.resizing_ = false;
      w.wake();
    }
  } at_end{*this};
  auto sandbox = sandbox_;
  resize_error_.clear();
  auto after = explicitly(pod_resources(allocated_pod()));
  auto between = pod_limits_ ? wider(*pod_limits_, after) : after;
  auto widened = co_await sandbox->update_pod(between);
  if (!widened) resize_error_ = widened.error().message;
  std::vector<std::string> names;
  for (const auto& s : slots_) names.push_back(s.name);
  for (const auto& name : names) {
    Slot& s = *slot_named(name);
    if (!s.running || s.launching || s.stopping || !s.planned || s.planned->resources == s.spec->resources) continue;
    auto spec = s.spec;
    if (needs_restart(*spec, s.status)) {
      s.stopping = true;
      life_.spawn("restart of " + name, strand_, [](std::shared_ptr<PodWorker> self, std::string n) -> Task<> {
        co_await self->stop_container(n, fmt::format("Container {} resize requires restart", n),
                                      std::chrono::seconds(self->pod_->spec.terminationGracePeriodSeconds.value_or(30)));
      }(shared_from_this(), name));
      continue;
    }
    runtime::Resources limits = explicitly(container_resources(*spec));
    if (auto use = sandbox->stats(s.id);
        use && *limits.memory_bytes > 0 && use->memory_working_set_bytes > static_cast<uint64_t>(*limits.memory_bytes)) {
      resize_error_ = fmt::format("the memory limit of container {} ({}) would be below what it uses ({})", name, *limits.memory_bytes,
                                  use->memory_working_set_bytes);
      continue;
    }
    auto done = co_await sandbox->update(s.id, std::move(limits));
    Slot& now = *slot_named(name);
    if (!done) {
      resize_error_ = done.error().message;
      continue;
    }
    now.planned = spec;
    show_resources(now);
    for (const auto& v : pod_->spec.volumes) refresh_wanted_ = refresh_wanted_ || v.downwardAPI || v.projected;
  }
  if (resize_error_.empty()) {
    auto narrowed = co_await sandbox->update_pod(after);
    if (narrowed) pod_limits_ = after;
    else resize_error_ = narrowed.error().message;
  } else {
    pod_limits_ = between;
  }
  resize_not_before_ = resize_error_.empty() ? base::TimePoint{} : base::Clock::now() + kRetry;
  if (!resize_error_.empty()) event("Warning", "ResizeError", resize_error_);
}

}  // namespace agent
