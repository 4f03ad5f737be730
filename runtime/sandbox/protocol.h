// What the agent and a pod's supervisor say to each other, over a SOCK_SEQPACKET socket: one message per packet, descriptors
// beside it. The agent asks, the supervisor answers each request with one reply of the same number, and tells events unasked.
//
// Compatibility: a supervisor may be older or newer than the agent. Messages keep their numbers and fields (wire.h);
// an operation that is not known is answered with 501.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "runtime/sandbox/spec.h"
#include "runtime/sandbox/wire.h"

namespace runtime {

inline constexpr uint8_t kProtocolVersion = 1;

enum class Op : uint16_t {
  fork = 1,    // to the first process: become the supervisor of a pod; one descriptor, its socket
  setup = 2,   // SandboxSetup -> SandboxState; descriptor: the network namespace
  hello = 3,   // -> SandboxState; descriptor: the network namespace
  start = 4,   // StartRequest -> ContainerStatus
  signal = 5,  // SignalRequest
  stop = 6,    // StopRequest; the end is told by an event
  remove = 7,  // ContainerRef: kills and forgets
  exec = 8,    // ExecRequest -> ExecStarted; descriptors: terminal, or stdin (if asked), stdout, stderr (if asked)
  attach = 9,  // AttachRequest; descriptors: stdin (if it is open and asked for), stdout, stderr (without a terminal)
  resize = 10,  // ResizeRequest
  reopen_log = 11,  // ContainerRef
  shutdown = 12,    // kills all; the reply comes when nothing runs any more, then the supervisor ends
  reply = 100,      // Reply
  container_changed = 101,  // ContainerStatus
  exec_ended = 102,         // ExecEnded
  note = 103,               // Note: a line for the agent's log
};

struct Message {
  Op op{};
  uint32_t sequence = 0;
  std::string body;
  std::vector<base::Fd> fds;
};

struct Reply {
  int code = 0;  // 0: it worked
  std::string reason, message, payload;
};
struct SandboxSetup {
  SandboxSpec spec;
  std::string run_dir, data_dir;  // the sandbox's own
};
struct SandboxState {
  uint32_t version = kProtocolVersion;
  SandboxSpec spec;
  pid_t pid = 0;
  base::WallTime created{};
  std::string data_dir;
  std::vector<ContainerStatus> containers;
};
struct StartRequest {
  ContainerSpec spec;
  uint64_t capabilities = 0;
  std::string seccomp;  // a program; empty: none
};
struct ContainerRef {
  std::string container;
};
struct SignalRequest {
  std::string container;
  uint32_t session = 0;  // of an exec; then container is empty
  int signal = 0;
};
struct StopRequest {
  std::string container;
  uint64_t grace_ms = 0;
};
struct ExecRequest {
  std::string container;
  ExecSpec spec;
};
struct ExecStarted {
  uint32_t session = 0;
  pid_t pid = 0;
};
struct ExecEnded {
  uint32_t session = 0;
  int exit_code = 0;
};
struct AttachRequest {
  std::string container;
  bool with_stdin = false;
};
struct ResizeRequest {
  std::string container;
  uint16_t columns = 0, rows = 0;
};
struct Note {
  std::string text;
};

template <class A> void describe(A& a, Mount& v) {
  a(1, v.kind); a(2, v.source); a(3, v.sub_path); a(4, v.create_sub_path); a(5, v.target); a(6, v.read_only); a(7, v.recursive_read_only);
  a(8, v.recursive); a(9, v.no_exec); a(10, v.no_suid); a(11, v.no_dev); a(12, v.propagation); a(13, v.size_bytes); a(14, v.mode);
}
template <class A> void describe(A& a, Device& v) { a(1, v.host_path); a(2, v.container_path); a(3, v.permissions); }
template <class A> void describe(A& a, Resources& v) {
  a(1, v.memory_bytes); a(2, v.memory_swap_bytes); a(3, v.cpu_shares); a(4, v.cpu_quota_us); a(5, v.cpu_period_us); a(6, v.pids);
  a(7, v.cpuset_cpus); a(8, v.cpuset_mems); a(9, v.hugepage_bytes);
}
template <class A> void describe(A& a, Rlimit& v) { a(1, v.name); a(2, v.soft); a(3, v.hard); }
template <class A> void describe(A& a, User& v) {
  a(1, v.image_user); a(2, v.uid); a(3, v.gid); a(4, v.supplementary_gids); a(5, v.merge_image_groups); a(6, v.require_non_root);
}
template <class A> void describe(A& a, LogSpec& v) { a(1, v.path); a(2, v.max_bytes); a(3, v.max_files); }
// The seccomp profile travels compiled, in StartRequest.
template <class A> void describe(A& a, ContainerSpec& v) {
  a(1, v.id); a(2, v.name); a(3, v.layers); a(4, v.argv); a(5, v.env); a(6, v.cwd); a(7, v.user); a(8, v.mounts); a(9, v.devices);
  a(10, v.add_capabilities); a(11, v.drop_capabilities); a(12, v.privileged); a(13, v.no_new_privileges); a(14, v.read_only_root);
  a(15, v.unmasked_proc); a(16, v.tty); a(17, v.stdin_open); a(18, v.stdin_once); a(19, v.rlimits); a(20, v.resources); a(21, v.oom_score_adj);
  a(22, v.stop_signal); a(23, v.log); a(24, v.labels); a(25, v.pid_of);
}
template <class A> void describe(A& a, SandboxSpec& v) {
  a(1, v.id); a(2, v.hostname); a(3, v.host_network); a(4, v.host_pid); a(5, v.host_ipc); a(6, v.share_pid); a(7, v.sysctls);
  a(8, v.cgroup_parent); a(9, v.resources); a(10, v.shm_bytes); a(11, v.labels);
}
template <class A> void describe(A& a, ContainerStatus& v) {
  a(1, v.id); a(2, v.name); a(3, v.labels); a(4, v.phase); a(5, v.pid); a(6, v.created); a(7, v.started); a(8, v.finished); a(9, v.exit_code);
  a(10, v.signal); a(11, v.oom_killed); a(12, v.message); a(13, v.tty); a(14, v.stdin_open); a(15, v.log_path);
}
template <class A> void describe(A& a, ExecSpec& v) {
  a(1, v.argv); a(2, v.add_env); a(3, v.cwd); a(4, v.uid); a(5, v.gid); a(6, v.tty); a(7, v.stdin_open); a(8, v.want_output);
}
template <class A> void describe(A& a, Reply& v) { a(1, v.code); a(2, v.reason); a(3, v.message); a(4, v.payload); }
template <class A> void describe(A& a, SandboxSetup& v) { a(1, v.spec); a(2, v.run_dir); a(3, v.data_dir); }
template <class A> void describe(A& a, SandboxState& v) { a(1, v.version); a(2, v.spec); a(3, v.pid); a(4, v.created); a(5, v.data_dir); a(6, v.containers); }
template <class A> void describe(A& a, StartRequest& v) { a(1, v.spec); a(2, v.capabilities); a(3, v.seccomp); }
template <class A> void describe(A& a, ContainerRef& v) { a(1, v.container); }
template <class A> void describe(A& a, SignalRequest& v) { a(1, v.container); a(2, v.session); a(3, v.signal); }
template <class A> void describe(A& a, StopRequest& v) { a(1, v.container); a(2, v.grace_ms); }
template <class A> void describe(A& a, ExecRequest& v) { a(1, v.container); a(2, v.spec); }
template <class A> void describe(A& a, ExecStarted& v) { a(1, v.session); a(2, v.pid); }
template <class A> void describe(A& a, ExecEnded& v) { a(1, v.session); a(2, v.exit_code); }
template <class A> void describe(A& a, AttachRequest& v) { a(1, v.container); a(2, v.with_stdin); }
template <class A> void describe(A& a, ResizeRequest& v) { a(1, v.container); a(2, v.columns); a(3, v.rows); }
template <class A> void describe(A& a, Note& v) { a(1, v.text); }

// 0, or errno: EAGAIN when the socket is full (non-blocking). A body too large for a packet travels in a memory file.
int send_message(int socket, Op op, uint32_t sequence, std::string_view body, std::span<const int> fds = {});
enum class Received { message, nothing, closed };  // nothing: none waits; closed: the peer is gone or talks nonsense
Received receive_message(int socket, Message& out);

}  // namespace runtime
