// Gives every pod a node: filters and scores nodes as kube-scheduler's default profile does, binds through the `binding` subresource,
// makes room by preemption, and says in an event and the PodScheduled condition why a pod has to wait.
//
// Decisions are taken one after another on one strand, against a table that counts a decision before it is written (assume);
// binds are written in parallel. A pod that fits is bound as soon as it is seen; one that does not is tried again when something changed that can help.
#pragma once

#include <memory>
#include <string>

#include "api/client.h"
#include "base/io.h"

namespace server {

struct SchedulerOptions {
  std::string name = "default-scheduler";  // pods with another spec.schedulerName are not ours
  base::Duration initial_backoff = std::chrono::milliseconds(50);  // doubles with every attempt
  base::Duration longest_backoff = std::chrono::seconds(10);
  // Unschedulable pods are tried again after this time without any event.
  base::Duration retry_all_after = std::chrono::minutes(5);
  size_t binds_in_flight = 128;
};

class Scheduler {
 public:
  Scheduler(base::Runtime& runtime, api::Client& client, SchedulerOptions options = {});
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  void start();
  base::Task<> stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace server
