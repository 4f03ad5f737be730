// Further processes in a running container.
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <utility>

#include "runtime/container/syscalls.h"
#include "runtime/sandbox/child_pipes.h"
#include "runtime/sandbox/pod.h"

namespace runtime {

using base::Fd;
using base::Result;

void Pod::exec(ExecRequest request, Respond respond) {
  auto found = find(request.container, true);
  if (!found) return respond(std::unexpected(found.error()), {});
  if (request.spec.argv.empty()) return respond(base::bad_request("no command to execute"), {});
  auto e = std::make_shared<Exec>();
  e->session = next_session_++;
  e->container = request.container;
  e->tty = request.spec.tty;
  e->started = std::move(respond);
  execs_[e->session] = e;
  if (auto r = launch_session(*e, **found, request.spec); !r) {
    execs_.erase(e->session);
    return e->started(std::unexpected(r.error()), {});
  }
  loop_.watch(e->report.get(), EPOLLIN, [this, e](uint32_t) { exec_report_ready(e); });
}

Result<> Pod::launch_session(Exec& e, Container& c, const ExecSpec& spec) {
  TRY(Cgroups::Entry entry, cgroups_.open(c.cgroup));
  ExecPlan plan;
  Fd target(sys::pidfd_open(c.pid));
  if (!target) return base::errno_error("open the container's process");
  plan.target = target.get();
  plan.argv = spec.argv;
  std::vector<std::string> env = c.env;
  env.insert(env.end(), spec.add_env.begin(), spec.add_env.end());
  plan.env = complete_environment(env, c.identity.home, "", spec.tty);
  plan.cwd = spec.cwd.empty() ? c.spec.cwd : spec.cwd;
  plan.identity = c.identity;
  if (spec.uid) plan.identity.uid = *spec.uid;
  if (spec.gid) {
    plan.identity.gid = *spec.gid;
    plan.identity.groups = {*spec.gid};
  }
  plan.capabilities = c.capabilities;
  plan.no_new_privileges = c.spec.no_new_privileges;
  plan.seccomp = c.seccomp;
  plan.cgroup = &entry;
  plan.tty = spec.tty;

  Fd child_in, child_out, child_err, child_console, child_report;
  if (spec.tty) {
    CHECK_OK(make_socket_pair(e.console, child_console));
  } else {
    if (spec.stdin_open) CHECK_OK(make_pipe(child_in, e.fds.emplace_back()));
    if (spec.want_output) {
      CHECK_OK(make_pipe(e.fds.emplace_back(), child_out));
      CHECK_OK(make_pipe(e.fds.emplace_back(), child_err));
    }
  }
  CHECK_OK(make_pipe(e.report, child_report));
  ::fcntl(e.report.get(), F_SETFL, O_NONBLOCK);
  plan.streams = {child_in.get(), child_out.get(), child_err.get(), child_console.get()};
  plan.report = child_report.get();
  TRY(pid_t pid, clone_into(setup_.spec.host_pid ? 0 : c.pid, 0, entry.v2.get()));
  if (pid == 0) launch_exec(plan);
  e.pid = pid;
  return {};
}

void Pod::exec_report_ready(const ExecPtr& e) {
  if (!e->report || !drain(e->report.get(), e->report_text)) return;
  loop_.unwatch(e->report.get());
  e->report.reset();
  LaunchReport report = parse_report(e->report_text);
  auto respond = std::exchange(e->started, nullptr);
  if (e->console) {
    if (Fd terminal = receive_terminal(e->console.get())) e->fds.push_back(std::move(terminal));
    e->console.reset();
  }
  auto fds = std::move(e->fds);
  if (report.failure) {
    auto error = *report.failure;
    execs_.erase(e->session);  // reap() collects the process unasked
    return respond(std::unexpected(error), {});
  }
  respond(wire::encode(ExecStarted{e->session, e->pid}), std::move(fds));
}

}  // namespace runtime
