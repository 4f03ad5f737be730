// A sandbox as the agent holds it: the link to its supervisor and what the supervisor has told so far.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/container/cgroups.h"
#include "runtime/exec/exec.h"
#include "runtime/sandbox/link.h"
#include "runtime/sandbox/sandbox.h"

namespace runtime {

// What all sandboxes of a Sandboxes share.
struct SandboxContext {
  base::Runtime& runtime;
  base::Tasks tasks;
  SandboxesOptions options;
  std::mutex cgroups_mutex;
  Cgroups cgroups;
  std::function<void(const std::string& id)> forget;

  SandboxContext(base::Runtime& r, SandboxesOptions o) : runtime(r), tasks(r), options(std::move(o)) {}
  std::string run_dir(std::string_view id) const { return options.run_dir + "/" + std::string(id); }
  std::string data_dir(std::string_view id) const { return options.data_dir + "/" + std::string(id); }
  // Processes, cgroups, mounts and directories of a sandbox whose supervisor is gone. Blocking.
  Result<> clean(const std::string& id, const std::string& cgroup_parent);
};

class SandboxImpl final : public Sandbox, public std::enable_shared_from_this<SandboxImpl> {
 public:
  SandboxImpl(std::shared_ptr<SandboxContext> context, base::Fd socket);

  // Starts to listen. Then one of setup() and hello(), once.
  void begin();
  Task<Result<>> setup(SandboxSpec spec);
  Task<Result<>> hello();
  // Kills a supervisor that was found but does not answer.
  void abandon();

  const SandboxSpec& spec() const override { return spec_; }
  base::WallTime created() const override { return created_; }
  pid_t supervisor_pid() const override { return pid_; }
  bool alive() const override { return link_->open(); }
  int netns_fd() const override { return spec_.host_network ? -1 : netns_.get(); }
  std::string netns_path() const override;
  Task<Result<ContainerStatus>> start(ContainerSpec spec) override;
  Task<Result<>> signal(std::string container, int signal) override;
  Task<Result<>> stop(std::string container, base::Duration grace) override;
  Task<Result<>> remove(std::string container) override;
  Task<Result<>> update(std::string container, Resources resources) override;
  Task<Result<>> update_pod(Resources resources) override;
  Task<Result<>> reopen_log(std::string container) override;
  std::vector<ContainerStatus> containers() const override;
  std::optional<ContainerStatus> container(std::string_view id) const override;
  Task<Result<ContainerStatus>> wait(std::string container) override;
  Result<CgroupStats> stats(std::string_view container) const override;
  Result<CgroupStats> pod_stats() const override;
  std::string writable_layer(std::string_view container) const override;
  Task<Result<ExecSessionPtr>> exec(std::string container, ExecSpec spec) override;
  Task<Result<AttachSessionPtr>> attach(std::string container, bool with_stdin) override;
  Task<Result<>> destroy() override;

  // For exec sessions.
  Task<Result<int>> wait_exec(uint32_t session);
  Task<Result<>> kill_exec(uint32_t session, int signal);
  void forget_exec(uint32_t session);
  Task<Result<>> resize(std::string container, uint16_t columns, uint16_t rows);
  base::Runtime& runtime() { return context_->runtime; }

 private:
  Task<> listen();
  void on_message(Message m);
  void on_gone();
  Result<> take_state(Answer answer);
  Task<Result<>> plain(Op op, std::string body);
  std::string cgroup(std::string_view container) const { return spec_.cgroup_parent + "/" + std::string(container); }
  Result<CgroupStats> stats_of(const std::string& path) const;

  std::shared_ptr<SandboxContext> context_;
  std::shared_ptr<Link> link_;
  // Set before the object is handed out.
  SandboxSpec spec_;
  base::WallTime created_{};
  pid_t pid_ = 0;  // until told: the one who listened on the socket
  base::Fd netns_, pidfd_;

  mutable std::mutex mutex_;
  std::map<std::string, ContainerStatus, std::less<>> statuses_;
  std::map<uint32_t, std::optional<int>> execs_;
  bool known_ = false;  // set up or found again: from then on its end is news
  bool destroying_ = false;
  base::Event changed_;
};

CgroupStats to_stats(const CgroupUsage& u);
bool valid_id(std::string_view id);

}  // namespace runtime
