#include "server/apiserver/http/metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/files.h"

namespace server {
namespace {

constexpr double bounds[] = {0.005, 0.025, 0.1, 0.5, 1, 5, 30, 60};

uint64_t resident_bytes() {
  auto statm = base::read_file("/proc/self/statm", 4096);
  if (!statm) return 0;
  size_t space = statm->find(' ');
  return space == std::string::npos ? 0 : std::strtoull(statm->c_str() + space, nullptr, 10) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

void Metrics::count(const std::string& verb, const std::string& group, const std::string& version, const std::string& resource, const std::string& subresource, int code,
                    base::Duration took) {
  // Names of unknown resources are the client's: they get no series of their own.
  std::string labels = fmt::format("verb=\"{}\",group=\"{}\",version=\"{}\",resource=\"{}\",subresource=\"{}\"", verb, group, version, resource, subresource);
  double seconds = std::chrono::duration<double>(took).count();
  std::scoped_lock lock(mutex_);
  constexpr size_t most = 4096;
  if (series_.size() >= most && !series_.contains(labels)) return;
  Series& s = series_[labels];
  ++s.by_code[code];
  ++s.count;
  s.seconds += seconds;
  for (size_t i = 0; i < std::size(bounds); ++i)
    if (seconds <= bounds[i]) {
      ++s.buckets[i];
      break;
    }
}

std::string Metrics::text(const datastore::Store& store, const Resources& resources) const {
  std::string out;
  auto head = [&](std::string_view name, std::string_view type, std::string_view help) { out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type); };
  {
    std::scoped_lock lock(mutex_);
    head("apiserver_request_total", "counter", "Requests by verb, resource and response code.");
    for (const auto& [labels, s] : series_)
      for (const auto& [code, n] : s.by_code) out += fmt::format("apiserver_request_total{{{},code=\"{}\"}} {}\n", labels, code, n);
    head("apiserver_request_duration_seconds", "histogram", "Time from a request's header to the end of its answer.");
    for (const auto& [labels, s] : series_) {
      uint64_t sum = 0;
      for (size_t i = 0; i < std::size(bounds); ++i) {
        sum += s.buckets[i];
        out += fmt::format("apiserver_request_duration_seconds_bucket{{{},le=\"{}\"}} {}\n", labels, bounds[i], sum);
      }
      out += fmt::format("apiserver_request_duration_seconds_bucket{{{},le=\"+Inf\"}} {}\n", labels, s.count);
      out += fmt::format("apiserver_request_duration_seconds_sum{{{}}} {}\napiserver_request_duration_seconds_count{{{}}} {}\n", labels, s.seconds, labels, s.count);
    }
  }
  head("apiserver_current_inflight_requests", "gauge", "Requests being served.");
  out += fmt::format("apiserver_current_inflight_requests{{request_kind=\"readOnly\"}} {}\n", reads.load());
  out += fmt::format("apiserver_current_inflight_requests{{request_kind=\"mutating\"}} {}\n", writes.load());
  head("apiserver_longrunning_requests", "gauge", "Watches, logs, streams and proxied requests being served.");
  out += fmt::format("apiserver_longrunning_requests {}\n", long_running.load());
  head("apiserver_storage_objects", "gauge", "Objects stored, by resource.");
  for (const ResourceInfo& r : resources.all())
    if (!r.is_virtual && r.stored == &r) out += fmt::format("apiserver_storage_objects{{resource=\"{}\"}} {}\n", r.qualified, store.count(r.prefix));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  double cpu = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  head("process_cpu_seconds_total", "counter", "User and system CPU time spent.");
  out += fmt::format("process_cpu_seconds_total {}\n", cpu);
  head("process_resident_memory_bytes", "gauge", "Resident memory.");
  out += fmt::format("process_resident_memory_bytes {}\n", resident_bytes());
  return out;
}

}  // namespace server
