#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

#include "base/log.h"
#include "runtime/container/capabilities.h"
#include "runtime/container/seccomp.h"
#include "runtime/container/syscalls.h"
#include "runtime/sandbox/sandbox_impl.h"
#include "runtime/exec/sessions.h"

namespace runtime {

using base::Fd;
using namespace std::chrono_literals;

namespace {

base::Failure invalid(std::string message) { return base::fail(400, "InvalidContainerSpec", std::move(message)); }

Result<StartRequest> to_request(ContainerSpec spec) {
  if (!valid_id(spec.id)) return invalid("invalid container id \"" + spec.id + "\"");
  if (spec.argv.empty() || spec.argv[0].empty()) return invalid("no command specified: neither the image nor the container names one");
  if (spec.layers.empty()) return invalid("the image has no layers");
  for (const auto* list : {&spec.argv, &spec.env}) {
    for (const std::string& s : *list) {
      if (s.find('\0') != std::string::npos) return invalid("an argument or variable contains a NUL character");
    }
  }
  if (!spec.stop_signal.empty() && !parse_signal(spec.stop_signal)) return invalid("unknown stop signal \"" + spec.stop_signal + "\"");
  StartRequest request;
  TRY(request.capabilities, container_capabilities(spec.add_capabilities, spec.drop_capabilities, spec.privileged));
  if (!spec.privileged && spec.seccomp.kind == Seccomp::Kind::runtime_default) {
    TRY(request.seccomp, default_seccomp(request.capabilities));
  } else if (!spec.privileged && spec.seccomp.kind == Seccomp::Kind::profile) {
    TRY(request.seccomp, compile_seccomp(spec.seccomp.profile_json, request.capabilities));
  }
  request.spec = std::move(spec);
  return request;
}

}  // namespace

bool valid_id(std::string_view id) {
  if (id.empty() || id.size() > 128) return false;
  for (char c : id) {
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && c != '_' && c != '.' && c != '-') return false;
  }
  return id[0] != '.' && id[0] != '-' && id[0] != '_';
}

CgroupStats to_stats(const CgroupUsage& u) {
  CgroupStats s;
  s.time = base::WallClock::now();
  s.cpu_usage_ns = u.cpu_ns;
  s.memory_usage_bytes = u.memory;
  s.memory_working_set_bytes = u.working_set;
  s.memory_rss_bytes = u.rss;
  s.memory_limit_bytes = u.memory_limit;
  s.memory_page_faults = u.page_faults;
  s.memory_major_page_faults = u.major_faults;
  s.pids = u.pids;
  s.periods = u.periods;
  s.throttled_periods = u.throttled_periods;
  s.throttled_ns = u.throttled_ns;
  return s;
}

SandboxImpl::SandboxImpl(std::shared_ptr<SandboxContext> context, Fd socket) : context_(std::move(context)) {
  ucred peer{};
  socklen_t size = sizeof peer;
  // Of a socket pair this is the agent itself: setup() learns the real one.
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) pid_ = peer.pid;
  link_ = std::make_shared<Link>(context_->runtime, std::move(socket));
}

void SandboxImpl::begin() { context_->tasks.spawn("sandbox", shared_from_this()->listen()); }

Task<> SandboxImpl::listen() {
  auto self = shared_from_this();
  co_await link_->read([this](Message m) { on_message(std::move(m)); });
  on_gone();
}

void SandboxImpl::on_message(Message m) {
  if (m.op == Op::container_changed) {
    SandboxEvent event;
    event.sandbox = spec_.id;
    if (!wire::decode(m.body, event.status)) return;
    event.container = event.status.id;
    {
      std::scoped_lock lock(mutex_);
      statuses_[event.container] = event.status;
    }
    changed_.notify();
    if (context_->options.on_event) context_->options.on_event(event);
  } else if (m.op == Op::exec_ended) {
    ExecEnded ended;
    if (!wire::decode(m.body, ended)) return;
    {
      std::scoped_lock lock(mutex_);
      auto it = execs_.find(ended.session);
      if (it != execs_.end()) it->second = ended.exit_code;
    }
    changed_.notify();
  } else if (m.op == Op::note) {
    Note note;
    if (wire::decode(m.body, note)) base::log::info("sandbox", "{}: {}", spec_.id, note.text);
  }
}

// The supervisor ended, or we let go of it (the link was closed by ourselves: then nothing is told).
void SandboxImpl::on_gone() {
  std::vector<SandboxEvent> events;
  {
    std::scoped_lock lock(mutex_);
    if (known_ && !destroying_) {
      for (auto& [id, s] : statuses_) {
        if (s.phase == ContainerPhase::exited) continue;
        s.phase = ContainerPhase::exited;
        s.pid = 0;
        s.exit_code = 137;
        s.finished = base::WallClock::now();
        s.message = "the pod's supervisor ended unexpectedly";
        events.push_back({spec_.id, id, s});
      }
      events.push_back({spec_.id, "", {}});
    }
  }
  changed_.notify();
  if (events.empty()) return;
  base::log::error("sandbox", "the supervisor of {} ended unexpectedly", spec_.id);
  if (!spec_.cgroup_parent.empty()) context_->cgroups.kill(spec_.cgroup_parent);
  for (const auto& e : events) {
    if (context_->options.on_event) context_->options.on_event(e);
  }
}

Result<> SandboxImpl::take_state(Answer answer) {
  SandboxState state;
  if (!wire::decode(answer.payload, state)) return base::internal("the pod's supervisor sent a malformed state");
  spec_ = std::move(state.spec);
  created_ = state.created;
  pid_ = state.pid;
  pidfd_ = Fd(sys::pidfd_open(pid_));
  if (!answer.fds.empty()) netns_ = std::move(answer.fds[0]);
  std::scoped_lock lock(mutex_);
  known_ = true;
  for (auto& s : state.containers) statuses_.try_emplace(s.id, s);
  return {};
}

Task<Result<>> SandboxImpl::setup(SandboxSpec spec) {
  spec_ = spec;
  SandboxSetup request{spec, context_->run_dir(spec.id), context_->data_dir(spec.id)};
  CO_TRY(Answer answer, co_await link_->call(Op::setup, wire::encode(request)));
  co_return take_state(std::move(answer));
}

Task<Result<>> SandboxImpl::hello() {
  CO_TRY(Answer answer, co_await link_->call(Op::hello, ""));
  co_return take_state(std::move(answer));
}

void SandboxImpl::abandon() {
  if (pid_ > 0 && pid_ != ::getpid()) ::kill(pid_, SIGKILL);
  link_->close();
}

std::string SandboxImpl::netns_path() const { return spec_.host_network ? std::string() : "/proc/" + std::to_string(pid_) + "/ns/net"; }

Task<Result<>> SandboxImpl::plain(Op op, std::string body) {
  auto self = shared_from_this();
  CO_TRY(Answer answer, co_await link_->call(op, std::move(body)));
  co_return Result<>();
}

Task<Result<ContainerStatus>> SandboxImpl::start(ContainerSpec spec) {
  auto self = shared_from_this();
  CO_TRY(StartRequest request, to_request(std::move(spec)));
  CO_TRY(Answer answer, co_await link_->call(Op::start, wire::encode(request)));
  ContainerStatus status;
  if (!wire::decode(answer.payload, status)) co_return base::internal("the pod's supervisor sent a malformed status");
  co_return status;
}

Task<Result<>> SandboxImpl::signal(std::string container, int signal) {
  return plain(Op::signal, wire::encode(SignalRequest{std::move(container), 0, signal}));
}

Task<Result<>> SandboxImpl::stop(std::string container, base::Duration grace) {
  auto self = shared_from_this();
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(grace).count();
  CO_CHECK_OK(co_await plain(Op::stop, wire::encode(StopRequest{container, static_cast<uint64_t>(std::max<int64_t>(0, ms))})));
  CO_TRY(ContainerStatus status, co_await wait(container));
  co_return Result<>();
}

Task<Result<>> SandboxImpl::remove(std::string container) {
  auto self = shared_from_this();
  if (!valid_id(container)) co_return Result<>();
  auto removed = co_await plain(Op::remove, wire::encode(ContainerRef{container}));
  if (!removed && alive()) co_return removed;
  {
    std::scoped_lock lock(mutex_);
    statuses_.erase(container);
  }
  changed_.notify();
  std::string group = cgroup(container), data = context_->data_dir(spec_.id) + "/" + container;
  co_return co_await base::offload([context = context_, group, data]() -> Result<> {
    CHECK_OK(context->cgroups.remove(group));
    return base::remove_all(data);
  });
}

Task<Result<>> SandboxImpl::update(std::string container, Resources resources) {
  if (!this->container(container)) co_return base::not_found("container", container);
  co_return context_->cgroups.apply(cgroup(container), resources);
}

Task<Result<>> SandboxImpl::update_pod(Resources resources) { co_return context_->cgroups.apply(spec_.cgroup_parent, resources); }

Task<Result<>> SandboxImpl::reopen_log(std::string container) {
  return plain(Op::reopen_log, wire::encode(ContainerRef{std::move(container)}));
}

std::vector<ContainerStatus> SandboxImpl::containers() const {
  std::scoped_lock lock(mutex_);
  std::vector<ContainerStatus> out;
  for (const auto& [id, s] : statuses_) out.push_back(s);
  return out;
}

std::optional<ContainerStatus> SandboxImpl::container(std::string_view id) const {
  std::scoped_lock lock(mutex_);
  auto it = statuses_.find(id);
  if (it == statuses_.end()) return std::nullopt;
  return it->second;
}

Task<Result<ContainerStatus>> SandboxImpl::wait(std::string id) {
  auto self = shared_from_this();
  for (;;) {
    uint64_t seen = changed_.version();
    auto status = container(id);
    if (!status) co_return base::not_found("container", id);
    if (status->phase == ContainerPhase::exited) co_return *status;
    if (!alive()) co_return base::fail(503, "SandboxGone", "the pod's supervisor is gone");
    co_await changed_.wait(seen);
  }
}

Result<CgroupStats> SandboxImpl::stats_of(const std::string& path) const {
  if (!context_->cgroups.exists(path)) return base::not_found("cgroup", path);
  return to_stats(context_->cgroups.usage(path));
}

Result<CgroupStats> SandboxImpl::stats(std::string_view container) const { return stats_of(cgroup(container)); }
Result<CgroupStats> SandboxImpl::pod_stats() const { return stats_of(spec_.cgroup_parent); }

std::string SandboxImpl::writable_layer(std::string_view container) const {
  return context_->data_dir(spec_.id) + "/" + std::string(container) + "/upper";
}

Task<Result<ExecSessionPtr>> SandboxImpl::exec(std::string container, ExecSpec spec) {
  auto self = shared_from_this();
  bool tty = spec.tty, in = spec.stdin_open, output = spec.want_output;
  auto started = std::make_shared<ExecStarted>();
  auto arrived = [self, started](const std::string& payload) {
    if (!wire::decode(payload, *started)) return;
    std::scoped_lock lock(self->mutex_);
    self->execs_[started->session] = std::nullopt;
  };
  std::string body = wire::encode(ExecRequest{std::move(container), std::move(spec)});
  CO_TRY(Answer answer, co_await link_->call(Op::exec, std::move(body), std::move(arrived)));
  size_t expected = tty ? 1 : (in ? 1 : 0) + (output ? 2 : 0);
  if (answer.fds.size() != expected) {
    forget_exec(started->session);
    co_return base::internal("the pod's supervisor sent no streams");
  }
  co_return make_exec_session(self, started->session, started->pid, tty, in, std::move(answer.fds));
}

Task<Result<AttachSessionPtr>> SandboxImpl::attach(std::string container, bool with_stdin) {
  auto self = shared_from_this();
  auto status = this->container(container);
  if (!status) co_return base::not_found("container", container);
  bool in = with_stdin && status->stdin_open;
  CO_TRY(Answer answer, co_await link_->call(Op::attach, wire::encode(AttachRequest{container, with_stdin})));
  if (answer.fds.size() != (in ? 1u : 0u) + (status->tty ? 1u : 2u)) co_return base::internal("the pod's supervisor sent no streams");
  co_return make_attach_session(self, container, in, std::move(answer.fds));
}

Task<Result<int>> SandboxImpl::wait_exec(uint32_t session) {
  auto self = shared_from_this();
  for (;;) {
    uint64_t seen = changed_.version();
    {
      std::scoped_lock lock(mutex_);
      auto it = execs_.find(session);
      if (it == execs_.end()) co_return base::not_found("exec session", std::to_string(session));
      if (it->second) co_return *it->second;
    }
    if (!alive()) co_return base::fail(503, "SandboxGone", "the pod's supervisor is gone");
    co_await changed_.wait(seen);
  }
}

Task<Result<>> SandboxImpl::kill_exec(uint32_t session, int signal) {
  return plain(Op::signal, wire::encode(SignalRequest{"", session, signal}));
}

void SandboxImpl::forget_exec(uint32_t session) {
  std::scoped_lock lock(mutex_);
  execs_.erase(session);
}

Task<Result<>> SandboxImpl::resize(std::string container, uint16_t columns, uint16_t rows) {
  return plain(Op::resize, wire::encode(ResizeRequest{std::move(container), columns, rows}));
}

Task<Result<>> SandboxImpl::destroy() {
  auto self = shared_from_this();
  {
    std::scoped_lock lock(mutex_);
    destroying_ = true;
  }
  if (alive()) {
    (void)co_await base::with_timeout(10s, plain(Op::shutdown, ""));
    if (!co_await link_->closed(2s) && pidfd_) {
      base::log::warn("sandbox", "the supervisor of {} did not end and is killed", spec_.id);
      ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
      co_await link_->closed(2s);
    }
  }
  netns_.reset();
  std::string id = spec_.id, parent = spec_.cgroup_parent;
  auto cleaned = co_await base::offload([context = context_, id, parent] { return context->clean(id, parent); });
  {
    std::scoped_lock lock(mutex_);
    statuses_.clear();
  }
  changed_.notify();
  context_->forget(id);
  co_return cleaned;
}

Result<> SandboxContext::clean(const std::string& id, const std::string& cgroup_parent) {
  std::string run = run_dir(id);
  Result<> result;
  if (!cgroup_parent.empty()) result = cgroups.remove(cgroup_parent);
  if (::umount2((run + "/shm").c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL && errno != ENOENT && result) {
    result = base::errno_error("unmount " + run + "/shm");
  }
  if (auto r = base::remove_all(data_dir(id)); !r && result) result = r;
  // A mount that could not go must not be emptied.
  if (result) result = base::remove_all(run);
  return result;
}

}  // namespace runtime
