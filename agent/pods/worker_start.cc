// From an image to a running, probed container.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include <fmt/format.h>

#include "agent/pods/container_plan.h"
#include "agent/pods/log_file.h"
#include "agent/pods/worker.h"
#include "base/bytes.h"
#include "base/files.h"
#include "base/log.h"

namespace agent {

using namespace std::chrono_literals;

namespace {

double seconds(base::Duration d) { return std::chrono::duration<double>(d).count(); }
std::string pretty(base::Duration d) {
  double s = seconds(d);
  return s < 1 ? fmt::format("{:.0f}ms", s * 1000) : fmt::format("{:.3f}s", s);
}

// What a container's environment refers to, fetched beforehand.
class FetchedSource final : public EnvSource {
 public:
  std::map<std::string, std::map<std::string, std::string>> config_maps, secrets;
  PodFacts facts;

  const std::map<std::string, std::string>* config_map(const std::string& name) const override { return find(config_maps, name); }
  const std::map<std::string, std::string>* secret(const std::string& name) const override { return find(secrets, name); }
  Result<std::string> field(const std::string& path) const override { return downward_field(facts, path); }
  Result<std::string> resource(const api::core::ResourceFieldSelector& s, const std::string& container) const override {
    return downward_resource(facts, s, container);
  }

 private:
  static const std::map<std::string, std::string>* find(const std::map<std::string, std::map<std::string, std::string>>& in,
                                                        const std::string& name) {
    auto it = in.find(name);
    return it == in.end() ? nullptr : &it->second;
  }
};

void set_waiting(api::core::ContainerStatus& s, std::string reason, std::string message) {
  auto& w = s.state.emplace().waiting.emplace();
  w.reason = std::move(reason);
  w.message = std::move(message);
}

}  // namespace

Task<> PodWorker::start_containers(std::vector<std::string> names) {
  struct End {
    PodWorker& w;
    std::vector<std::string>& names;
    ~End() {
      for (const auto& n : names)
        if (Slot* s = w.slot_named(n)) s->starting = false;
      w.starting_ = false;
      w.wake();
    }
  } at_end{*this, names};
  // Images are fetched side by side, containers started in order.
  for (const auto& name : names) {
    slot_named(name)->image.reset();
    active_->spawn("image of " + name, strand_, [](std::shared_ptr<PodWorker> self, std::string n) -> Task<> {
      co_await self->ensure_image(std::move(n));
    }(shared_from_this(), name));
  }
  for (const auto& name : names) {
    for (;;) {
      uint64_t seen = changed_.version();
      if (slot_named(name)->image) break;
      co_await changed_.wait(seen);
    }
    Slot& s = *slot_named(name);
    if (*s.image) co_await start_container(name);
    if (Slot* after = slot_named(name)) after->starting = false;
    publish();
  }
}

Task<> PodWorker::ensure_image(std::string name) {
  auto spec = slot_named(name)->spec;
  auto found = co_await find_image(spec);
  Slot& s = *slot_named(name);
  if (found) {
    s.pull.reset();
  } else {
    auto now = base::Clock::now();
    const base::Error& e = found.error();
    s.not_before = s.pull.failed(now);
    set_waiting(s.status, e.reason, e.message);
    event(
        "Warning", "Failed",
        fmt::format("Error: {}",
                    e.reason == "ErrImagePull" || e.reason == "InvalidImageName" || e.reason == "ErrImageNeverPull" ? e.reason : e.message),
        name);
    if (e.reason == "ErrImagePull") {
      // What users see while it waits for the next attempt.
      active_->spawn("back-off of " + name, strand_, [](std::shared_ptr<PodWorker> self, std::string n, std::string why) -> Task<> {
        co_await base::sleep_for(2s);
        Slot* slot = self->slot_named(n);
        if (!slot || slot->starting || slot->running || !slot->status.state || !slot->status.state->waiting) co_return;
        if (slot->status.state->waiting->reason != "ErrImagePull") co_return;
        set_waiting(slot->status, "ImagePullBackOff",
                    fmt::format("Back-off pulling image \"{}\": ErrImagePull: {}", slot->spec->image, why));
        self->event("Normal", "BackOff", fmt::format("Back-off pulling image \"{}\"", slot->spec->image), n);
        self->wake();
      }(shared_from_this(), name, e.message));
    }
  }
  s.image = std::move(found);
  wake();
}

Task<Result<runtime::ImagePtr>> PodWorker::find_image(std::shared_ptr<const api::core::Container> spec) {
  const std::string reference = spec->image;
  if (auto parsed = runtime::parse_image_reference(reference); !parsed) {
    event("Warning", "InspectFailed", fmt::format("Failed to apply default image tag \"{}\": {}", reference, parsed.error().message),
          spec->name);
    co_return base::fail(400, "InvalidImageName",
                         fmt::format("Failed to apply default image tag \"{}\": {}", reference, parsed.error().message));
  }
  std::string policy = pull_policy(*spec);
  auto present = context_.puller.find(reference);
  if (present && policy != "Always") {
    event("Normal", "Pulled", fmt::format("Container image \"{}\" already present on machine", reference), spec->name);
    co_return present;
  }
  if (policy == "Never") {
    event("Warning", "ErrImageNeverPull", fmt::format("Container image \"{}\" is not present with pull policy of Never", reference),
          spec->name);
    co_return base::fail(404, "ErrImageNeverPull",
                         fmt::format("Container image \"{}\" is not present with pull policy of Never", reference));
  }
  std::vector<runtime::RegistryCredentials> credentials;
  std::string missing;
  for (const auto& ref : pod_->spec.imagePullSecrets) {
    auto secret = co_await context_.objects.secret(pod_->metadata.namespace_, ref.name);
    if (!secret) {
      missing += (missing.empty() ? "" : ", ") + ref.name;
      continue;
    }
    for (auto& c : pull_credentials(**secret, reference)) credentials.push_back(std::move(c));
  }
  if (!missing.empty()) {
    event("Warning", "FailedToRetrieveImagePullSecret",
          fmt::format("Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.", missing),
          spec->name);
  }
  event("Normal", "Pulling", fmt::format("Pulling image \"{}\"", reference), spec->name);
  auto pulled = co_await context_.puller.pull(reference, std::move(credentials));
  if (!pulled) {
    event("Warning", "Failed", fmt::format("Failed to pull image \"{}\": {}", reference, pulled.error().message), spec->name);
    co_return base::fail(pulled.error().code, "ErrImagePull", pulled.error().message);
  }
  event("Normal", "Pulled",
        fmt::format("Successfully pulled image \"{}\" in {} ({} including waiting). Image size: {} bytes.", reference,
                    pretty(pulled->pulling), pretty(pulled->waiting), pulled->image->size),
        spec->name);
  co_return pulled->image;
}

Task<Result<runtime::ContainerSpec>> PodWorker::plan(std::string name, std::string id, int attempt) {
  PodPtr pod = pod_;
  auto spec = slot_named(name)->spec;
  auto image = **slot_named(name)->image;
  FetchedSource source;
  source.facts = facts();
  source.facts.pod = pod.get();
  std::map<std::string, bool> maps, secrets;  // name -> required
  for (const auto& f : spec->envFrom) {
    if (f.configMapRef) maps[f.configMapRef->name];
    if (f.secretRef) secrets[f.secretRef->name];
  }
  for (const auto& e : spec->env) {
    if (!e.valueFrom) continue;
    if (e.valueFrom->configMapKeyRef) maps[e.valueFrom->configMapKeyRef->name];
    if (e.valueFrom->secretKeyRef) secrets[e.valueFrom->secretKeyRef->name];
  }
  for (const auto& [n, required] : maps) {
    auto o = co_await context_.objects.config_map(pod->metadata.namespace_, n);
    if (o) source.config_maps[n] = (*o)->data;
    else if (!base::is_not_found(o.error())) co_return std::unexpected(std::move(o).error());
  }
  for (const auto& [n, required] : secrets) {
    auto o = co_await context_.objects.secret(pod->metadata.namespace_, n);
    if (o) source.secrets[n] = (*o)->data;
    else if (!base::is_not_found(o.error())) co_return std::unexpected(std::move(o).error());
  }
  ContainerInputs in;
  CO_TRY(
      in.environment,
      make_environment(*spec, source, context_.service_variables(pod->metadata.namespace_, pod->spec.enableServiceLinks.value_or(true))));
  if (!in.environment.skipped.empty()) {
    event("Warning", "InvalidEnvironmentVariableNames",
          fmt::format("Keys [{}] were skipped since they are considered invalid environment variable names.",
                      fmt::join(in.environment.skipped, ", ")),
          name);
  }
  CO_TRY(in.mounts, volumes_->mounts(*pod, *spec, in.environment.as_map()));
  CO_TRY(in.layers, context_.images.layers(*image));
  in.pod = pod.get();
  in.container = spec.get();
  if (const std::string target = slot_named(name)->target; !target.empty()) {
    Slot* other = slot_named(target);
    if (!other || !other->running)
      co_return base::fail(409, "CreateContainerError", fmt::format("the target container \"{}\" is not running", target));
    in.pid_of = other->id;
  }
  in.image = image;
  in.id = id;
  in.node_memory_bytes = context_.memory_bytes;
  const std::string dir = volume_settings().pod_dir;
  in.log_path = fmt::format("{}/{}/{}.log", log_dir(), name, attempt);
  in.hosts_file = dir + "/etc-hosts";
  in.hostname_file = dir + "/hostname";
  in.resolv_conf_file = dir + "/resolv.conf";
  in.termination_file = fmt::format("{}/containers/{}/{}", dir, name, id.substr(0, 8));
  in.labels = {{"name", name},
               {"attempt", std::to_string(attempt)},
               {"uid", uid_},
               {"namespace", pod->metadata.namespace_},
               {"pod", pod->metadata.name},
               {"termination", in.termination_file}};
  CO_TRY(SeccompChoice seccomp, seccomp_choice(*pod, *spec));
  auto prepared = co_await base::offload([file = in.termination_file, logs = log_dir() + "/" + name, profile = seccomp.localhost_profile,
                                          seccomp_dir = context_.seccomp_dir, attempt]() -> Result<std::string> {
    CHECK_OK(base::make_dirs(file.substr(0, file.rfind('/')), 0755));
    CHECK_OK(base::make_dirs(logs, 0755));
    base::Fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666));
    if (!fd || ::fchmod(fd.get(), 0666) != 0) return base::errno_error("create " + file);
    remove_old_logs(logs, attempt - 1);
    if (profile.empty()) return std::string();
    return base::read_file(seccomp_dir + "/" + profile, 1 << 20);
  });
  if (!prepared) co_return std::unexpected(std::move(prepared).error());
  in.seccomp_profile = std::move(*prepared);
  co_return plan_container(std::move(in));
}

Task<> PodWorker::start_container(std::string name) {
  std::string id = base::hex_encode(base::random_bytes(32));
  int attempt = slot_named(name)->attempt + 1;
  auto as_planned = slot_named(name)->spec;
  auto planned = co_await plan(name, id, attempt);
  if (!planned) {
    start_failed(*slot_named(name), planned.error());
    co_return;
  }
  event("Normal", "Created", fmt::format("Container created: {}", name), name);
  std::string log_path = planned->log.path, termination = planned->labels["termination"];
  runtime::SandboxPtr sandbox = sandbox_;
  std::string old_id;
  {
    Slot& s = *slot_named(name);
    old_id = s.id;
    s.previous_log_path = s.log_path;
    s.id = id;
    s.attempt = attempt;
    s.log_path = log_path;
    s.termination_file = termination;
    s.planned = as_planned;
    s.running = s.launching = true;
    s.started_at = base::Clock::now();
    if (s.status.state && s.status.state->terminated) {
      s.status.lastState = s.status.state;
      set_waiting(s.status, s.role == Role::init || s.role == Role::sidecar ? "PodInitializing" : "ContainerCreating", "");
    }
    s.status.restartCount = attempt;
    s.status.containerID = "appliance://" + id;
    auto image = **s.image;
    s.image_used = image;
    s.status.image = image->reference.empty() ? s.spec->image : image->reference;
    s.status.imageID = image->repo_digests.empty() ? image->id : image->repo_digests.front();
    context_.images.touch(image->id);
  }
  auto started = co_await sandbox->start(std::move(*planned));
  Slot& s = *slot_named(name);
  s.launching = false;
  if (!started) {
    if (started.error().code == 422) {
      event("Warning", "Failed", fmt::format("Error: {}", started.error().message), name);
      runtime::ContainerStatus end = sandbox->container(id).value_or(runtime::ContainerStatus{});
      if (end.exit_code == 0) end.exit_code = 128;
      end.message = started.error().message;
      end.started = end.finished = base::WallClock::now();
      on_exit(s, end);
      forget_container(sandbox, old_id);
      for (auto* state : {s.status.state.get(), s.status.lastState.get()}) {
        if (!state || !state->terminated || state->terminated->containerID != s.status.containerID) continue;
        state->terminated->reason = "StartError";
        state->terminated->message = started.error().message;
      }
    } else {
      // It never began: this was no restart. What the runtime remembers of it goes.
      s.attempt = attempt - 1;
      s.id = old_id;
      s.status.restartCount = std::max(s.attempt, 0);
      s.status.containerID = old_id.empty() ? "" : "appliance://" + old_id;
      s.log_path = s.previous_log_path;
      start_failed(s, started.error());
      forget_container(sandbox, id);
    }
    co_return;
  }
  forget_container(sandbox, old_id);
  event("Normal", "Started", fmt::format("Container started: {}", name), name);
  if (auto now = sandbox->container(id); now && now->phase == runtime::ContainerPhase::exited) {
    // So soon that the event came before the answer.
    if (s.running) on_exit(s, *now);
    co_return;
  }
  if (s.spec->lifecycle && s.spec->lifecycle->postStart) {
    auto spec = s.spec;
    ProbeTarget target{&context_.runtime, sandbox, id, pod_ip(), spec.get()};
    auto hook = co_await run_hook(*spec->lifecycle->postStart, target, 24h);
    Slot& after = *slot_named(name);
    if (!after.running || after.id != id) co_return;
    if (!hook) {
      event("Warning", "FailedPostStartHook", fmt::format("PostStartHook failed: {}", hook.error().message), name);
      co_await stop_container(name, fmt::format("FailedPostStartHook"),
                              std::chrono::seconds(pod_->spec.terminationGracePeriodSeconds.value_or(30)));
      co_return;
    }
  }
  mark_running(*slot_named(name), started->started.time_since_epoch().count() ? started->started : base::WallClock::now());
  publish();
}

void PodWorker::forget_container(runtime::SandboxPtr sandbox, std::string id) {
  if (id.empty()) return;
  active_->spawn("remains of a container", strand_, [](runtime::SandboxPtr box, std::string dead) -> Task<> {
    auto r = co_await box->remove(std::move(dead));
    (void)r;
  }(std::move(sandbox), std::move(id)));
}

void PodWorker::start_failed(Slot& s, const base::Error& e) {
  std::string reason = e.reason == "CreateContainerConfigError" ? "CreateContainerConfigError" : "CreateContainerError";
  // runAsNonRoot and the like are found by the runtime, but are mistakes of the configuration.
  if (e.reason == "InvalidContainerSpec") reason = "CreateContainerConfigError";
  s.running = false;
  s.not_before = s.config.failed(base::Clock::now());
  set_waiting(s.status, reason, e.message);
  event("Warning", "Failed", fmt::format("Error: {}", e.message), s.name);
}

void PodWorker::mark_running(Slot& s, base::WallTime since) {
  s.running = true;
  s.config.reset();
  if (s.started_at == base::TimePoint{}) {
    s.started_at = base::Clock::now() - std::chrono::duration_cast<base::Duration>(base::WallClock::now() - since);
  }
  s.status.state.emplace().running.emplace().startedAt = base::rfc3339(since);
  if (s.planned) show_resources(s);
  s.status.started = !s.spec->startupProbe;
  s.status.ready = s.status.started.value_or(false) && !s.spec->readinessProbe && s.role != Role::init;
  start_probes(s);
}

void PodWorker::start_probes(Slot& s) {
  auto spawn = [&](ProbeKind kind) {
    active_->spawn(fmt::format("{} probe of {}", probe_name(kind), s.name), strand_,
                   [](std::shared_ptr<PodWorker> self, std::string name, std::string id, ProbeKind k) -> Task<> {
                     co_await self->probe_loop(std::move(name), std::move(id), k);
                   }(shared_from_this(), s.name, s.id, kind));
  };
  if (s.role == Role::init) return;
  if (s.spec->startupProbe && !s.status.started.value_or(false)) {
    spawn(ProbeKind::startup);
    return;
  }
  if (s.probes_started) return;
  s.probes_started = true;
  if (s.spec->livenessProbe) spawn(ProbeKind::liveness);
  if (s.spec->readinessProbe) spawn(ProbeKind::readiness);
}

Task<> PodWorker::probe_loop(std::string name, std::string id, ProbeKind kind) {
  auto spec = slot_named(name)->spec;
  const api::core::Probe& probe = kind == ProbeKind::startup    ? *spec->startupProbe
                                  : kind == ProbeKind::liveness ? *spec->livenessProbe
                                                                : *spec->readinessProbe;
  ProbeTimes times = probe_times(probe);
  Verdict initial = kind == ProbeKind::liveness                                       ? Verdict::success
                    : kind == ProbeKind::readiness && !slot_named(name)->status.ready ? Verdict::failure
                                                                                      : Verdict::unknown;
  ProbeState state(times, initial);
  // Our own runs of this very container only; a restart begins new loops.
  auto current = [&]() -> Slot* {
    Slot* s = slot_named(name);
    return s && s->running && s->id == id && !s->stopping ? s : nullptr;
  };
  base::TimePoint next = std::max(slot_named(name)->started_at + times.initial_delay, base::Clock::now());
  for (;;) {
    co_await base::sleep_until(next);
    if (!current()) co_return;
    next = base::Clock::now() + times.period;
    ProbeTarget target{&context_.runtime, sandbox_, id, pod_ip(), spec.get()};
    ProbeResult result = co_await run_probe(probe, target);
    Slot* s = current();
    if (!s) co_return;
    if (result.verdict != Verdict::success) {
      bool failed = result.verdict == Verdict::failure;
      event("Warning", "Unhealthy",
            fmt::format("{} probe {}: {}", probe_name(kind), failed ? "failed" : "errored", result.message.substr(0, 1024)), name);
    }
    Verdict verdict = state.note(result.verdict);
    if (kind == ProbeKind::readiness) {
      bool ready = verdict == Verdict::success;
      if (verdict != Verdict::unknown && s->status.ready != ready) {
        s->status.ready = ready;
        publish();
      }
    } else if (verdict == Verdict::failure) {
      auto grace = std::chrono::seconds(
          probe.terminationGracePeriodSeconds.value_or(pod_->spec.terminationGracePeriodSeconds.value_or(30)));
      s->stopping = true;
      std::string why = fmt::format("Container {} failed {} probe, will be restarted", name,
                                    kind == ProbeKind::startup ? "startup" : "liveness");
      life_.spawn("stop of " + name, strand_,
                  [](std::shared_ptr<PodWorker> self, std::string n, std::string w, base::Duration g) -> Task<> {
                    co_await self->stop_container(std::move(n), std::move(w), g);
                  }(shared_from_this(), name, why, grace));
      co_return;
    } else if (kind == ProbeKind::startup && verdict == Verdict::success) {
      s->status.started = true;
      s->status.ready = !spec->readinessProbe;
      start_probes(*s);
      wake();
      co_return;
    }
  }
}

}  // namespace agent
