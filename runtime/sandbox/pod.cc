#include "runtime/sandbox/pod.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "runtime/container/kernel_file.h"
#include "runtime/container/mounts.h"
#include "runtime/container/syscalls.h"
#include "runtime/sandbox/child_pipes.h"

namespace runtime {

using base::Fd;
using base::Result;

namespace {

base::WallTime wall_now() { return base::WallClock::now(); }

Result<> make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return base::errno_error("make " + path);
  return {};
}

Result<> loopback_up() {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (!socket || ::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) return base::errno_error("read the flags of the loopback device");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return base::errno_error("bring the loopback device up");
  return {};
}

// Only what belongs to a namespace of the pod's own.
bool may_set(const std::string& name, const SandboxSpec& s) {
  if (name.find("..") != std::string::npos || name.find('/') != std::string::npos) return false;
  if (name.starts_with("net.")) return !s.host_network;
  if (name.starts_with("kernel.shm") || name.starts_with("kernel.msg") || name == "kernel.sem" || name.starts_with("fs.mqueue."))
    return !s.host_ipc;
  return false;
}

}  // namespace

Pod::Pod(Loop& loop, Cgroups cgroups, Events events) : loop_(loop), cgroups_(std::move(cgroups)), events_(std::move(events)) {}

// --- the sandbox

Result<> Pod::setup(const SandboxSetup& setup) {
  setup_ = setup;
  created_ = wall_now();
  const SandboxSpec& spec = setup_.spec;
  for (const auto& [name, value] : spec.sysctls) {
    if (!may_set(name, spec))
      return base::fail(400, "InvalidSandboxSpec", "sysctl \"" + name + "\" is not one of the pod's own namespaces");
  }
  CHECK_OK(cgroups_.create(spec.cgroup_parent, spec.resources));
  CHECK_OK(make_namespaces());
  CHECK_OK(make_directory(setup_.run_dir + "/root", 0700));
  if (!spec.host_ipc) {
    std::string shm = setup_.run_dir + "/shm";
    CHECK_OK(make_directory(shm, 0700));
    TRY(Fd tmpfs, new_mount("tmpfs", {{"mode", "1777"}, {"size", std::to_string(spec.shm_bytes)}},
                            {.no_suid = true, .no_dev = true, .no_exec = true}));
    Fd target(::open(shm.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    CHECK_OK(runtime::attach(tmpfs, target.get(), {}, Propagation::none, shm));
  }
  own_pid_namespace_ = Fd(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  if (!own_pid_namespace_) return base::errno_error("open /proc/self/ns/pid");
  if (spec.share_pid && !spec.host_pid) CHECK_OK(start_pause());
  save();
  return {};
}

Result<> Pod::make_namespaces() {
  const SandboxSpec& spec = setup_.spec;
  int flags = 0;
  if (!spec.host_network) flags |= CLONE_NEWNET | CLONE_NEWUTS;
  if (!spec.host_ipc) flags |= CLONE_NEWIPC;
  if (flags != 0 && ::unshare(flags) != 0) return base::errno_error("make the namespaces of the pod");
  if (!spec.host_network) {
    CHECK_OK(loopback_up());
    if (!spec.hostname.empty() && ::sethostname(spec.hostname.c_str(), spec.hostname.size()) != 0)
      return base::errno_error("set the hostname \"" + spec.hostname + "\"");
  }
  TRY(Fd proc, open_procfs());
  for (const auto& [name, value] : spec.sysctls) {
    std::string path = "sys/" + name;
    std::ranges::replace(path, '.', '/');
    if (int err = try_write_kernel(path, value, proc.get()); err != 0)
      return base::errno_error("set sysctl " + name + " to \"" + value + "\"", err);
  }
  return {};
}

Result<> Pod::start_pause() {
  pid_t pid = sys::clone3(CLONE_NEWPID);
  if (pid < 0) return base::errno_error("make the PID namespace of the pod");
  if (pid == 0) {
    ::prctl(PR_SET_NAME, "appl-pause");
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    ::close_range(0, ~0u, 0);
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (;;) {
      int got;
      ::sigwait(&child, &got);
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {}
    }
  }
  pause_ = pid;
  return {};
}

SandboxState Pod::state() const {
  SandboxState s;
  s.spec = setup_.spec;
  s.pid = ::getpid();
  s.created = created_;
  s.data_dir = setup_.data_dir;
  for (const auto& [id, c] : containers_) s.containers.push_back(c->status);
  return s;
}

Result<Fd> Pod::network_namespace() const {
  Fd fd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd) return base::errno_error("open /proc/self/ns/net");
  return fd;
}

void Pod::save() const {
  std::string path = setup_.run_dir + "/state", temporary = path + ".new";
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  std::string text = wire::encode(state());
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return;
  ::rename(temporary.c_str(), path.c_str());
}

void Pod::changed(Container& c) {
  save();
  events_.container_changed(c.status);
}

Result<Pod::ContainerPtr> Pod::find(const std::string& id, bool running) {
  auto it = containers_.find(id);
  if (it == containers_.end()) return base::not_found("container", id);
  if (running && it->second->status.phase != ContainerPhase::running)
    return base::fail(409, "Conflict", "container \"" + id + "\" is not running");
  return it->second;
}

// --- starting

// A child in the PID namespace of `pid_namespace` (0: as the flags say).
Result<pid_t> Pod::clone_into(pid_t pid_namespace, uint64_t flags, int cgroup) {
  bool entered = false;
  if (pid_namespace > 0) {
    Fd target(sys::pidfd_open(pid_namespace));
    if (!target || ::setns(target.get(), CLONE_NEWPID) != 0) return base::errno_error("enter the PID namespace");
    entered = true;
  }
  pid_t pid = sys::clone3(flags, cgroup);
  int err = errno;
  if (pid != 0 && entered) ::setns(own_pid_namespace_.get(), CLONE_NEWPID);
  if (pid < 0) return base::errno_error("clone", err);
  return pid;
}

void Pod::start(StartRequest request, Respond respond) {
  const std::string id = request.spec.id;
  if (containers_.contains(id)) return respond(base::fail(409, "Conflict", "container \"" + id + "\" exists"), {});
  if (request.spec.argv.empty())
    return respond(base::fail(400, "InvalidContainerSpec", "no command: neither the image nor the pod names one"), {});
  auto c = std::make_shared<Container>();
  c->spec = std::move(request.spec);
  c->capabilities = request.capabilities;
  c->seccomp = std::move(request.seccomp);
  c->status.id = id;
  c->status.name = c->spec.name;
  c->status.labels = c->spec.labels;
  c->status.created = wall_now();
  c->status.tty = c->spec.tty;
  c->status.stdin_open = c->spec.stdin_open;
  c->status.log_path = c->spec.log.path;
  c->started = std::move(respond);
  c->cgroup = setup_.spec.cgroup_parent + "/" + id;
  containers_[id] = c;
  if (auto r = launch(*c); !r) {
    c->status.phase = ContainerPhase::exited;
    c->status.finished = wall_now();
    c->status.exit_code = 128;
    c->status.message = r.error().message;
    close_streams(*c);
    auto error = r.error();
    if (error.code == 500) {
      error.code = 422;
      error.reason = "StartError";
    }
    auto reply = std::exchange(c->started, nullptr);
    changed(*c);
    return reply(std::unexpected(error), {});
  }
  loop_.watch(c->report.get(), EPOLLIN, [this, c](uint32_t) { report_ready(c); });
}

Result<> Pod::launch(Container& c) {
  const ContainerSpec& spec = c.spec;
  c.log = LogFile(spec.log);
  CHECK_OK(c.log.open());
  CHECK_OK(cgroups_.create(c.cgroup, spec.resources));
  TRY(auto nodes, device_nodes(spec));
  CHECK_OK(restrict_devices(cgroups_, c.cgroup, device_rules(spec, nodes)));
  if (const auto* h = cgroups_.with("memory"); h != nullptr && h->v2) {
    // The container dies as a whole, as Kubernetes has it.
    (void)try_write_kernel(cgroups_.directory(*h, c.cgroup) + "/memory.oom.group", "1");
  }
  c.oom_before = cgroups_.oom_kills(c.cgroup);
  TRY(Cgroups::Entry entry, cgroups_.open(c.cgroup));

  std::string data = setup_.data_dir + "/" + spec.id;
  CHECK_OK(make_directory(setup_.data_dir, 0700));
  CHECK_OK(make_directory(data, 0700));
  CHECK_OK(make_directory(data + "/upper", 0755));
  CHECK_OK(make_directory(data + "/work", 0700));

  LaunchPlan plan;
  plan.rootfs = {&spec, data + "/upper", data + "/work", setup_.run_dir + "/root", setup_.spec.host_ipc ? "" : setup_.run_dir + "/shm", std::move(nodes), &cgroups_};
  char hostname[256] = "";
  ::gethostname(hostname, sizeof hostname - 1);
  plan.hostname = hostname;
  plan.capabilities = c.capabilities;
  plan.seccomp = c.seccomp;
  plan.cgroup = &entry;

  Fd child_in, child_out, child_err, child_console, child_report;
  if (spec.tty) {
    CHECK_OK(make_socket_pair(c.console, child_console));
  } else {
    if (spec.stdin_open) CHECK_OK(make_pipe(child_in, c.in));
    CHECK_OK(make_pipe(c.out.from, child_out));
    CHECK_OK(make_pipe(c.err.from, child_err));
    c.err.name = "stderr";
    for (Fd* fd : {&c.out.from, &c.err.from}) ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  }
  CHECK_OK(make_pipe(c.report, child_report));
  ::fcntl(c.report.get(), F_SETFL, O_NONBLOCK);
  plan.streams = {child_in.get(), child_out.get(), child_err.get(), child_console.get()};
  plan.report = child_report.get();

  uint64_t flags = CLONE_NEWNS;
  pid_t shared = 0;
  if (pause_ > 0) {
    shared = pause_;
  } else if (!spec.pid_of.empty() && !setup_.spec.host_pid) {
    TRY(ContainerPtr target, find(spec.pid_of, true));
    shared = target->pid;
  } else if (!setup_.spec.host_pid) flags |= CLONE_NEWPID;
  TRY(pid_t pid, clone_into(shared, flags, entry.v2.get()));
  if (pid == 0) launch_container(plan);
  c.pid = pid;
  return {};
}

void Pod::report_ready(const ContainerPtr& c) {
  if (!c->report || !drain(c->report.get(), c->report_text)) return;
  loop_.unwatch(c->report.get());
  c->report.reset();
  start_done(c);
}

// The pipe closed: the program runs, or the child has said why not and is about to end (reap() tells).
void Pod::start_done(const ContainerPtr& c) {
  LaunchReport report = parse_report(c->report_text);
  c->report_text = std::string();
  if (c->console) {
    c->terminal = receive_terminal(c->console.get());
    c->console.reset();
    if (c->terminal) {
      ::fcntl(c->terminal.get(), F_SETFL, O_NONBLOCK);
      // Held open, so that the terminal lives as long as the container, whoever closes it inside.
      c->terminal_peer = Fd(::ioctl(c->terminal.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
      c->out.from = Fd(::fcntl(c->terminal.get(), F_DUPFD_CLOEXEC, 3));
    }
  }
  if (report.failure || !report.identity) {
    if (!report.failure) {
      base::Error e;
      e.code = 422;
      e.reason = "StartError";
      e.message = "the container's first process was killed while it was set up (is the memory limit too low?)";
      report.failure = e;
    }
    c->status.message = report.failure->message;
    c->status.exit_code = report.exit_code;
    // The answer waits for the end of the process, which reap() collects: until then the id stays taken.
    c->start_failure = std::move(report.failure);
    return;
  }
  c->identity = *report.identity;
  char hostname[256] = "";
  ::gethostname(hostname, sizeof hostname - 1);
  c->env = complete_environment(c->spec.env, c->identity.home, hostname, false);
  // What only the start needed.
  c->spec.env = {};
  c->spec.argv = {};
  c->spec.mounts = {};
  c->spec.layers = {};
  c->spec.labels = {};
  c->status.phase = ContainerPhase::running;
  c->status.pid = c->pid;
  c->status.started = wall_now();
  for (Output* out : {&c->out, &c->err}) {
    if (out->from) loop_.watch(out->from.get(), EPOLLIN, [this, c, out](uint32_t) { output_ready(c, *out); });
  }
  changed(*c);
  auto respond = std::exchange(c->started, nullptr);
  if (respond) respond(wire::encode(c->status), {});
}

// --- ending

void Pod::reap() {
  for (;;) {
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) break;
    for (auto& [id, c] : containers_) {
      if (c->pid != pid) continue;
      ContainerPtr keep = c;
      ended(keep, status);
      break;
    }
    for (auto& [session, e] : execs_) {
      if (e->pid != pid) continue;
      ExecPtr keep = e;
      keep->ended = true;
      keep->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      if (keep->report) exec_report_ready(keep);
      if (execs_.erase(keep->session) > 0) events_.exec_ended({keep->session, keep->exit_code});
      break;
    }
  }
  if (shutdown_done_ && std::ranges::all_of(containers_, [](const auto& c) { return c.second->pid == 0; })) {
    auto done = std::exchange(shutdown_done_, nullptr);
    done();
  }
}

void Pod::ended(const ContainerPtr& c, int status) {
  c->pid = 0;
  // Without a PID namespace of its own, others may still run (and hold the pipes).
  if (pause_ > 0 || setup_.spec.host_pid || !c->spec.pid_of.empty()) cgroups_.kill(c->cgroup);
  if (c->report) report_ready(c);
  if (c->report) {
    loop_.unwatch(c->report.get());
    c->report.reset();
    start_done(c);
  }
  bool failed_start = c->status.phase != ContainerPhase::running;
  if (!failed_start) {
    for (Output* out : {&c->out, &c->err}) {
      if (out->from) read_output(c, *out);
      c->log.finish(out->name, out->rest);
    }
    c->status.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    c->status.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }
  c->status.oom_killed = cgroups_.oom_kills(c->cgroup) > c->oom_before && c->status.exit_code != 0;
  c->status.phase = ContainerPhase::exited;
  c->status.pid = 0;
  c->status.finished = wall_now();
  if (failed_start && c->status.oom_killed) c->status.message = "the memory limit is too low to start the container";
  if (c->kill_timer != 0) loop_.cancel(c->kill_timer);
  c->kill_timer = 0;
  close_streams(*c);
  std::vector<Attachment*> all;
  for (Attachment& a : c->attachments) all.push_back(&a);
  for (Attachment* a : all) flush(c, a);
  changed(*c);
  if (auto respond = std::exchange(c->started, nullptr)) {
    if (c->start_failure) respond(std::unexpected(*c->start_failure), {});
    else respond(wire::encode(c->status), {});
  }
  if (!c->removers.empty()) forget(c);
}

void Pod::close_streams(Container& c) {
  for (Fd* fd : {&c.out.from, &c.err.from, &c.report, &c.console}) {
    if (*fd) loop_.unwatch(fd->get());
    fd->reset();
  }
  c.in.reset();
  c.terminal.reset();
  c.terminal_peer.reset();
  c.env = {};
  c.seccomp = std::string();
}

void Pod::kill_now(Container& c) {
  if (c.pid <= 0) return;
  ::kill(c.pid, SIGKILL);
  cgroups_.kill(c.cgroup);
}

Result<> Pod::signal(const SignalRequest& request) {
  if (request.container.empty()) {
    auto it = execs_.find(request.session);
    if (it == execs_.end() || it->second->pid <= 0 || it->second->ended)
      return base::not_found("exec session", std::to_string(request.session));
    // It leads a session: what it started in the foreground goes with it.
    ::kill(-it->second->pid, request.signal);
    ::kill(it->second->pid, request.signal);
    return {};
  }
  TRY(ContainerPtr c, find(request.container, true));
  if (request.signal == SIGKILL) kill_now(*c);
  else if (::kill(c->pid, request.signal) != 0) return base::errno_error("signal the container");
  return {};
}

Result<> Pod::stop(const StopRequest& request) {
  TRY(ContainerPtr c, find(request.container, false));
  if (c->pid <= 0) return {};
  if (request.grace_ms == 0) {
    kill_now(*c);
    return {};
  }
  auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(request.grace_ms);
  if (c->kill_timer != 0) {
    if (deadline >= c->kill_at) return {};
    loop_.cancel(c->kill_timer);
  } else {
    auto number = c->spec.stop_signal.empty() ? std::optional(SIGTERM) : parse_signal(c->spec.stop_signal);
    ::kill(c->pid, number.value_or(SIGTERM));
  }
  c->kill_at = deadline;
  c->kill_timer = loop_.after(request.grace_ms, [this, c] {
    c->kill_timer = 0;
    kill_now(*c);
  });
  return {};
}

void Pod::remove(const std::string& id, Respond respond) {
  auto it = containers_.find(id);
  if (it == containers_.end()) return respond(std::string(), {});
  ContainerPtr c = it->second;
  c->removers.push_back(std::move(respond));
  if (c->pid > 0) kill_now(*c);
  else forget(c);
}

void Pod::forget(const ContainerPtr& c) {
  auto removers = std::move(c->removers);
  std::vector<Attachment*> all;
  for (Attachment& a : c->attachments) all.push_back(&a);
  for (Attachment* a : all) detach(c, a);
  containers_.erase(c->status.id);
  save();
  for (auto& respond : removers) respond(std::string(), {});
}

Result<> Pod::resize(const ResizeRequest& request) {
  TRY(ContainerPtr c, find(request.container, true));
  if (!c->terminal) return base::bad_request("container \"" + request.container + "\" has no terminal");
  winsize size{request.rows, request.columns, 0, 0};
  if (::ioctl(c->terminal.get(), TIOCSWINSZ, &size) != 0) return base::errno_error("resize the terminal");
  return {};
}

Result<> Pod::reopen_log(const std::string& id) {
  TRY(ContainerPtr c, find(id, false));
  return c->log.open();
}

void Pod::shutdown(std::function<void()> done) {
  shutdown_done_ = std::move(done);
  for (auto& [id, c] : containers_) kill_now(*c);
  if (pause_ > 0) ::kill(pause_, SIGKILL);
  reap();
}

}  // namespace runtime
