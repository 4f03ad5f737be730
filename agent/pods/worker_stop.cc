// The end of containers and of the pod.
#include <algorithm>

#include <fmt/format.h>

#include "agent/pods/worker.h"
#include "base/files.h"
#include "base/log.h"

namespace agent {

using namespace std::chrono_literals;

void PodWorker::begin_stop(base::Duration grace, std::string phase, std::string reason, std::string message) {
  if (stage_ == Stage::stopping || stage_ == Stage::stopped || stage_ == Stage::gone) return;
  stage_ = Stage::stopping;
  grace_ = grace;
  stop_began_ = base::Clock::now();
  if (!phase.empty()) {
    final_phase_ = std::move(phase);
    final_reason_ = std::move(reason);
    final_message_ = std::move(message);
  }
  life_.spawn("stop of " + pod_->metadata.name, strand_,
              [](std::shared_ptr<PodWorker> self) -> Task<> { co_await self->stop_all(); }(shared_from_this()));
}

Task<> PodWorker::stop_all() {
  // Starts, probes and pulls end first, so that nothing comes up behind our back.
  co_await active_->stop();
  if (sandbox_) {
    auto stop_some = [this](std::vector<std::string> names) {
      auto left = std::make_shared<size_t>(names.size());
      for (auto& name : names) {
        slot_named(name)->stopping = true;
        life_.spawn("stop of " + name, strand_,
                    [](std::shared_ptr<PodWorker> self, std::string n, std::shared_ptr<size_t> count) -> Task<> {
                      struct End {
                        std::shared_ptr<PodWorker> w;
                        std::shared_ptr<size_t> c;
                        ~End() {
                          --*c;
                          w->wake();
                        }
                      } at_end{self, count};
                      auto gone_by = base::Clock::now() - self->stop_began_;
                      auto left_of_grace = std::max<base::Duration>(self->grace_ - gone_by,
                                                                    self->grace_ > 0s ? base::Duration(1s) : base::Duration(0));
                      co_await self->stop_container(n, fmt::format("Stopping container {}", n), left_of_grace);
                    }(shared_from_this(), name, left));
      }
      return left;
    };
    auto wait_for = [](PodWorker* w, std::shared_ptr<size_t> left) -> Task<> {
      for (;;) {
        uint64_t seen = w->changed_.version();
        if (*left == 0) co_return;
        co_await w->changed_.wait(seen);
      }
    };
    std::vector<std::string> first, sidecars;
    for (auto& s : slots_) {
      if (!s.running) continue;
      (s.role == Role::sidecar ? sidecars : first).push_back(s.name);
    }
    co_await wait_for(this, stop_some(std::move(first)));
    // Sidecars outlive what they serve, the last one started ends first.
    for (auto it = sidecars.rbegin(); it != sidecars.rend(); ++it) co_await wait_for(this, stop_some({*it}));
  }
  // What never ran says so.
  for (auto& s : slots_) {
    if (s.running || !s.status.state || !s.status.state->waiting || !deleting_) continue;
    if (s.status.lastState && s.status.lastState->terminated) s.status.state = s.status.lastState;
  }
  stage_ = Stage::stopped;
  wake();
  co_await tear_down();
  remains_removed_ = true;
  wake();
}

Task<> PodWorker::stop_container(std::string name, std::string why, base::Duration grace) {
  struct End {
    std::shared_ptr<PodWorker> w;
    std::string name;
    ~End() {
      if (Slot* s = w->slot_named(name)) s->stopping = false;
      w->wake();
    }
  } at_end{shared_from_this(), name};
  Slot* s = slot_named(name);
  if (!s || !s->running || !sandbox_) co_return;
  s->stopping = true;
  std::string id = s->id;
  auto spec = s->spec;
  auto began = base::Clock::now();
  event("Normal", "Killing", why, name);
  if (spec->lifecycle && spec->lifecycle->preStop && grace > 0s) {
    ProbeTarget target{&context_.runtime, sandbox_, id, pod_ip(), spec.get()};
    auto hook = co_await run_hook(*spec->lifecycle->preStop, target, grace);
    if (!hook) event("Warning", "FailedPreStopHook", fmt::format("PreStopHook failed: {}", hook.error().message), name);
  }
  auto left = grace - (base::Clock::now() - began);
  // A hook that used up the time still leaves the process a moment.
  if (grace > 0s) left = std::max<base::Duration>(left, 2s);
  else left = 0s;
  if (stage_ == Stage::stopping) left = std::min(left, std::max<base::Duration>(grace_, 0s));
  auto stopped = co_await sandbox_->stop(id, left);
  if (!stopped)
    base::log::warn("agent", "stopping container {} of pod {}/{}: {}", name, pod_->metadata.namespace_, pod_->metadata.name,
                    stopped.error().message);
  // The event of its end may still be queued behind us.
  Slot* after = slot_named(name);
  if (after && after->running && after->id == id) {
    auto status = sandbox_->container(id).value_or(runtime::ContainerStatus{});
    if (status.phase != runtime::ContainerPhase::exited) {
      status.exit_code = 137;
      status.finished = base::WallClock::now();
    }
    on_exit(*after, status);
  }
}

Task<> PodWorker::tear_down() {
  publish();
  auto sandbox = sandbox_;
  if (sandbox) {
    auto gone = co_await sandbox->destroy();
    if (!gone) {
      base::log::warn("agent", "removing the sandbox of pod {}/{}: {}", pod_->metadata.namespace_, pod_->metadata.name,
                      gone.error().message);
    } else {
      sandbox_ = nullptr;
    }
  }
  if (network::Pods* pods = context_.network(); pods && !pod_->spec.hostNetwork.value_or(false)) {
    auto detached = co_await base::offload([pods, id = uid_] { return pods->detach(id); });
    if (!detached)
      base::log::warn("agent", "detaching pod {}/{}: {}", pod_->metadata.namespace_, pod_->metadata.name, detached.error().message);
  }
  volumes_ = std::make_shared<PodVolumes>(context_.client, context_.objects, volume_settings());
  auto removed = co_await PodVolumes::remove(volume_settings());
  if (!removed)
    base::log::warn("agent", "removing the volumes of pod {}/{}: {}", pod_->metadata.namespace_, pod_->metadata.name,
                    removed.error().message);
  ready_for_containers_ = false;
  publish();
}

Task<> PodWorker::finish_deletion() {
  // A removal that failed is tried once more.
  if (sandbox_) {
    auto gone = co_await sandbox_->destroy();
    if (gone) sandbox_ = nullptr;
  }
  if (!object_gone_) {
    publish();
    co_await status_written();
    for (base::Duration wait = 200ms; !object_gone_; wait = std::min<base::Duration>(wait * 2, 30s)) {
      api::DeleteOptions options;
      options.grace_period_seconds = 0;
      options.uid = uid_;
      auto r = co_await context_.client.remove(api::resource_of<api::core::Pod>(),
                                               api::ObjectKey{pod_->metadata.namespace_, pod_->metadata.name}, std::move(options));
      // Another object of that name: ours is gone.
      if (r || r.error().code == 404 || r.error().code == 409) break;
      base::log::warn("agent", "deleting pod {}/{}: {}", pod_->metadata.namespace_, pod_->metadata.name, r.error().message);
      co_await base::sleep_for(wait);
    }
  }
  auto removed = co_await base::offload([dir = log_dir()] { return base::remove_all(dir); });
  if (!removed) base::log::warn("agent", "removing the logs of pod {}: {}", pod_->metadata.name, removed.error().message);
  stage_ = Stage::gone;
  wake();
}

}  // namespace agent
