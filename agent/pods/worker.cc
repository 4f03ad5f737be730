#include "agent/pods/worker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "agent/pods/log_file.h"
#include "agent/pods/resources.h"
#include "agent/pods/status.h"
#include "base/files.h"
#include "base/log.h"

namespace agent {

using namespace std::chrono_literals;

namespace {

// A file that a container may have written: at most n bytes of it, only if it is a regular file.
std::string read_some(const std::string& path, size_t n) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat s;
  if (!fd || ::fstat(fd.get(), &s) != 0 || !S_ISREG(s.st_mode)) return {};
  std::string out(n, '\0');
  ssize_t got = ::read(fd.get(), out.data(), n);
  out.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return out;
}

void set_waiting(api::core::ContainerStatus& s, std::string reason, std::string message = {}) {
  auto& w = s.state.emplace().waiting.emplace();
  w.reason = std::move(reason);
  w.message = std::move(message);
  s.ready = false;
  s.started = false;
}

constexpr size_t kTerminationMessage = 4096;

}  // namespace

PodWorker::PodWorker(PodContext& context, PodPtr pod, std::optional<Refusal> refusal)
    : context_(context), uid_(pod->metadata.uid), pod_(std::move(pod)), strand_(context.runtime.strand()), life_(context.runtime),
      active_(std::make_shared<base::Tasks>(context.runtime)) {
  status_ = pod_->status;
  std::erase_if(status_.conditions, [](const auto& c) {
    return !owns_condition(c.type);
  });
  auto json = api::encode_json(status_);
  if (json.is_object()) sent_ = json.as_object();
  volumes_ = std::make_shared<PodVolumes>(context_.client, context_.objects, volume_settings());
  make_slots();
  if (status_.phase == "Succeeded" || status_.phase == "Failed") {
    final_phase_ = status_.phase;
    final_reason_ = status_.reason;
    final_message_ = status_.message;
  } else if (refusal) {
    final_phase_ = "Failed";
    final_reason_ = std::move(refusal->reason);
    final_message_ = std::move(refusal->message);
    event("Warning", final_reason_, final_message_);
  }
  deleting_ = !pod_->metadata.deletionTimestamp.empty();
  view_.pod = pod_;
}

PodWorker::~PodWorker() = default;

std::string PodWorker::log_dir() const {
  return fmt::format("{}/{}_{}_{}", context_.logs_dir, pod_->metadata.namespace_, pod_->metadata.name, uid_);
}

VolumeSettings PodWorker::volume_settings() const {
  return {context_.pods_dir + "/" + uid_, context_.memory_dir + "/" + uid_, context_.storage_dir};
}

PodFacts PodWorker::facts() const {
  PodFacts f;
  f.pod = pod_.get();
  f.pod_ips = ips_;
  f.host_ips = context_.host_ips();
  f.node_allocatable = context_.allocatable;
  return f;
}

void PodWorker::make_slots() {
  auto add = [&](const api::core::Container& c, Role role, const std::vector<api::core::ContainerStatus>& known) {
    if (slot_named(c.name)) return;
    Slot s;
    s.name = c.name;
    s.role = role;
    auto it = std::find_if(known.begin(), known.end(), [&](const auto& k) { return k.name == c.name; });
    auto spec = std::make_shared<api::core::Container>(c);
    if (it != known.end()) {
      s.status = *it;
      if (!s.status.containerID.empty()) {
        s.attempt = s.status.restartCount;
        // What it was given, which a change of its resources may have left behind.
        if (s.status.resources) spec->resources = s.status.resources;
        s.planned = spec;
      }
    } else {
      s.status.name = c.name;
      s.status.image = c.image;
      bool initial = role == Role::init || role == Role::sidecar || pod_->spec.initContainers.empty();
      set_waiting(s.status, initial && role != Role::init && role != Role::sidecar ? "ContainerCreating" : "PodInitializing");
    }
    s.spec = std::move(spec);
    if (s.attempt >= 0) {
      s.log_path = fmt::format("{}/{}/{}.log", log_dir(), s.name, s.attempt);
      if (s.attempt > 0) s.previous_log_path = fmt::format("{}/{}/{}.log", log_dir(), s.name, s.attempt - 1);
    }
    slots_.push_back(std::move(s));
  };
  for (const auto& c : pod_->spec.initContainers) add(c, is_sidecar(c) ? Role::sidecar : Role::init, pod_->status.initContainerStatuses);
  for (const auto& c : pod_->spec.containers) add(c, Role::app, pod_->status.containerStatuses);
  for (const auto& e : pod_->spec.ephemeralContainers) {
    // The same fields under another name.
    auto c = api::decode<api::core::Container>(api::encode_json(e));
    if (!c) continue;
    add(*c, Role::ephemeral, pod_->status.ephemeralContainerStatuses);
    slot_named(e.name)->target = e.targetContainerName;
  }
}

PodWorker::Slot* PodWorker::slot_named(const std::string& name) {
  for (auto& s : slots_)
    if (s.name == name) return &s;
  return nullptr;
}

PodWorker::Slot* PodWorker::slot_of(const std::string& id) {
  for (auto& s : slots_)
    if (s.id == id) return &s;
  return nullptr;
}

bool PodWorker::restarts(const Slot& s) const {
  if (s.role == Role::ephemeral) return false;
  int code = s.status.state && s.status.state->terminated ? s.status.state->terminated->exitCode
             : s.status.lastState && s.status.lastState->terminated ? s.status.lastState->terminated->exitCode
                                                                     : 0;
  return should_restart(*pod_, *s.spec, s.role == Role::init || s.role == Role::sidecar, code);
}

void PodWorker::adopt(runtime::SandboxPtr sandbox) {
  sandbox_ = std::move(sandbox);
  const auto& labels = sandbox_->spec().labels;
  if (auto it = labels.find("attempt"); it != labels.end()) sandbox_attempt_ = std::atoi(it->second.c_str());
  ready_for_containers_ = false;  // the network and the volumes are looked at again
  for (const auto& ip : pod_->status.podIPs) ips_.push_back(ip.ip);
  for (const auto& c : sandbox_->containers()) {
    auto name = c.labels.find("name");
    Slot* s = name == c.labels.end() ? nullptr : slot_named(name->second);
    auto label = c.labels.find("attempt");
    int attempt = label == c.labels.end() ? 0 : std::atoi(label->second.c_str());
    if (!s || (!s->id.empty() && attempt < s->attempt)) continue;
    s->id = c.id;
    s->attempt = attempt;
    if (!s->planned) s->planned = s->spec;
    s->log_path = c.log_path;
    if (auto file = c.labels.find("termination"); file != c.labels.end()) s->termination_file = file->second;
    s->running = c.phase == runtime::ContainerPhase::running;
  }
}

Task<> PodWorker::run() {
  life_.spawn("status of " + pod_->metadata.name, strand_,
              [](std::shared_ptr<PodWorker> self) -> Task<> { co_await self->write_status(); }(shared_from_this()));
  // What was running when this node was last seen, and what has become of it.
  for (auto& s : slots_) {
    const std::string full = "appliance://" + s.id;
    bool known = !s.id.empty() && s.status.containerID == full;
    if (s.running) {
      bool was_ready = known && s.status.ready, was_started = known && s.status.started.value_or(false);
      auto live = sandbox_->container(s.id);
      mark_running(s, live ? live->started : base::WallClock::now());
      s.status.containerID = full;
      s.status.restartCount = s.attempt;
      if (was_started || !s.spec->startupProbe) s.status.started = true;
      if (was_ready) s.status.ready = true;
    } else if (!s.id.empty()) {
      auto ended = sandbox_->container(s.id);
      bool told = known && s.status.state && (s.status.state->terminated || s.status.state->waiting);
      if (ended && ended->phase == runtime::ContainerPhase::exited && !told) {
        s.status.containerID = full;
        on_exit(s, *ended);
      }
    } else if (s.status.state && s.status.state->running) {
      runtime::ContainerStatus lost;
      lost.exit_code = 137;
      lost.started = base::WallClock::now();
      if (auto t = base::parse_rfc3339(s.status.state->running->startedAt)) lost.started = *t;
      lost.finished = base::WallClock::now();
      lost.message = "The container could not be located when the node came back";
      on_exit(s, lost);
      if (s.status.state && s.status.state->terminated) s.status.state->terminated->reason = "ContainerStatusUnknown";
    }
    resume_back_off(s);
  }
  // A new sandbox starts from the beginning.
  if (!sandbox_ && final_phase_.empty()) {
    for (auto& s : slots_) {
      if (s.role != Role::init || !s.status.state || !s.status.state->terminated) continue;
      s.status.lastState = s.status.state;
      set_waiting(s.status, "PodInitializing");
    }
  }
  for (;;) {
    uint64_t seen = changed_.version();
    auto deadline = step();
    publish();
    if (stage_ == Stage::gone) co_return;
    co_await changed_.wait(seen, deadline);
  }
}

Task<> PodWorker::stop() {
  co_await active_->stop();
  co_await life_.stop();
}

void PodWorker::update(PodPtr pod) {
  base::post(strand_, [self = shared_from_this(), pod = std::move(pod)] {
    PodPtr before = self->pod_;
    self->pod_ = pod;
    self->deleting_ = !pod->metadata.deletionTimestamp.empty();
    self->take_spec_changes(before);
    self->wake();
  });
}

void PodWorker::removed() {
  base::post(strand_, [self = shared_from_this()] {
    self->object_gone_ = true;
    self->wake();
  });
}

void PodWorker::evict(std::string message, bool pressure) {
  base::post(strand_, [self = shared_from_this(), message = std::move(message), pressure] {
    if (self->stage_ == Stage::preparing || self->stage_ == Stage::running) {
      self->event("Warning", "Evicted", message);
      self->disrupted_ = pressure;
      self->begin_stop(1s, "Failed", "Evicted", message);
      self->wake();
    }
  });
}

void PodWorker::room_changed() {
  base::post(strand_, [self = shared_from_this()] {
    if (self->resize_refused_.reason == "Deferred") self->wake();
  });
}

void PodWorker::runtime_event(runtime::SandboxEvent event) {
  base::post(strand_, [self = shared_from_this(), event = std::move(event)] {
    if (!self->sandbox_ || self->sandbox_->spec().id != event.sandbox) return;
    if (event.container.empty()) {
      self->wake();  // step() looks at alive()
      return;
    }
    Slot* s = self->slot_of(event.container);
    if (s && event.status.phase == runtime::ContainerPhase::exited && s->running && !s->launching) {
      self->on_exit(*s, event.status);
      self->wake();
    }
  });
}

// Image changes restart a container; new ephemeral containers are started. (Resources: step_resize().)
void PodWorker::take_spec_changes(const PodPtr& before) {
  if (before->metadata.labels != pod_->metadata.labels || before->metadata.annotations != pod_->metadata.annotations) {
    for (const auto& v : pod_->spec.volumes) refresh_wanted_ = refresh_wanted_ || v.downwardAPI || v.projected;
  }
  if (before->spec == pod_->spec) return;
  make_slots();
  auto look = [&](const api::core::Container& c) {
    Slot* s = slot_named(c.name);
    if (!s) return;
    auto next = std::make_shared<api::core::Container>(c);
    next->resources = s->spec->resources;
    if (*s->spec == *next) return;
    bool image = s->spec->image != c.image;
    s->spec = std::move(next);
    if (stage_ != Stage::running) return;
    if (image && s->running && !s->stopping) {
      s->stopping = true;
      life_.spawn("restart of " + s->name, strand_,
                  [](std::shared_ptr<PodWorker> self, std::string name) -> Task<> {
                    co_await self->stop_container(name, fmt::format("Container {} definition changed, will be restarted", name),
                                                  std::chrono::seconds(self->pod_->spec.terminationGracePeriodSeconds.value_or(30)));
                  }(shared_from_this(), s->name));
    }
  };
  for (const auto& c : pod_->spec.initContainers) look(c);
  for (const auto& c : pod_->spec.containers) look(c);
}

void PodWorker::on_exit(Slot& s, const runtime::ContainerStatus& status) {
  s.running = false;
  s.probes_started = false;
  auto healthy = status.finished > status.started ? status.finished - status.started : base::WallClock::duration::zero();
  api::core::ContainerStateTerminated t;
  t.exitCode = status.exit_code;
  if (status.signal) t.signal = status.signal;
  t.reason = status.oom_killed ? "OOMKilled" : status.exit_code == 0 ? "Completed" : "Error";
  t.startedAt = base::rfc3339(status.started.time_since_epoch().count() ? status.started : base::WallClock::now());
  t.finishedAt = base::rfc3339(status.finished.time_since_epoch().count() ? status.finished : base::WallClock::now());
  t.containerID = s.status.containerID;
  t.message = status.message;
  if (t.message.empty() && !s.termination_file.empty()) t.message = read_some(s.termination_file, kTerminationMessage);
  if (t.message.empty() && s.spec->terminationMessagePolicy == "FallbackToLogsOnError" && t.exitCode != 0)
    t.message = log_tail(s.log_path, 80, 2048);
  s.status.state.emplace().terminated = t;
  s.status.ready = false;
  s.status.started = false;
  if (stage_ == Stage::stopping || stage_ == Stage::stopped || !final_phase_.empty() || !restarts(s)) return;
  auto now = base::Clock::now();
  s.not_before = s.crash.failed(now, std::chrono::duration_cast<base::Duration>(healthy));
  s.backoff_event_sent = false;
  if (s.not_before <= now) return;
  s.status.lastState = s.status.state;
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(s.crash.delay()).count();
  std::string wait = seconds >= 60 ? fmt::format("{}m{}s", seconds / 60, seconds % 60) : fmt::format("{}s", seconds);
  std::string who = fmt::format("container={} pod={}_{}({})", s.name, pod_->metadata.name, pod_->metadata.namespace_, uid_);
  set_waiting(s.status, "CrashLoopBackOff", fmt::format("back-off {} restarting failed {}", wait, who));
  event(
      "Warning", "BackOff",
      fmt::format("Back-off restarting failed container {} in pod {}_{}({})", s.name, pod_->metadata.name, pod_->metadata.namespace_, uid_),
      s.name);
}

// A crash loop goes on where it was before this process began.
void PodWorker::resume_back_off(Slot& s) {
  bool looping = s.status.state && s.status.state->waiting && s.status.state->waiting->reason == "CrashLoopBackOff";
  if (!looping || s.crash.delay() != base::Duration::zero() || !s.status.lastState || !s.status.lastState->terminated) return;
  auto now = base::Clock::now();
  for (int i = 0; i <= std::min(s.status.restartCount, 8); ++i) s.crash.failed(now);
  auto finished = base::parse_rfc3339(s.status.lastState->terminated->finishedAt);
  if (!finished) return;
  auto waited = std::chrono::duration_cast<base::Duration>(base::WallClock::now() - *finished);
  s.not_before = now + std::max<base::Duration>(s.crash.delay() - waited, base::Duration::zero());
}

std::optional<base::TimePoint> PodWorker::step() {
  auto now = base::Clock::now();
  if (stage_ == Stage::stopping) {
    // A deletion that came later, or with less patience, shortens what is under way.
    if (object_gone_ || (deleting_ && std::chrono::seconds(pod_->metadata.deletionGracePeriodSeconds.value_or(30)) < grace_)) {
      base::Duration shorter = object_gone_ ? base::Duration(1s)
                                            : std::chrono::seconds(pod_->metadata.deletionGracePeriodSeconds.value_or(30));
      if (shorter < grace_) {
        grace_ = shorter;
        for (auto& s : slots_) {
          if (!s.running || !sandbox_) continue;
          life_.spawn("shorter stop", strand_, [](runtime::SandboxPtr sandbox, std::string id, base::Duration g) -> Task<> {
            auto r = co_await sandbox->stop(std::move(id), g);
            (void)r;
          }(sandbox_, s.id, grace_));
        }
      }
    }
    return std::nullopt;
  }
  if (stage_ == Stage::stopped) {
    if ((deleting_ || object_gone_) && remains_removed_ && !finishing_) {
      finishing_ = true;
      life_.spawn("deletion of " + pod_->metadata.name, strand_,
                  [](std::shared_ptr<PodWorker> self) -> Task<> { co_await self->finish_deletion(); }(shared_from_this()));
    }
    return std::nullopt;
  }
  if (stage_ == Stage::gone) return std::nullopt;

  if (object_gone_) {
    begin_stop(1s, {}, {}, {});
    return std::nullopt;
  }
  if (deleting_) {
    begin_stop(std::chrono::seconds(pod_->metadata.deletionGracePeriodSeconds.value_or(30)), {}, {}, {});
    return std::nullopt;
  }
  if (!final_phase_.empty()) {
    begin_stop(0s, final_phase_, final_reason_, final_message_);
    return std::nullopt;
  }
  std::optional<base::TimePoint> next;
  auto at = [&](base::TimePoint t) {
    if (!next || t < *next) next = t;
  };
  if (pod_->spec.activeDeadlineSeconds && !status_.startTime.empty()) {
    auto started = base::parse_rfc3339(status_.startTime);
    if (started) {
      auto left = *started + std::chrono::seconds(*pod_->spec.activeDeadlineSeconds) - base::WallClock::now();
      if (left <= base::WallClock::duration::zero()) {
        std::string why = "Pod was active on the node longer than the specified deadline";
        event("Normal", "DeadlineExceeded", why);
        begin_stop(std::chrono::seconds(pod_->spec.terminationGracePeriodSeconds.value_or(30)), "Failed", "DeadlineExceeded", why);
        return std::nullopt;
      }
      at(now + std::chrono::duration_cast<base::Duration>(left));
    }
  }
  if (sandbox_ && !sandbox_->alive() && !setting_up_) {
    pod_limits_.reset();
    base::log::warn("agent", "the supervisor of pod {}/{} has died", pod_->metadata.namespace_, pod_->metadata.name);
    event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
    for (auto& s : slots_) {
      if (s.running) {
        auto end = sandbox_->container(s.id).value_or(runtime::ContainerStatus{});
        if (end.phase != runtime::ContainerPhase::exited) {
          end.exit_code = 137;
          end.finished = base::WallClock::now();
        }
        on_exit(s, end);
      }
      if (s.role == Role::init && s.status.state && s.status.state->terminated) {
        s.status.lastState = s.status.state;
        set_waiting(s.status, "PodInitializing");
      }
    }
    ready_for_containers_ = false;
    stage_ = Stage::preparing;
  }
  if (!ready_for_containers_) {
    if (!setting_up_) {
      if (setup_.waiting(now)) {
        at(setup_.until());
      } else {
        setting_up_ = true;
        active_->spawn("set-up of " + pod_->metadata.name, strand_,
                       [](std::shared_ptr<PodWorker> self) -> Task<> { co_await self->set_up(); }(shared_from_this()));
      }
    }
    return next;
  }
  stage_ = Stage::running;
  if (auto t = volumes_->refresh_at(); t && !refreshing_) {
    if (*t <= now) refresh_wanted_ = true;
    else at(*t);
  }
  if (refresh_wanted_ && !refreshing_) {
    refreshing_ = true;
    refresh_wanted_ = false;
    active_->spawn("volumes of " + pod_->metadata.name, strand_,
                   [](std::shared_ptr<PodWorker> self) -> Task<> { co_await self->refresh_volumes(); }(shared_from_this()));
  }
  if (auto t = step_resize(now)) at(*t);
  if (auto t = step_containers(now)) at(*t);
  return next;
}

std::optional<base::TimePoint> PodWorker::step_containers(base::TimePoint now) {
  std::optional<base::TimePoint> next;
  std::vector<std::string> due;
  auto terminated = [](const Slot& s) { return !s.running && s.status.state && s.status.state->terminated; };
  auto ever_ended = [](const Slot& s) { return s.status.lastState && s.status.lastState->terminated; };
  auto want = [&](Slot& s) {
    if (s.starting || s.stopping) return;
    if (s.not_before > now) {
      if (!next || s.not_before < *next) next = s.not_before;
      return;
    }
    due.push_back(s.name);
  };
  bool init_done = true;
  // Once a regular container has been started, init containers that have ended are not looked at again.
  bool apps_began = std::any_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.role == Role::app && !s.id.empty(); });
  for (auto& s : slots_) {
    if (s.role == Role::init) {
      if (apps_began) continue;
      if (s.running || s.starting) {
        init_done = false;
        break;
      }
      if (terminated(s)) {
        if (s.status.state->terminated->exitCode == 0) continue;
        if (!restarts(s)) {
          begin_stop(0s, "Failed", {}, {});
          return std::nullopt;
        }
      }
      want(s);
      init_done = false;
      break;
    }
    if (s.role == Role::sidecar) {
      if (!s.running) want(s);
      if (!apps_began && !s.status.started.value_or(false)) {
        init_done = false;
        break;
      }
    }
  }
  bool all_done = init_done;
  if (init_done) {
    for (auto& s : slots_) {
      if (s.role != Role::app) continue;
      if (s.running || s.starting) {
        all_done = false;
        continue;
      }
      bool ended = terminated(s) || (ever_ended(s) && s.status.state && s.status.state->waiting && !s.id.empty());
      if (ended && !restarts(s)) continue;
      all_done = false;
      want(s);
    }
  }
  for (auto& s : slots_) {
    if (s.role == Role::ephemeral && !s.running && !terminated(s)) want(s);
  }
  if (all_done && !slots_.empty()) {
    begin_stop(std::chrono::seconds(pod_->spec.terminationGracePeriodSeconds.value_or(30)), {}, {}, {});
    return std::nullopt;
  }
  if (!due.empty() && !starting_) {
    starting_ = true;
    for (const auto& name : due) slot_named(name)->starting = true;
    active_->spawn("start of " + pod_->metadata.name, strand_,
                   [](std::shared_ptr<PodWorker> self, std::vector<std::string> names) -> Task<> {
                     co_await self->start_containers(std::move(names));
                   }(shared_from_this(), std::move(due)));
  }
  return next;
}

PodView PodWorker::view() const {
  std::scoped_lock lock(view_mutex_);
  return view_;
}

}  // namespace agent
