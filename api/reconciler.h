// A controller: what it is called, and what brings one object to its desired state. The event that caused it is never passed on.
#pragma once

#include <optional>
#include <string>

#include "api/kind.h"
#include "api/workqueue.h"
#include "base/io.h"

namespace api {

class Reconciler {
 public:
  virtual ~Reconciler() = default;
  virtual std::string_view name() const = 0;
  // Reads, plans, applies. An error comes back with back-off; a duration comes back after it; "not found" is done.
  virtual base::Task<base::Result<std::optional<base::Duration>>> reconcile(ObjectKey key) = 0;
};

// Works off the queue with `workers` coroutines, each on its own strand, until cancelled. Exceptions of reconcile count as errors.
void run_reconciler(base::Tasks& tasks, Reconciler& reconciler, WorkQueue& queue, int workers = 2);

}  // namespace api
