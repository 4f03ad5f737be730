// `appliance uninstall`: stops the service, ends all pods, removes network, cgroups, mounts and state of this host.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <thread>

#include <fmt/format.h>

#include "agent/agent.h"
#include "base/files.h"
#include "cmd/commands.h"
#include "cmd/host.h"
#include "cmd/options.h"

namespace cmd {
namespace {

// The pid in <run-dir>/appliance.pid when that process is ours and alive.
pid_t running(const Options& o) {
  auto text = base::read_file(o.run_dir + "/appliance.pid", 64);
  if (!text) return 0;
  auto pid = static_cast<pid_t>(std::strtol(text->c_str(), nullptr, 10));
  if (pid <= 1 || ::kill(pid, 0) != 0) return 0;
  auto line = base::read_file(fmt::format("/proc/{}/cmdline", pid), 65536);
  return line && line->find("appliance") != std::string::npos ? pid : 0;
}

void end(pid_t pid) {
  ::kill(pid, SIGTERM);
  for (int i = 0; i < 150; ++i) {
    if (::kill(pid, 0) != 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (i == 100) ::kill(pid, SIGKILL);
  }
}

}  // namespace

int uninstall(const Arguments& arguments) {
  auto parsed = parse_options(kUninstall, arguments);
  if (!parsed) return complain("uninstall", parsed.error().message);
  const Options& o = parsed->options;
  if (parsed->help) {
    fmt::print("{}", help_text("uninstall", kUninstall));
    return 0;
  }
  if (auto r = require_root(); !r) return complain("uninstall", r.error().message);
  if (!o.yes) {
    if (!::isatty(STDIN_FILENO))
      return complain("uninstall", "this removes the cluster's data from this host; say --yes to do it without being asked");
    fmt::print("This ends all pods and removes {} and {}. Go on? [y/N] ", o.data_dir, o.run_dir);
    std::fflush(stdout);
    std::string answer;
    std::getline(std::cin, answer);
    if (answer != "y" && answer != "Y" && answer != "yes") return 1;
  }
  bool default_place = o.data_dir == Options().data_dir;
  bool failed = false;
  if (default_place) {
    const char* service = "/etc/systemd/system/appliance.service";
    if (base::exists("/run/systemd/system") && base::exists(service)) {
      // The one place that runs a host tool: systemd has to be told by its own.
      failed |= std::system("systemctl disable --now appliance.service >/dev/null 2>&1") != 0;
      ::unlink(service);
      failed |= std::system("systemctl daemon-reload") != 0;
    }
  }
  if (pid_t pid = running(o)) end(pid);
  agent::AgentOptions a;
  a.data_dir = o.data_dir;
  a.run_dir = o.run_dir;
  a.cgroup_root = o.cgroup_root;
  base::Runtime runtime(1);
  base::Result<> removed;
  base::run_to_end(runtime, [](base::Runtime& r, agent::AgentOptions options, base::Result<>& out) -> base::Task<> {
    out = co_await agent::Agent::remove_everything(r, std::move(options));
  }(runtime, a, removed));
  if (!removed) {
    complain("uninstall", removed.error().message);
    failed = true;
  }
  for (const std::string& dir : {o.run_dir, o.data_dir}) {
    if (auto r = base::remove_all(dir); !r) {
      complain("uninstall", r.error().message);
      failed = true;
    }
  }
  if (default_place) {
    for (const char* path :
         {"/etc/appliance/kubeconfig.yaml", "/etc/appliance/environment", "/var/log/appliance.log", "/usr/local/bin/appliance"})
      ::unlink(path);
    ::rmdir("/etc/appliance");
  }
  return failed ? 1 : 0;
}

}  // namespace cmd
