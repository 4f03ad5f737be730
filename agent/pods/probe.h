// Probes: what a sequence of results means (pure), and how one attempt is made.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/types/core_v1.h"
#include "base/io.h"
#include "runtime/exec/exec.h"
#include "runtime/sandbox/sandbox.h"

namespace agent {

using base::Result;
using base::Task;

enum class ProbeKind { startup, liveness, readiness };
std::string_view probe_name(ProbeKind kind);  // "Startup"

enum class Verdict { unknown, success, failure };

struct ProbeTimes {
  base::Duration initial_delay, timeout, period;
  int success_threshold = 1, failure_threshold = 3;
};
// Defaults as documented: 0 s, 1 s, 10 s, 1, 3.
ProbeTimes probe_times(const api::core::Probe& probe);

// Consecutive results against the thresholds.
class ProbeState {
 public:
  ProbeState(ProbeTimes times, Verdict initial) : times_(times), verdict_(initial) {}
  // The verdict after this result, which may be the old one. Unknown results (the attempt could not be made) change nothing.
  Verdict note(Verdict result);
  Verdict verdict() const { return verdict_; }

 private:
  const ProbeTimes times_;
  Verdict verdict_, last_ = Verdict::unknown;
  int run_ = 0;
};

struct ProbeResult {
  Verdict verdict = Verdict::unknown;
  std::string message;  // for the event
};

// Where the container is.
struct ProbeTarget {
  base::Runtime* runtime = nullptr;
  runtime::SandboxPtr sandbox;
  std::string container_id;
  std::string pod_ip;
  const api::core::Container* container = nullptr;  // for named ports; must outlive the attempt
};

// One attempt. Never takes longer than the timeout by much.
Task<ProbeResult> run_probe(api::core::Probe probe, ProbeTarget target);

// Hooks use the same actions.
struct ExecOutput {
  int exit_code = 0;
  std::string output;  // both streams, at most 10 KiB
};
Task<Result<ExecOutput>> run_in_container(base::Runtime& runtime, runtime::SandboxPtr sandbox, std::string container_id,
                                          std::vector<std::string> command, base::Duration timeout);
Task<Result<int>> http_get(api::core::HTTPGetAction action, std::string pod_ip, uint16_t port, base::Duration timeout, std::string* body);
// A port by number or by its name in the container; 0 when there is none.
uint16_t resolve_port(const api::IntOrString& port, const api::core::Container& container);

// postStart and preStop: exec, httpGet, tcpSocket, sleep. `timeout` bounds it.
Task<Result<>> run_hook(api::core::LifecycleHandler hook, ProbeTarget target, base::Duration timeout);

}  // namespace agent
