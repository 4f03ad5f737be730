// One pod on this node, from the first sight of its object to the last trace of it.
//
// Decides synchronously, acts asynchronously: step() compares what the pod should be with what is known of it and starts children (set up
// the sandbox, start containers, stop them, tear down); each child changes the state and wakes the loop. All of it on one strand.
//
//   preparing -> running -> stopping -> stopped -> gone
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/pods/backoff.h"
#include "agent/pods/context.h"
#include "agent/pods/probe.h"
#include "agent/pods/room.h"
#include "agent/volumes/volumes.h"
#include "api/types/core_v1.h"
#include "base/json.h"

namespace agent {

// What the node API needs to know; a copy, safe to keep.
struct ContainerView {
  std::string name, id, log_path, previous_log_path;
  bool running = false, started_once = false, tty = false, in = false, in_once = false;
  std::string waiting_reason;
};
struct PodView {
  PodPtr pod;
  runtime::SandboxPtr sandbox;
  std::vector<std::string> ips;
  std::string host_link;
  std::vector<ContainerView> containers;
  api::core::PodStatus status;
};

class PodWorker : public std::enable_shared_from_this<PodWorker> {
 public:
  // With a refusal it ends as Failed, without ever having run.
  PodWorker(PodContext& context, PodPtr pod, std::optional<Refusal> refusal = {});
  ~PodWorker();

  // A sandbox that survived a restart of the agent. Before run().
  void adopt(runtime::SandboxPtr sandbox);
  // Until nothing is left of the pod, or cancelled (the pod then runs on).
  Task<> run();
  // Ends children without touching containers. After run() has ended.
  Task<> stop();

  // Safe from any thread; they queue.
  void update(PodPtr pod);
  void removed();  // the object has gone from the API
  void runtime_event(runtime::SandboxEvent event);
  // Ends the pod at once as Failed, Evicted; `pressure`: for the node's sake, not for a limit of its own.
  void evict(std::string message, bool pressure);
  void room_changed();  // a resize that waits for room is tried again

  const std::string& uid() const { return uid_; }
  const base::Executor& strand() const { return strand_; }  // where run() and stop() belong
  PodView view() const;  // safe from any thread

 private:
  enum class Role { init, sidecar, app, ephemeral };
  enum class Stage { preparing, running, stopping, stopped, gone };

  struct Slot {
    std::string name;
    Role role = Role::app;
    std::string target;  // ephemeral: the container whose processes it sees
    std::shared_ptr<const api::core::Container> spec;     // with the resources that were granted
    std::shared_ptr<const api::core::Container> planned;  // what the latest instance was given
    api::core::ContainerStatus status;
    std::string id;           // of the latest instance; empty: none yet
    int attempt = -1;         // of the latest instance
    bool running = false;     // in the runtime
    bool starting = false;    // a child is at it
    bool launching = false;   // the runtime has not answered yet: its events of this instance wait for that
    bool stopping = false;    // a child stops this one container
    bool restart_pending = false;
    base::TimePoint started_at{};
    base::TimePoint not_before{};   // of the next start
    BackOff crash{1}, pull{0}, config{0, std::chrono::seconds(2), std::chrono::seconds(60)};
    std::optional<Result<runtime::ImagePtr>> image;  // outcome of the last ensure_image
    runtime::ImagePtr image_used;
    bool probes_started = false;    // liveness and readiness
    std::string log_path, previous_log_path, termination_file;
    bool backoff_event_sent = false;
  };

  // worker.cc
  std::optional<base::TimePoint> step();
  std::optional<base::TimePoint> step_containers(base::TimePoint now);
  void make_slots();
  void take_spec_changes(const PodPtr& before);
  void on_exit(Slot& slot, const runtime::ContainerStatus& status);
  void resume_back_off(Slot& slot);
  Slot* slot_of(const std::string& container_id);
  Slot* slot_named(const std::string& name);
  void wake() { changed_.notify(); }
  bool restarts(const Slot& slot) const;
  PodFacts facts() const;
  std::string pod_ip() const { return ips_.empty() ? std::string() : ips_[0]; }
  std::string log_dir() const;
  VolumeSettings volume_settings() const;

  // worker_setup.cc
  Task<> set_up();
  Task<Result<>> try_set_up();
  Task<Result<>> attach_network();
  Task<Result<>> mount_images(PodPtr pod);
  Task<> refresh_volumes();
  void watch_volumes();
  static Result<> write_pod_files(const PodContext& context, const std::string& dir, PodPtr pod, std::vector<std::string> ips, bool fresh);

  // worker_start.cc
  Task<> start_containers(std::vector<std::string> names);
  Task<> ensure_image(std::string name);
  Task<Result<runtime::ImagePtr>> find_image(std::shared_ptr<const api::core::Container> spec);
  Task<> start_container(std::string name);
  Task<Result<runtime::ContainerSpec>> plan(std::string name, std::string id, int attempt);
  void forget_container(runtime::SandboxPtr sandbox, std::string id);
  void start_failed(Slot& slot, const base::Error& error);
  void mark_running(Slot& slot, base::WallTime since);
  void start_probes(Slot& slot);
  Task<> probe_loop(std::string name, std::string id, ProbeKind kind);

  // worker_resize.cc
  std::optional<base::TimePoint> step_resize(base::TimePoint now);
  Task<> resize();
  api::core::Pod allocated_pod() const;
  static void show_resources(Slot& slot);

  // worker_stop.cc
  void begin_stop(base::Duration grace, std::string phase, std::string reason, std::string message);
  Task<> stop_all();
  Task<> stop_container(std::string name, std::string why, base::Duration grace);
  Task<> tear_down();
  Task<> finish_deletion();

  // worker_status.cc
  void publish();
  api::core::PodStatus make_status();
  Task<> write_status();
  Task<> status_written();
  void event(std::string_view type, std::string_view reason, std::string message, const std::string& container = {});

  PodContext& context_;
  const std::string uid_;
  PodPtr pod_;
  base::Executor strand_;
  base::Event changed_;
  base::Tasks life_;                       // status writer, stopping: until the end
  std::shared_ptr<base::Tasks> active_;    // set-up, starts, probes, refreshes: cancelled when stopping begins

  Stage stage_ = Stage::preparing;
  std::vector<Slot> slots_;
  std::shared_ptr<PodVolumes> volumes_;
  runtime::SandboxPtr sandbox_;
  int sandbox_attempt_ = 0;
  std::vector<std::string> ips_;
  std::string host_link_;
  bool setting_up_ = false, starting_ = false, refreshing_ = false, refresh_wanted_ = false, ready_for_containers_ = false;
  BackOff setup_{0, std::chrono::milliseconds(500), std::chrono::seconds(60)};

  base::TimePoint born_ = base::Clock::now();
  bool object_gone_ = false, deleting_ = false, remains_removed_ = false, finishing_ = false;
  base::Duration grace_{};
  base::TimePoint stop_began_{};
  std::string final_phase_, final_reason_, final_message_;
  bool disrupted_ = false;                 // by the node, which says so in a condition

  bool resizing_ = false;
  Refusal resize_refused_;                 // empty reason: none
  std::string resize_error_;
  base::TimePoint resize_not_before_{};
  std::optional<runtime::Resources> pod_limits_;  // of the pod's group; absent: as an earlier process left it

  api::core::PodStatus status_;            // the latest made
  base::json::object sent_;                // what the API has, as far as we know
  bool status_dirty_ = false, status_lost_ = false;
  base::TimePoint status_not_before_{};
  base::Event status_changed_, status_sent_;

  mutable std::mutex view_mutex_;          // guards view_
  PodView view_;
};

}  // namespace agent
