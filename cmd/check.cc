// `appliance check`: one line for each thing a node needs, with what to do where it is missing.
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <sstream>

#include <fmt/format.h>

#include "base/files.h"
#include "cmd/commands.h"
#include "cmd/host.h"
#include "cmd/options.h"

namespace cmd {
namespace {

bool file_system(std::string_view name) {
  auto text = base::read_file("/proc/filesystems");
  return text && (text->find("\t" + std::string(name) + "\n") != std::string::npos);
}

bool namespaces_work() {
  pid_t pid = ::fork();
  if (pid == 0) ::_exit(::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC) == 0 ? 0 : 1);
  int status = 0;
  return pid > 0 && ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool controller(std::string_view name) {
  auto v2 = base::read_file("/sys/fs/cgroup/cgroup.controllers");
  if (v2) {
    std::istringstream words(*v2);
    for (std::string w; words >> w;) {
      if (w == name) return true;
    }
  }
  return base::exists("/sys/fs/cgroup/" + std::string(name) + "/cgroup.procs");
}

bool kernel_at_least(int major, int minor) {
  utsname u{};
  int a = 0, b = 0;
  return ::uname(&u) == 0 && std::sscanf(u.release, "%d.%d", &a, &b) == 2 && (a > major || (a == major && b >= minor));
}

}  // namespace

int check(const Arguments& arguments) {
  auto parsed = parse_options(kLocal, arguments);
  if (!parsed) return complain("check", parsed.error().message);
  int missing = 0;
  auto line = [&](bool ok, bool needed, std::string_view what, std::string_view advice) {
    fmt::print("{:<8} {}{}{}\n", ok ? "ok" : needed ? "missing" : "warning", what, ok ? "" : ": ", ok ? "" : advice);
    if (!ok && needed) ++missing;
  };
  line(::geteuid() == 0, true, "root", "run with sudo");
  line(kernel_at_least(5, 10), true, "Linux 5.10 or newer", "upgrade the kernel");
  line(namespaces_work(), true, "namespaces", "a kernel with CONFIG_NAMESPACES and permission to use them is needed");
  line(file_system("overlay"), true, "overlayfs", "load it: modprobe overlay");
  for (const char* c : {"memory", "cpu", "pids"}) {
    line(controller(c), true, fmt::format("cgroup controller {}", c),
         c == std::string_view("memory") ? "boot with cgroup_enable=memory (Raspberry Pi: /boot/cmdline.txt)" : "enable it in the kernel");
  }
  line(controller("cpuset"), false, "cgroup controller cpuset", "CPU pinning will not work");
  line(base::exists("/proc/sys/net/ipv4/ip_forward"), true, "IPv4", "enable it in the kernel");
  struct statvfs s{};
  bool space = ::statvfs("/var/lib", &s) == 0 && s.f_bavail * s.f_frsize > (1ull << 30);
  line(space, false, "1 GiB free below /var/lib", "images and data will soon fill the disk");
  line(!default_address().empty(), false, "a default route", "name the node's address with --node-ip");
  return missing ? 1 : 0;
}

}  // namespace cmd
