#include "server/apiserver/http/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

#include <fmt/format.h>

#include "base/files.h"

namespace server {
namespace {

// Pages: all, and resident.
std::pair<uint64_t, uint64_t> memory_pages() {
  auto statm = base::read_file("/proc/self/statm", 4096);
  if (!statm) return {};
  char* end = nullptr;
  uint64_t all = std::strtoull(statm->c_str(), &end, 10);
  return {all, std::strtoull(end, nullptr, 10)};
}

// Field 22 of /proc/self/stat, in clock ticks since the boot; fields are counted behind the name, which may hold anything.
double start_time() {
  auto stat = base::read_file("/proc/self/stat", 4096);
  if (!stat) return 0;
  const char* at = stat->c_str() + stat->rfind(')') + 1;
  for (int field = 3; field < 22; ++field) {
    while (*at == ' ') ++at;
    while (*at && *at != ' ') ++at;
  }
  timespec boot{}, now{};
  clock_gettime(CLOCK_BOOTTIME, &boot);
  clock_gettime(CLOCK_REALTIME, &now);
  double since_boot = static_cast<double>(std::strtoull(at, nullptr, 10)) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<double>(now.tv_sec - boot.tv_sec) + static_cast<double>(now.tv_nsec - boot.tv_nsec) / 1e9 + since_boot;
}

uint64_t open_files() {
  DIR* d = ::opendir("/proc/self/fd");
  if (!d) return 0;
  uint64_t n = 0;
  while (const dirent* e = ::readdir(d))
    if (e->d_name[0] != '.') ++n;
  ::closedir(d);
  return n - 1;  // not the one it is counted with
}

}  // namespace

void metric_head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void append_process_metrics(std::string& out, std::string_view version) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  auto [all, resident] = memory_pages();
  auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  auto at = std::back_inserter(out);
  auto add = [&](std::string_view name, std::string_view type, std::string_view help, auto n) {
    metric_head(out, name, type, help);
    fmt::format_to(at, "{} {}\n", name, n);
  };
  double cpu = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  add("process_cpu_seconds_total", "counter", "User and system CPU time spent.", cpu);
  add("process_resident_memory_bytes", "gauge", "Resident memory.", resident * page);
  add("process_virtual_memory_bytes", "gauge", "Virtual memory.", all * page);
  add("process_open_fds", "gauge", "Open file descriptors.", open_files());
  add("process_max_fds", "gauge", "The most file descriptors that may be open.", static_cast<uint64_t>(files.rlim_cur));
  add("process_start_time_seconds", "gauge", "When the process started, in seconds since the epoch.", fmt::format("{:.2f}", start_time()));
  metric_head(out, "kubernetes_build_info", "gauge", "The version that is served.");
  fmt::format_to(at,
                 "kubernetes_build_info{{build_date=\"\",compiler=\"clang\",git_commit=\"\",git_tree_state=\"clean\",git_version=\"{}\",go_"
                 "version=\"none\",major=\"1\",minor=\"36\","
                 "platform=\"linux/amd64\"}} 1\n",
                 version);
}

}  // namespace server
