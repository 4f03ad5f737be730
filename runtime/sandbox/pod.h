// A pod as its supervisor holds it: namespaces, containers, their output and their ends.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/container/cgroups.h"
#include "runtime/container/launch.h"
#include "runtime/sandbox/log_file.h"
#include "runtime/sandbox/loop.h"
#include "runtime/sandbox/protocol.h"

namespace runtime {

// Answers one request; may be kept and called later, once.
using Respond = std::function<void(base::Result<std::string> payload, std::vector<base::Fd> fds)>;

class Pod {
 public:
  struct Events {
    std::function<void(const ContainerStatus&)> container_changed;
    std::function<void(const ExecEnded&)> exec_ended;
    std::function<void(const std::string&)> note;
  };

  Pod(Loop& loop, Cgroups cgroups, Events events);

  // Makes the namespaces of this process and all that belongs to the sandbox. Once, first.
  base::Result<> setup(const SandboxSetup& setup);
  SandboxState state() const;
  base::Result<base::Fd> network_namespace() const;

  void start(StartRequest request, Respond respond);
  void exec(ExecRequest request, Respond respond);
  void remove(const std::string& container, Respond respond);
  base::Result<> signal(const SignalRequest& request);
  base::Result<> stop(const StopRequest& request);
  base::Result<> resize(const ResizeRequest& request);
  base::Result<> reopen_log(const std::string& container);
  base::Result<std::vector<base::Fd>> attach(const AttachRequest& request);
  // Kills everything; calls done when nothing runs any more.
  void shutdown(std::function<void()> done);

  // Children have ended: collects them all.
  void reap();
  // Writes the state file.
  void save() const;

 private:
  // A stream from the container to the log and to those attached.
  struct Output {
    base::Fd from;
    const char* name = "stdout";
    std::string rest;  // an unfinished line
  };
  struct Attachment {
    base::Fd out, err;
    std::string out_pending, err_pending;  // what a slow reader has not taken yet; beyond the limit it is let go
    bool stdin_once = false;
  };
  struct Container {
    ContainerSpec spec;
    ContainerStatus status;
    CapabilitySet capabilities = 0;
    std::string seccomp;
    Identity identity;
    std::vector<std::string> env;
    std::string cgroup;
    pid_t pid = 0;
    LogFile log{LogSpec{}};
    Output out, err;
    base::Fd in;        // the write end of its stdin, or
    base::Fd terminal, terminal_peer;  // the master
    std::list<Attachment> attachments;
    base::Fd report, console;
    std::string report_text;
    Respond started;
    std::optional<base::Error> start_failure;
    uint64_t kill_timer = 0, oom_before = 0;
    std::chrono::steady_clock::time_point kill_at{};
    std::vector<Respond> removers;
  };
  struct Exec {
    uint32_t session = 0;
    pid_t pid = 0;
    std::string container;
    base::Fd report, console;
    std::string report_text;
    std::vector<base::Fd> fds;  // for the agent, until it has started
    bool tty = false;
    Respond started;
    bool ended = false;
    int exit_code = 0;
  };
  using ContainerPtr = std::shared_ptr<Container>;
  using ExecPtr = std::shared_ptr<Exec>;

  base::Result<> make_namespaces();
  base::Result<> start_pause();
  base::Result<> launch(Container& c);
  base::Result<> launch_session(Exec& e, Container& c, const ExecSpec& spec);
  base::Result<pid_t> clone_into(pid_t pid_namespace, uint64_t flags, int cgroup);
  void report_ready(const ContainerPtr& c);
  void exec_report_ready(const ExecPtr& e);
  void start_done(const ContainerPtr& c);
  void exec_started(const ExecPtr& e);
  void ended(const ContainerPtr& c, int wait_status);
  void output_ready(const ContainerPtr& c, Output& out);
  bool read_output(const ContainerPtr& c, Output& out);
  void fan_out(const ContainerPtr& c, bool is_err, std::string_view data);
  void flush(const ContainerPtr& c, Attachment* a);
  void detach(const ContainerPtr& c, Attachment* a);
  void watch_attachment(const ContainerPtr& c, Attachment* a);
  void close_streams(Container& c);
  void kill_now(Container& c);
  void changed(Container& c);
  void forget(const ContainerPtr& c);
  base::Result<ContainerPtr> find(const std::string& id, bool running);

  Loop& loop_;
  Cgroups cgroups_;
  Events events_;
  SandboxSetup setup_;
  base::WallTime created_{};
  std::map<std::string, ContainerPtr> containers_;
  std::map<uint32_t, ExecPtr> execs_;
  uint32_t next_session_ = 1;
  base::Fd own_pid_namespace_;
  pid_t pause_ = 0;  // the first process of a shared PID namespace
  std::function<void()> shutdown_done_;
};

}  // namespace runtime
