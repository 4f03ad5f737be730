#include "agent/node/machine.h"

#include <sched.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/files.h"

namespace agent {

namespace {

std::string line_of(const std::string& path) {
  auto text = base::read_file(path, 4096);
  if (!text) return {};
  size_t end = text->find_first_of("\n\0");
  std::string out = text->substr(0, end);
  while (!out.empty() && (out.back() == ' ' || out.back() == '\r')) out.pop_back();
  return out;
}

uint64_t number_after(std::string_view text, std::string_view key) {
  size_t at = text.find(key);
  if (at == std::string_view::npos) return 0;
  at = text.find_first_of("0123456789", at + key.size());
  if (at == std::string_view::npos) return 0;
  uint64_t n = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), n);
  return n;
}

}  // namespace

Machine read_machine() {
  Machine m;
  cpu_set_t set;
  CPU_ZERO(&set);
  m.cpus = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  m.memory_bytes = read_memory().total;
  m.machine_id = line_of("/etc/machine-id");
  m.system_uuid = line_of("/sys/class/dmi/id/product_uuid");
  if (m.system_uuid.empty()) m.system_uuid = m.machine_id;
  m.boot_id = line_of("/proc/sys/kernel/random/boot_id");
  struct utsname u{};
  ::uname(&u);
  m.kernel_version = u.release;
  std::string machine = u.machine;
  m.architecture = machine == "x86_64" ? "amd64" : machine == "aarch64" ? "arm64" : machine;
  m.os_image = "Linux";
  if (auto release = base::read_file("/etc/os-release", 64 * 1024)) {
    size_t at = release->find("PRETTY_NAME=");
    if (at != std::string::npos && (at == 0 || (*release)[at - 1] == '\n')) {
      std::string v = release->substr(at + 12, release->find('\n', at) - at - 12);
      std::erase(v, '"');
      if (!v.empty()) m.os_image = v;
    }
  }
  return m;
}

MemoryUse read_memory() {
  auto text = base::read_file("/proc/meminfo", 64 * 1024);
  if (!text) return {};
  return {number_after(*text, "MemTotal:") * 1024, number_after(*text, "MemAvailable:") * 1024};
}

base::Result<DiskUse> read_disk(const std::string& path) {
  struct statvfs s{};
  if (::statvfs(path.c_str(), &s) != 0) return base::errno_error("statvfs " + path);
  return DiskUse{s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize, s.f_files, s.f_favail};
}

PidUse read_pids() {
  PidUse p;
  p.max = number_after(line_of("/proc/sys/kernel/pid_max"), "");
  // "0.10 0.20 0.30 2/345 6789": runnable/all.
  std::string load = line_of("/proc/loadavg");
  size_t slash = load.find('/');
  if (slash != std::string::npos) p.running = number_after(std::string_view(load).substr(slash), "/");
  return p;
}

}  // namespace agent
