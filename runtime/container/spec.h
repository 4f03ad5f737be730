// What a container is started from: plain data, no Kubernetes objects. Values are obeyed exactly; what comes from an image
// (user names, working directory, link targets inside the layers) is hostile and resolved inside the root file system.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace runtime {

using base::Result;

enum class Propagation : uint8_t { none, host_to_container, bidirectional };

struct Mount {
  enum class Kind : uint8_t { bind, tmpfs };
  Kind kind = Kind::bind;
  std::string source;    // bind: absolute path on the host (a file, directory, socket or device)
  // Below source: symlinks are followed only while they stay beneath it; an escape is an error. Missing directories are
  // made when create_sub_path is set (0755, owner root), otherwise a missing one is an error.
  std::string sub_path;
  bool create_sub_path = true;
  std::string target;    // absolute, resolved inside the container's root; missing mountpoints are made
  bool read_only = false;
  bool recursive_read_only = false;  // with read_only: what is mounted below source becomes read-only, too
  bool recursive = true;             // take what is mounted below source along
  bool no_exec = false, no_suid = false, no_dev = false;
  Propagation propagation = Propagation::none;
  uint64_t size_bytes = 0;  // tmpfs; 0: the kernel's default
  mode_t mode = 0777;       // tmpfs
};

struct Device {
  std::string host_path;       // a device node on the host
  std::string container_path;  // empty: the same
  std::string permissions = "rwm";
};

// 0 or absent: not set, or left as it is; memory and quota below 0: without limit.
struct Resources {
  std::optional<int64_t> memory_bytes;
  std::optional<int64_t> memory_swap_bytes;  // memory plus swap; absent: no swap beyond memory_bytes
  std::optional<uint64_t> cpu_shares;        // as cgroup v1 (1024 per CPU); translated to cpu.weight
  std::optional<int64_t> cpu_quota_us;       // per period; -1: none
  std::optional<uint64_t> cpu_period_us;     // default 100000
  std::optional<int64_t> pids;
  std::string cpuset_cpus, cpuset_mems;
  std::map<std::string, int64_t> hugepage_bytes;  // "2MB" -> bytes
};

struct Rlimit {
  std::string name;  // "nofile"
  uint64_t soft = 0, hard = 0;
};

struct Seccomp {
  enum class Kind : uint8_t { runtime_default, unconfined, profile };
  Kind kind = Kind::runtime_default;
  std::string profile_json;  // of kind profile: the text of a profile in Docker's format. Empty or bad: an error at start, never unconfined
};

// Who runs. "uid", "name", "uid:gid", "name:group" in the image's form, overridden by the numbers where given.
struct User {
  std::string image_user;  // resolved in the container's /etc/passwd and /etc/group, strictly
  std::optional<uint32_t> uid, gid;
  std::vector<uint32_t> supplementary_gids;  // fsGroup and supplementalGroups
  bool merge_image_groups = true;            // supplementalGroupsPolicy Merge: also the groups of /etc/group
  bool require_non_root = false;             // runAsNonRoot: uid 0 after resolution is an error at start
};

struct LogSpec {
  std::string path;  // CRI format: "2026-01-02T03:04:05.123456789Z stdout F text". Directories are made. Empty: output is dropped
  uint64_t max_bytes = 10u << 20;  // a file is renamed to <path>.<yyyymmdd-hhmmss[-n]> when it would grow beyond
  unsigned max_files = 5;          // with the current one
};

struct ContainerSpec {
  std::string id;    // unique on the node: [A-Za-z0-9][A-Za-z0-9_.-]{0,127}
  std::string name;  // for messages
  std::vector<std::string> layers;  // overlayfs lower directories, TOPMOST FIRST (Images::layers). The writable layer is the runtime's
  std::vector<std::string> argv;    // at least one; looked up in the PATH of env when without a slash
  std::vector<std::string> env;     // NAME=value; a later one wins. PATH, HOME (from passwd) and HOSTNAME are added when absent
  std::string cwd;                  // empty: "/"; made when missing
  std::string pid_of;               // id of a running container of the sandbox whose PID namespace it joins; empty: one of its own
  User user;
  std::vector<Mount> mounts;        // in this order
  std::vector<Device> devices;
  std::vector<std::string> add_capabilities, drop_capabilities;  // "NET_ADMIN" or "CAP_NET_ADMIN", "ALL"
  bool privileged = false;          // all capabilities and devices, no seccomp, no masks, /sys and /proc/sys writable
  bool no_new_privileges = false;
  bool read_only_root = false;
  bool unmasked_proc = false;       // procMount: Unmasked
  Seccomp seccomp;
  bool tty = false;
  bool stdin_open = false;          // keep a pipe (or the tty) as stdin for attach; otherwise /dev/null
  bool stdin_once = false;          // close it when the first attached client goes
  std::vector<Rlimit> rlimits;
  Resources resources;
  int oom_score_adj = 0;            // best effort without CAP_SYS_RESOURCE
  std::string stop_signal;          // "SIGTERM" (default), "15", "QUIT"
  LogSpec log;
  std::map<std::string, std::string> labels;  // kept and handed back after a restart of the agent; the runtime does not read them
};

// "SIGTERM", "TERM", "15", "SIGRTMIN+3" -> number; nullopt when unknown.
std::optional<int> parse_signal(std::string_view text);
// "NET_ADMIN" -> 12.
std::optional<int> parse_capability(std::string_view text);

}  // namespace runtime
