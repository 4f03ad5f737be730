#include "server/controllers/queue_metrics.h"

#include <fmt/format.h>

namespace server::controllers {
namespace {

using Durations = api::WorkQueue::Durations;

void histogram(std::string& out, std::string_view name, std::string_view queue, const Durations& d) {
  auto at = std::back_inserter(out);
  uint64_t total = 0;
  double bound = 1e-8;
  for (size_t i = 0; i < Durations::kBuckets; ++i, bound *= 10) {
    total += d.buckets[i];
    fmt::format_to(at, "{}_bucket{{name=\"{}\",le=\"{:.0e}\"}} {}\n", name, queue, bound, total);
  }
  fmt::format_to(at, "{0}_bucket{{name=\"{1}\",le=\"+Inf\"}} {2}\n{0}_sum{{name=\"{1}\"}} {3}\n{0}_count{{name=\"{1}\"}} {2}\n", name,
                 queue, d.count, d.seconds);
}

}  // namespace

void append_queue_metrics(std::string& out, const std::vector<QueueMetrics>& queues) {
  auto at = std::back_inserter(out);
  auto each = [&](std::string_view name, std::string_view type, std::string_view help, auto value) {
    fmt::format_to(at, "# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
    for (const QueueMetrics& q : queues) fmt::format_to(at, "{}{{name=\"{}\"}} {}\n", name, q.name, value(q.stats));
  };
  using Stats = api::WorkQueue::Stats;
  each("workqueue_depth", "gauge", "Keys that wait.", [](const Stats& s) { return s.depth; });
  each("workqueue_adds_total", "counter", "Keys queued.", [](const Stats& s) { return s.adds; });
  each("workqueue_retries_total", "counter", "Keys queued again after a failure.", [](const Stats& s) { return s.retries; });
  each("workqueue_unfinished_work_seconds", "gauge", "How long what is being worked on has taken, all together.",
       [](const Stats& s) { return s.unfinished; });
  each("workqueue_longest_running_processor_seconds", "gauge", "How long the longest of it has taken.",
       [](const Stats& s) { return s.longest; });
  fmt::format_to(at, "# HELP workqueue_queue_duration_seconds Time keys waited.\n# TYPE workqueue_queue_duration_seconds histogram\n");
  for (const QueueMetrics& q : queues) histogram(out, "workqueue_queue_duration_seconds", q.name, q.stats.waited);
  fmt::format_to(at,
                 "# HELP workqueue_work_duration_seconds Time a key was worked on.\n# TYPE workqueue_work_duration_seconds histogram\n");
  for (const QueueMetrics& q : queues) histogram(out, "workqueue_work_duration_seconds", q.name, q.stats.worked);
}

}  // namespace server::controllers
