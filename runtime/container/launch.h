// The last steps of a process on its way into a container: what the supervisor's child does between clone3 and execve.
//
// It reports through a pipe that closes at execve: "R" and the identity once known, "E" and the reason when it fails.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "runtime/container/capabilities.h"
#include "runtime/container/cgroups.h"
#include "runtime/container/rootfs.h"
#include "runtime/container/users.h"

namespace runtime {

// The child's ends of the standard streams (-1: the container's /dev/null); with a terminal only `console` is used.
struct ChildStreams {
  int in = -1, out = -1, err = -1;
  int console = -1;  // a socket on which the master of the terminal is sent back
};

struct LaunchPlan {
  RootfsPlan rootfs;
  std::string hostname;  // for HOSTNAME
  CapabilitySet capabilities = 0;
  std::string_view seccomp;  // a program; empty: none
  Cgroups::Entry* cgroup = nullptr;
  ChildStreams streams;
  int report = -1;
};

struct ExecPlan {
  int target = -1;           // a pidfd of the container's first process
  std::vector<std::string> argv, env;
  std::string cwd;
  Identity identity;
  CapabilitySet capabilities = 0;
  bool no_new_privileges = false;
  std::string_view seccomp;
  Cgroups::Entry* cgroup = nullptr;
  bool tty = false;
  ChildStreams streams;
  int report = -1;
};

[[noreturn]] void launch_container(const LaunchPlan& plan);
[[noreturn]] void launch_exec(const ExecPlan& plan);

// What the parent reads from the pipe until it closes.
struct LaunchReport {
  std::optional<Identity> identity;
  std::optional<base::Error> failure;
  int exit_code = 128;  // what the process counts as having returned after a failure
};
LaunchReport parse_report(std::string_view text);

// The environment a process gets: later entries win, PATH, HOME, HOSTNAME and (with a terminal) TERM are added when absent.
std::vector<std::string> complete_environment(const std::vector<std::string>& env, const std::string& home, const std::string& hostname,
                                              bool tty);

}  // namespace runtime
