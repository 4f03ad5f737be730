// Pods' sandboxes and their containers, each sandbox held by a supervisor process of its own that outlives this one.
//
// Every call is safe from any thread. Errors are sentences for an event or a status message; `code`/`reason`:
//   400 InvalidContainerSpec    the spec contradicts itself or the image (unknown user, runAsNonRoot, bad capability or profile)
//   422 StartError              the process could not be started (command not found, bad mount, working directory): the
//                               container counts as exited with code 128 (127 command not found, 126 not executable)
//   404 NotFound                no such sandbox, container, exec session
//   409 Conflict                the id is taken; the container does not run
//   503 SandboxGone             the supervisor died; its containers have been killed
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/io.h"
#include "base/time.h"
#include "runtime/container/spec.h"
#include "runtime/sandbox/spec.h"

namespace runtime {

using base::Task;

struct CgroupStats {
  base::WallTime time{};
  uint64_t cpu_usage_ns = 0;
  uint64_t memory_usage_bytes = 0;        // with page cache
  uint64_t memory_working_set_bytes = 0;  // without inactive file pages: what kubectl top shows
  uint64_t memory_rss_bytes = 0;
  uint64_t memory_limit_bytes = 0;        // 0: none
  uint64_t memory_page_faults = 0, memory_major_page_faults = 0;
  uint64_t pids = 0;
  uint64_t throttled_periods = 0, periods = 0, throttled_ns = 0;
};

// --- Exec and attach: see runtime/exec/exec.h for the streams.
class ExecSession;
class AttachSession;
using ExecSessionPtr = std::shared_ptr<ExecSession>;
using AttachSessionPtr = std::shared_ptr<AttachSession>;

class Sandbox {
 public:
  virtual ~Sandbox() = default;
  virtual const SandboxSpec& spec() const = 0;  // after recover(): id, labels, host_* and cgroup_parent only
  virtual base::WallTime created() const = 0;
  virtual pid_t supervisor_pid() const = 0;
  virtual bool alive() const = 0;               // false once the supervisor is gone

  // The network namespace: a descriptor of this process, valid while the object lives (-1 with host_network), and a path
  // that others can open (/proc/<supervisor>/ns/net). Loopback is up.
  virtual int netns_fd() const = 0;
  virtual std::string netns_path() const = 0;

  // Starts a container. The status of a failed start is kept (phase exited, code 128) until remove().
  virtual Task<Result<ContainerStatus>> start(ContainerSpec spec) = 0;
  virtual Task<Result<>> signal(std::string container, int signal) = 0;
  // The stop signal of its spec, then SIGKILL to all its processes after `grace`. Returns when it has exited; at once when it has already.
  // A second call with a shorter grace shortens the wait of the first. grace 0: SIGKILL at once.
  virtual Task<Result<>> stop(std::string container, base::Duration grace) = 0;
  // Kills it if it runs, drops its writable layer, cgroup and status. Absent is success. Log files stay.
  virtual Task<Result<>> remove(std::string container) = 0;
  virtual Task<Result<>> update(std::string container, Resources resources) = 0;  // in place resize
  virtual Task<Result<>> update_pod(Resources resources) = 0;
  // Closes and reopens the log file: for those who move it away.
  virtual Task<Result<>> reopen_log(std::string container) = 0;

  virtual std::vector<ContainerStatus> containers() const = 0;  // from memory, always current
  virtual std::optional<ContainerStatus> container(std::string_view id) const = 0;
  // Waits until it has exited; 503 when the supervisor dies.
  virtual Task<Result<ContainerStatus>> wait(std::string container) = 0;

  virtual Result<CgroupStats> stats(std::string_view container) const = 0;
  virtual Result<CgroupStats> pod_stats() const = 0;
  // The upper directory of the container's writable layer, for disk accounting.
  virtual std::string writable_layer(std::string_view container) const = 0;

  virtual Task<Result<ExecSessionPtr>> exec(std::string container, ExecSpec spec) = 0;
  virtual Task<Result<AttachSessionPtr>> attach(std::string container, bool with_stdin) = 0;

  // Kills what still runs, ends the supervisor, removes cgroups, mounts, directories. Idempotent; waits until all is gone.
  virtual Task<Result<>> destroy() = 0;
};
using SandboxPtr = std::shared_ptr<Sandbox>;

struct SandboxEvent {
  std::string sandbox;
  std::string container;    // empty: the supervisor is gone
  ContainerStatus status;
};

struct SandboxesOptions {
  std::string data_dir;            // writable layers; on a file system that overlayfs accepts as upper (not overlayfs itself)
  std::string run_dir;             // sockets and states of the supervisors, gone after a reboot; both are made, 0700
  std::string cgroup_root;         // "" or "/appliance-a": prefix of every cgroup
  std::string self_executable;     // unused when the supervisor is embedded; kept for those who replace it in tests
  // Called on a strand of Sandboxes for each change of a container's state (running, exited) and for supervisors that die.
  // It must not block; it may spawn.
  std::function<void(const SandboxEvent&)> on_event;
};

class Sandboxes {
 public:
  Sandboxes(base::Runtime& runtime, SandboxesOptions options);
  ~Sandboxes();

  // Prepares directories and cgroups, compiles the seccomp profile, finds the supervisors of an earlier process and removes
  // the remains of dead ones. Call once, before all else. Returns the running sandboxes.
  Task<Result<std::vector<SandboxPtr>>> recover();
  // Makes a sandbox whose id is free; ready for the network and for start().
  Task<Result<SandboxPtr>> create(SandboxSpec spec);
  SandboxPtr find(std::string_view id) const;
  std::vector<SandboxPtr> list() const;
  // Lets go of all supervisors; pods run on.
  Task<> stop();

  // Makes a cgroup (with its parents) below the cgroup root and sets its limits: QoS levels such as /kubepods/burstable.
  Result<> set_cgroup(std::string_view path, const Resources& resources);
  Result<CgroupStats> cgroup_stats(std::string_view path) const;  // "/kubepods"; "/" with the root's numbers
  // One line for `appliance check` and the node's status: "cgroup v2", "cgroup v1", "cgroup v1+v2 (hybrid)".
  std::string cgroup_mode() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace runtime
