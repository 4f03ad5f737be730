// What a sandbox is made from, what a container has become, what an exec runs: the data both the agent and the supervisor know.
// Free of the io runtime, because the supervisor is.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "runtime/container/spec.h"

namespace runtime {

struct SandboxSpec {
  std::string id;                  // [A-Za-z0-9][A-Za-z0-9_.-]{0,127}; the agent takes the pod's uid (plus attempt)
  std::string hostname;            // of the new UTS namespace; ignored with host_network
  bool host_network = false, host_pid = false, host_ipc = false;
  bool share_pid = false;          // one PID namespace for all containers (shareProcessNamespace)
  std::map<std::string, std::string>
      sysctls;  // "net.core.somaxconn" -> "1024": namespaced ones only (net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*)
  std::string cgroup_parent;  // the pod's group, below the cgroup root: "/kubepods/burstable/pod<uid>". Made, and removed with the sandbox
  Resources resources;             // limits of the pod as a whole
  uint64_t shm_bytes = 64u << 20;  // /dev/shm, shared by the containers
  std::map<std::string, std::string> labels;  // kept and handed back by recover()
};

enum class ContainerPhase : uint8_t { created, running, exited };

struct ContainerStatus {
  std::string id, name;
  std::map<std::string, std::string> labels;
  ContainerPhase phase = ContainerPhase::created;
  pid_t pid = 0;            // on the host, while running
  base::WallTime created{}, started{}, finished{};
  int exit_code = 0;        // 128 + signal when killed by one
  int signal = 0;
  bool oom_killed = false;
  std::string message;      // why it could not start, empty otherwise
  bool tty = false, stdin_open = false;
  std::string log_path;
};

struct ExecSpec {
  std::vector<std::string> argv;
  std::vector<std::string> add_env;       // on top of the container's
  std::string cwd;                        // empty: the container's
  std::optional<uint32_t> uid, gid;       // default: the container's user
  bool tty = false, stdin_open = false;
  bool want_output = true;                // false: stdout and stderr go to /dev/null
};

}  // namespace runtime
