// The status column of pods: what the containers say, in the words kubectl users know.
#include <fmt/format.h>

#include "api/tables/printer.h"

namespace api::tables {
namespace {

namespace json = base::json;

// Container statuses in the words of the STATUS column.
class PodSummary {
 public:
  explicit PodSummary(const Row& row) : row_(row) {
    total = static_cast<int64_t>(row.list("spec.containers").size());
    reason = row.text("status.reason", row.text("status.phase", "Unknown"));
    for (const json::value& c : row.list("status.conditions")) {
      if (base::get_string(c, "type") == "PodScheduled" && base::get_string(c, "reason") == "SchedulingGated") reason = "SchedulingGated";
    }
    for (const json::value& c : row.list("spec.initContainers")) {
      if (is_sidecar(c)) ++total;
    }
    bool initializing = init_containers();
    if (!initializing || has_condition("Initialized")) containers();
    bool deleted = !row.text("metadata.deletionTimestamp").empty();
    std::string_view phase = row.text("status.phase");
    if (deleted && row.text("status.reason") == "NodeLost") reason = "Unknown";
    else if (deleted && phase != "Succeeded" && phase != "Failed") reason = "Terminating";
  }

  std::string reason;
  std::string last_restart;  // of the restarts counted
  int64_t total = 0, ready = 0, restarts = 0;

 private:
  static bool is_sidecar(const json::value& c) { return base::get_string(c, "restartPolicy") == "Always"; }

  bool is_sidecar_named(std::string_view name) const {
    for (const json::value& c : row_.list("spec.initContainers")) {
      if (base::get_string(c, "name") == name) return is_sidecar(c);
    }
    return false;
  }

  bool has_condition(std::string_view type) const {
    for (const json::value& c : row_.list("status.conditions")) {
      if (base::get_string(c, "type") == type && base::get_string(c, "status") == "True") return true;
    }
    return false;
  }

  static void later(std::string& time, const json::value& status) {
    std::string_view finished = base::get_string(status, "lastState.terminated.finishedAt");
    if (finished > time) time = finished;
  }

  static std::string exit_text(const json::value& status) {
    int64_t signal = base::get_int(status, "state.terminated.signal");
    if (signal != 0) return fmt::format("Signal:{}", signal);
    return fmt::format("ExitCode:{}", base::get_int(status, "state.terminated.exitCode"));
  }

  // Whether initialisation is still under way.
  bool init_containers() {
    const json::array& statuses = row_.list("status.initContainerStatuses");
    for (size_t i = 0; i < statuses.size(); ++i) {
      const json::value& s = statuses[i];
      bool sidecar = is_sidecar_named(base::get_string(s, "name"));
      restarts += base::get_int(s, "restartCount");
      later(last_restart, s);
      if (sidecar) {
        sidecar_restarts_ += base::get_int(s, "restartCount");
        later(sidecar_last_restart_, s);
      }
      const json::value* terminated = base::find(s, "state.terminated");
      std::string_view waiting = base::get_string(s, "state.waiting.reason");
      if (terminated && base::get_int(*terminated, "exitCode") == 0) continue;
      if (sidecar && base::get_bool(s, "started")) {
        if (base::get_bool(s, "ready")) ++ready;
        continue;
      }
      if (terminated) {
        std::string_view why = base::get_string(*terminated, "reason");
        reason = "Init:" + (why.empty() ? exit_text(s) : std::string(why));
      } else if (!waiting.empty() && waiting != "PodInitializing") {
        reason = fmt::format("Init:{}", waiting);
      } else {
        reason = fmt::format("Init:{}/{}", i, row_.list("spec.initContainers").size());
      }
      return true;
    }
    return false;
  }

  void containers() {
    restarts = sidecar_restarts_;
    last_restart = sidecar_last_restart_;
    bool running = false;
    const json::array& statuses = row_.list("status.containerStatuses");
    for (size_t i = statuses.size(); i-- > 0;) {
      const json::value& s = statuses[i];
      restarts += base::get_int(s, "restartCount");
      later(last_restart, s);
      std::string_view waiting = base::get_string(s, "state.waiting.reason"), ended = base::get_string(s, "state.terminated.reason");
      if (!waiting.empty()) {
        reason = waiting;
      } else if (base::find(s, "state.terminated")) {
        reason = ended.empty() ? exit_text(s) : std::string(ended);
      } else if (base::get_bool(s, "ready") && base::find(s, "state.running")) {
        running = true;
        ++ready;
      }
    }
    if (reason == "Completed" && running) reason = has_condition("Ready") ? "Running" : "NotReady";
  }

  const Row& row_;
  int64_t sidecar_restarts_ = 0;
  std::string sidecar_last_restart_;
};

}  // namespace

void pod_cells(Row& row) {
  PodSummary pod(row);
  row.add_field("metadata.name");
  row.add(fmt::format("{}/{}", pod.ready, pod.total));
  row.add(pod.reason);
  std::string restarts = std::to_string(pod.restarts);
  if (pod.restarts != 0 && !pod.last_restart.empty()) restarts += fmt::format(" ({} ago)", row.since(pod.last_restart));
  row.add(std::move(restarts));
  row.add_age();
  const json::array& ips = row.list("status.podIPs");
  std::string_view ip = ips.empty() ? row.text("status.podIP") : base::get_string(ips[0], "ip");
  row.add(ip.empty() ? "<none>" : ip);
  row.add_field("spec.nodeName", "<none>");
  row.add_field("status.nominatedNodeName", "<none>");
  const json::array& gates = row.list("spec.readinessGates");
  if (gates.empty()) {
    row.add("<none>");
    return;
  }
  size_t open = 0;
  for (const json::value& gate : gates) {
    for (const json::value& c : row.list("status.conditions")) {
      if (base::get_string(c, "type") == base::get_string(gate, "conditionType") && base::get_string(c, "status") == "True") ++open;
    }
  }
  row.add(fmt::format("{}/{}", open, gates.size()));
}

}  // namespace api::tables
