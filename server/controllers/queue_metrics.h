// The work queues of controllers under client-go's metric names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/workqueue.h"

namespace server::controllers {

struct QueueMetrics {
  std::string_view name;
  api::WorkQueue::Stats stats;
};
void append_queue_metrics(std::string& out, const std::vector<QueueMetrics>& queues);

}  // namespace server::controllers
