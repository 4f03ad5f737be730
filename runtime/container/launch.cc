#include "runtime/container/launch.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "runtime/container/kernel_file.h"
#include "runtime/container/paths.h"
#include "runtime/container/rlimits.h"
#include "runtime/container/seccomp.h"
#include "runtime/container/syscalls.h"

namespace runtime {

using base::Fd;
using base::Result;

namespace {

constexpr const char* kDefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void write_fully(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

// "R<uid> <gid> <count> <group>...\n<home>\0", "E<code> <exit code> <reason>\n<message>\0".
void report_identity(int fd, const Identity& who) {
  std::string text = "R" + std::to_string(who.uid) + " " + std::to_string(who.gid) + " " + std::to_string(who.groups.size());
  for (uint32_t g : who.groups) text += " " + std::to_string(g);
  text += '\n' + who.home;
  text += '\0';
  write_fully(fd, text);
}

[[noreturn]] void give_up(int report, const base::Error& e, int exit_code) {
  // A full pipe would block a process nobody waits for; messages are far below its size.
  std::string text =
      "E" + std::to_string(e.code) + " " + std::to_string(exit_code) + " " + e.reason + '\n' + e.message.substr(0, 4096) + '\0';
  write_fully(report, text);
  ::_exit(exit_code);
}

base::Failure start_error(std::string message) { return base::fail(422, "StartError", std::move(message)); }

std::string_view value_of(const std::vector<std::string>& env, std::string_view name) {
  for (const std::string& e : env) {
    if (e.size() > name.size() && e.starts_with(name) && e[name.size()] == '=') return std::string_view(e).substr(name.size() + 1);
  }
  return {};
}

struct Command {
  std::string path;
  int exit_code = 0;      // when it cannot be run
  std::string message;
};

bool runnable(const std::string& path, int& err) {
  struct stat s;
  if (::stat(path.c_str(), &s) != 0) {
    err = errno;
    return false;
  }
  if (S_ISDIR(s.st_mode)) {
    err = EISDIR;
    return false;
  }
  if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) {
    err = errno;
    return false;
  }
  return true;
}

std::string lower_error(int err) {
  std::string text = std::strerror(err);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] + 32);
  return text;
}

// As execvp would find it, with the sentences Docker's users know.
Command find_command(const std::string& name, const std::vector<std::string>& env) {
  Command c;
  int err = 0;
  if (name.find('/') != std::string::npos) {
    c.path = name;
    if (runnable(name, err)) return c;
    c.exit_code = err == ENOENT || err == ENOTDIR ? 127 : 126;
    c.message = "exec: \"" + name + "\": " + (c.exit_code == 127 ? "stat " + name + ": " : "") + lower_error(err);
    return c;
  }
  bool denied = false;
  std::string_view path = value_of(env, "PATH");
  while (!name.empty() && !path.empty()) {
    size_t colon = path.find(':');
    std::string dir(path.substr(0, colon));
    c.path = (dir.empty() ? "." : dir) + "/" + name;
    if (runnable(c.path, err)) return c;
    denied = denied || err == EACCES;
    if (colon == std::string_view::npos) break;
    path.remove_prefix(colon + 1);
  }
  c.exit_code = denied ? 126 : 127;
  c.message = "exec: \"" + name + "\": " + (denied ? "permission denied" : "executable file not found in $PATH");
  return c;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

// The supervisor leaves every disposition at its default; what it blocks is let through again.
void reset_signals() {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

Result<> join_cgroups(const Cgroups::Entry& entry) {
  for (const Fd& tasks : entry.tasks) {
    if (::write(tasks.get(), "0", 1) != 1) return base::errno_error("enter the cgroup");
  }
  return {};
}

Result<> send_fd(int socket, int fd) {
  char byte = 'T';
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) < 0) return base::errno_error("hand over the terminal");
  return {};
}

// The streams become 0, 1, 2; the user owns them, so that /dev/stdout can be opened again.
Result<> set_streams(const ChildStreams& s, const Fd& terminal, const Fd& peer, const Identity& who) {
  if (terminal) {
    if (::fchown(peer.get(), who.uid, static_cast<gid_t>(-1)) != 0 && errno != EROFS) return base::errno_error("own the terminal");
    CHECK_OK(send_fd(s.console, terminal.get()));
    if (::ioctl(peer.get(), TIOCSCTTY, 0) != 0) return base::errno_error("take the terminal");
    for (int fd = 0; fd < 3; ++fd) {
      if (::dup2(peer.get(), fd) < 0) return base::errno_error("dup2");
    }
    return {};
  }
  int from[3] = {s.in, s.out, s.err};
  // Above the targets first: an end may itself be 0, 1 or 2.
  for (int i = 0; i < 3; ++i) {
    int& fd = from[i];
    // The null device is the container's own, not a descriptor of the host's.
    fd = fd >= 0 ? ::fcntl(fd, F_DUPFD_CLOEXEC, 3) : ::open("/dev/null", (i == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0 && fd < 3) fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return base::errno_error("pass on the standard streams");
  }
  for (int i = 0; i < 3; ++i) {
    if (::dup2(from[i], i) < 0) return base::errno_error("dup2");
    struct stat st;
    if (::fstat(i, &st) == 0 && S_ISFIFO(st.st_mode)) (void)!::fchown(i, who.uid, who.gid);
  }
  return {};
}

Result<> enter_directory(const std::string& cwd, bool make) {
  std::string dir = cwd.empty() ? "/" : cwd;
  if (!dir.starts_with('/')) return start_error("the working directory \"" + dir + "\" is not absolute");
  if (make) {
    Fd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    // A read-only root cannot grow one; chdir says what is wrong then.
    (void)make_directory_below(root.get(), dir, 0755);
  }
  if (::chdir(dir.c_str()) != 0 && errno != EACCES) return start_error("chdir to cwd (\"" + dir + "\") failed: " + lower_error(errno));
  return {};
}

// After the last chdir: a directory of the host reached through a descriptor would show as unreachable.
Result<> check_directory() {
  char buffer[PATH_MAX + 16];
  long n = ::syscall(SYS_getcwd, buffer, sizeof buffer);
  if (n <= 0 || buffer[0] != '/') return start_error("the working directory is outside the container's root");
  return {};
}

struct Credentials {
  const Identity& identity;
  CapabilitySet capabilities;
  bool no_new_privileges;
  std::string_view seccomp;
  const std::string& cwd;
};

// From root to the container's user, then out of all that is left but execve.
Result<> confine(const Credentials& c) {
  CHECK_OK(drop_bounding(c.capabilities));
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return base::errno_error("keep capabilities");
  const auto& groups = c.identity.groups;
  if (::setgroups(groups.size(), groups.data()) != 0) return base::errno_error("setgroups");
  if (::setresgid(c.identity.gid, c.identity.gid, c.identity.gid) != 0) return base::errno_error("setgid");
  if (::setresuid(c.identity.uid, c.identity.uid, c.identity.uid) != 0) return base::errno_error("setuid");
  if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) return base::errno_error("keep capabilities");
  // With the supervisor the container goes. (Changing the user resets this, so it comes after.)
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  // The second attempt is for directories only the user may enter (root on a network share).
  if (!c.cwd.empty() && ::chdir(c.cwd.c_str()) != 0) return start_error("chdir to cwd (\"" + c.cwd + "\") failed: " + lower_error(errno));
  CHECK_OK(check_directory());
  // Inheritable and ambient are empty; execve makes permitted and effective from the bounding set for root and empties them for
  // others. SYS_ADMIN stays for the one call that may need it.
  CapabilitySet last = c.capabilities | (CapabilitySet{1} << CAP_SYS_ADMIN);
  if (auto r = set_capabilities(last, last); !r) CHECK_OK(set_capabilities(c.capabilities, c.capabilities));
  if (c.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return base::errno_error("set no_new_privs");
  return {};
}

[[noreturn]] void run(const std::vector<std::string>& argv, const std::vector<std::string>& env, const Credentials& c, int report) {
  // Nothing but the report survives: it closes at execve.
  if (report != 3) ::dup3(report, 3, O_CLOEXEC);
  report = 3;
  ::close_range(4, ~0u, 0);
  if (auto r = confine(c); !r) give_up(report, r.error(), 128);
  Command command = find_command(argv[0], env);
  if (command.exit_code != 0) give_up(report, start_error(command.message).error(), command.exit_code);
  auto arguments = pointers(argv);
  auto environment = pointers(env);
  std::string failed = "exec " + command.path + ": ";
  if (!c.seccomp.empty()) {
    if (auto r = install_seccomp(c.seccomp); !r) give_up(report, r.error(), 128);
  }
  ::execve(command.path.c_str(), arguments.data(), environment.data());
  int err = errno;
  give_up(report, start_error(failed + lower_error(err)).error(), err == ENOENT ? 127 : 126);
}

Result<Identity> identify(const User& user) {
  Fd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  auto text = [&](const char* path) -> std::string {
    Fd fd = open_below(root.get(), path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat s;
    if (!fd || ::fstat(fd.get(), &s) != 0 || !S_ISREG(s.st_mode)) return {};
    std::string out(static_cast<size_t>(std::clamp<off_t>(s.st_size, 0, 8 << 20)), '\0');
    ssize_t n = ::pread(fd.get(), out.data(), out.size(), 0);
    out.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return out;
  };
  return resolve_user(user, text("etc/passwd"), text("etc/group"));
}

Result<> prepare_container(const LaunchPlan& plan, Identity& who, std::vector<std::string>& env) {
  const ContainerSpec& spec = *plan.rootfs.spec;
  if (::setsid() < 0) return base::errno_error("setsid");
  CHECK_OK(join_cgroups(*plan.cgroup));
  if (::unshare(CLONE_NEWCGROUP) != 0) return base::errno_error("make a cgroup namespace");
  if (spec.oom_score_adj != 0) {
    // Lowering it needs CAP_SYS_RESOURCE, which a node inside a container may lack.
    TRY(Fd proc, open_procfs());
    (void)try_write_kernel("self/oom_score_adj", std::to_string(spec.oom_score_adj), proc.get());
  }
  CHECK_OK(set_rlimits(spec.rlimits));
  Fd terminal, peer;
  CHECK_OK(build_rootfs(plan.rootfs, terminal, peer));
  TRY(who, identify(spec.user));
  report_identity(plan.report, who);
  env = complete_environment(spec.env, who.home, plan.hostname, spec.tty);
  CHECK_OK(set_streams(plan.streams, terminal, peer, who));
  // Keyrings are not namespaced: a fresh session keyring keeps the host's away. Not every kernel has them.
  ::syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, ("appliance-" + spec.id).c_str());
  CHECK_OK(enter_directory(spec.cwd, true));
  return {};
}

Result<> prepare_exec(const ExecPlan& plan) {
  if (::setsid() < 0) return base::errno_error("setsid");
  CHECK_OK(join_cgroups(*plan.cgroup));
  // Network, IPC and UTS are the supervisor's own; the PID namespace was set before the clone.
  if (::setns(plan.target, CLONE_NEWNS | CLONE_NEWCGROUP) != 0) return base::errno_error("enter the container's namespaces");
  Fd terminal, peer;
  if (plan.tty) {
    Fd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    Fd devpts = open_below(root.get(), "dev/pts", O_RDONLY | O_DIRECTORY);
    if (!devpts) return base::errno_error("open /dev/pts");
    CHECK_OK(open_terminal(devpts.get(), terminal, peer));
  }
  CHECK_OK(set_streams(plan.streams, terminal, peer, plan.identity));
  ::syscall(SYS_keyctl, 1, "appliance-exec");
  CHECK_OK(enter_directory(plan.cwd, false));
  return {};
}

}  // namespace

std::vector<std::string> complete_environment(const std::vector<std::string>& env, const std::string& home, const std::string& hostname,
                                              bool tty) {
  std::vector<std::string> out;
  for (const std::string& e : env) {
    std::string_view name = std::string_view(e).substr(0, e.find('='));
    auto same = std::ranges::find_if(
        out, [&](const std::string& o) { return o.size() > name.size() && o.starts_with(name) && o[name.size()] == '='; });
    if (e.find('=') == std::string::npos || name.empty()) continue;
    if (same != out.end()) *same = e;
    else out.push_back(e);
  }
  auto absent = [&](std::string_view name) {
    return std::ranges::none_of(
        out, [&](const std::string& o) { return o.size() > name.size() && o.starts_with(name) && o[name.size()] == '='; });
  };
  if (absent("PATH")) out.emplace_back(kDefaultPath);
  if (absent("HOME")) out.push_back("HOME=" + home);
  if (!hostname.empty() && absent("HOSTNAME")) out.push_back("HOSTNAME=" + hostname);
  if (tty && absent("TERM")) out.emplace_back("TERM=xterm");
  return out;
}

void launch_container(const LaunchPlan& plan) {
  reset_signals();
  const ContainerSpec& spec = *plan.rootfs.spec;
  ::umask(022);
  Identity who;
  std::vector<std::string> env;
  if (auto r = prepare_container(plan, who, env); !r) give_up(plan.report, r.error(), 128);
  run(spec.argv, env, {who, plan.capabilities, spec.no_new_privileges, plan.seccomp, spec.cwd}, plan.report);
}

void launch_exec(const ExecPlan& plan) {
  reset_signals();
  ::umask(022);
  if (auto r = prepare_exec(plan); !r) give_up(plan.report, r.error(), 128);
  run(plan.argv, plan.env, {plan.identity, plan.capabilities, plan.no_new_privileges, plan.seccomp, plan.cwd}, plan.report);
}

LaunchReport parse_report(std::string_view text) {
  LaunchReport report;
  while (!text.empty()) {
    size_t line = text.find('\n'), end = text.find('\0', line == std::string_view::npos ? 0 : line);
    if (line == std::string_view::npos || end == std::string_view::npos) break;
    std::string head(text.substr(1, line - 1)), body(text.substr(line + 1, end - line - 1));
    if (text[0] == 'R') {
      Identity who;
      const char* p = head.c_str();
      char* next = nullptr;
      who.uid = static_cast<uint32_t>(std::strtoul(p, &next, 10));
      who.gid = static_cast<uint32_t>(std::strtoul(next, &next, 10));
      size_t n = std::strtoul(next, &next, 10);
      for (size_t i = 0; i < n && *next != '\0'; ++i) who.groups.push_back(static_cast<uint32_t>(std::strtoul(next, &next, 10)));
      who.home = body;
      report.identity = std::move(who);
    } else {
      char* next = nullptr;
      base::Error e;
      e.code = static_cast<int>(std::strtol(head.c_str(), &next, 10));
      report.exit_code = static_cast<int>(std::strtol(next, &next, 10));
      e.reason = *next == ' ' ? next + 1 : "";
      e.message = std::move(body);
      // Whatever the kernel refused while the container was built is a failed start.
      if (e.code == 500) {
        e.code = 422;
        e.reason = "StartError";
      }
      report.failure = std::move(e);
    }
    text.remove_prefix(end + 1);
  }
  return report;
}

}  // namespace runtime
