#include <algorithm>

#include <fmt/format.h>

#include "server/apiserver/flow/flow_control.h"
#include "server/apiserver/flow/level.h"

namespace server::flow {
namespace {

void head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

std::string labels_of(const Schema& s) {
  return fmt::format("flow_schema=\"{}\",priority_level=\"{}\"", s.object.metadata.name, s.level->name);
}

void histogram(std::string& out, std::string_view name, const std::string& labels, const Durations& d) {
  uint64_t sum = 0;
  for (size_t i = 0; i <= std::size(kWaitBounds); ++i) {
    sum += d.buckets[i].load(std::memory_order_relaxed);
    std::string bound = i < std::size(kWaitBounds) ? fmt::format("{}", kWaitBounds[i]) : "+Inf";
    fmt::format_to(std::back_inserter(out), "{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, bound, sum);
  }
  fmt::format_to(std::back_inserter(out), "{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", name, labels,
                 static_cast<double>(d.microseconds.load(std::memory_order_relaxed)) / 1e6, name, labels, sum);
}

}  // namespace

void FlowControl::write_metrics(std::string& out) const {
  std::shared_ptr<const Config> config;
  struct Seats {
    std::string name;
    unsigned nominal, kept, most, in_use, running, waiting;
    bool exempt;
  };
  std::vector<Seats> seats;
  {
    std::scoped_lock lock(mutex_);
    config = config_;
    for (const auto& l : config->levels) {
      unsigned exempt = l->exempt_running.load(std::memory_order_relaxed);
      // One that was replaced under its name is told with its successor.
      if (auto known = std::find_if(seats.begin(), seats.end(), [&](const Seats& s) { return s.name == l->name; }); known != seats.end()) {
        known->in_use += l->in_use + exempt;
        known->running += l->running + exempt;
        known->waiting += l->waiting;
        continue;
      }
      seats.push_back({l->name, l->nominal, l->kept, l->most, l->in_use + exempt, l->running + exempt, l->waiting, l->exempt});
    }
  }
  auto gauge = [&](std::string_view name, std::string_view help, unsigned Seats::* what, bool limited = false) {
    head(out, name, "gauge", help);
    for (const Seats& s : seats)
      if (!limited || !s.exempt) fmt::format_to(std::back_inserter(out), "{}{{priority_level=\"{}\"}} {}\n", name, s.name, s.*what);
  };
  gauge("apiserver_flowcontrol_nominal_limit_seats", "Seats a level has by its shares.", &Seats::nominal, true);
  gauge("apiserver_flowcontrol_lower_limit_seats", "Seats a level keeps when others borrow.", &Seats::kept, true);
  gauge("apiserver_flowcontrol_upper_limit_seats", "Seats a level can have with borrowing.", &Seats::most, true);
  gauge("apiserver_flowcontrol_current_limit_seats", "Seats a level has now.", &Seats::nominal, true);
  gauge("apiserver_flowcontrol_current_executing_seats", "Seats taken.", &Seats::in_use);
  gauge("apiserver_flowcontrol_current_executing_requests", "Requests that run.", &Seats::running);
  gauge("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait.", &Seats::waiting, true);
  head(out, "apiserver_flowcontrol_dispatched_requests_total", "counter", "Requests that were let run.");
  for (const Schema& s : config->schemas)
    fmt::format_to(std::back_inserter(out), "apiserver_flowcontrol_dispatched_requests_total{{{}}} {}\n", labels_of(s),
                   s.counters->dispatched.load(std::memory_order_relaxed));
  head(out, "apiserver_flowcontrol_rejected_requests_total", "counter", "Requests that were refused.");
  for (const Schema& s : config->schemas)
    for (size_t i = 0; i < refusals; ++i)
      if (uint64_t n = s.counters->refused[i].load(std::memory_order_relaxed))
        fmt::format_to(std::back_inserter(out), "apiserver_flowcontrol_rejected_requests_total{{{},reason=\"{}\"}} {}\n", labels_of(s),
                       kRefusals[i], n);
  head(out, "apiserver_flowcontrol_request_wait_duration_seconds", "histogram", "Time requests waited for a seat.");
  for (const Schema& s : config->schemas)
    if (s.counters->dispatched.load(std::memory_order_relaxed))
      histogram(out, "apiserver_flowcontrol_request_wait_duration_seconds", labels_of(s) + ",execute=\"true\"", s.counters->waited);
  head(out, "apiserver_flowcontrol_request_execution_seconds", "histogram", "Time requests held their seats.");
  for (const Schema& s : config->schemas)
    if (s.counters->dispatched.load(std::memory_order_relaxed))
      histogram(out, "apiserver_flowcontrol_request_execution_seconds", labels_of(s), s.counters->executed);
}

}  // namespace server::flow
