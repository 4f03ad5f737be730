#include "runtime/container/cgroups.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "runtime/container/kernel_file.h"

namespace runtime {

using base::Fd;
using base::Result;

namespace {

// The v1 controllers that carry limits, numbers or device rules. Others (freezer, net_cls, name=systemd) are left alone.
constexpr std::string_view kUsedV1[] = {"cpu", "cpuacct", "memory", "pids", "devices", "cpuset", "hugetlb"};
constexpr std::string_view kUsedV2[] = {"cpu", "memory", "pids", "cpuset", "hugetlb", "io"};

std::vector<std::string> words(std::string_view text, std::string_view separators) {
  std::vector<std::string> out;
  while (!text.empty()) {
    size_t at = text.find_first_of(separators);
    if (at != 0) out.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) break;
    text.remove_prefix(at + 1);
  }
  return out;
}

uint64_t read_number(const std::string& path, uint64_t otherwise = 0) {
  auto text = read_kernel(path);
  if (!text || text->empty() || !std::isdigit(static_cast<unsigned char>((*text)[0]))) return otherwise;
  return std::strtoull(text->c_str(), nullptr, 10);
}

// The names of the directories in dir.
std::vector<std::string> subdirectories(const std::string& dir) {
  std::vector<std::string> names;
  DIR* d = ::opendir(dir.c_str());
  if (d == nullptr) return names;
  while (dirent* e = ::readdir(d)) {
    if (e->d_type == DT_DIR && std::strcmp(e->d_name, ".") != 0 && std::strcmp(e->d_name, "..") != 0) names.emplace_back(e->d_name);
  }
  ::closedir(d);
  return names;
}

template <class F>
void each_group(const std::string& dir, F f, int depth = 0) {
  if (depth < 64) {
    for (const std::string& name : subdirectories(dir)) each_group(dir + "/" + name, f, depth + 1);
  }
  f(dir);
}

bool has(const std::vector<std::string>& list, std::string_view what) { return std::ranges::find(list, what) != list.end(); }

Result<> make_group(const std::string& dir) {
  if (::mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) return base::errno_error("make the cgroup " + dir);
  return {};
}

// A new cpuset is empty and takes no process until both are set.
Result<> fill_cpuset(const Cgroups::Hierarchy& h, const std::string& dir) {
  if (!has(h.controllers, "cpuset")) return {};
  std::string parent = dir.substr(0, dir.rfind('/'));
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    if (auto text = read_kernel(parent + file)) (void)try_write_kernel(dir + file, *text);
  }
  return {};
}

Result<> make_v1(const Cgroups::Hierarchy& h, const std::string& dir) {
  if (::mkdir(dir.c_str(), 0755) == 0) return fill_cpuset(h, dir);
  if (errno != EEXIST) return base::errno_error("make the cgroup " + dir);
  return {};
}

// "/a/b/c" -> "/a", "/a/b", "/a/b/c".
std::vector<std::string> prefixes(std::string_view path) {
  std::vector<std::string> out;
  for (const std::string& part : words(path, "/")) out.push_back((out.empty() ? "" : out.back()) + "/" + part);
  return out;
}

// Docker's formula: [2, 262144] onto [1, 10000].
uint64_t weight_of(uint64_t shares) { return 1 + ((std::clamp<uint64_t>(shares, 2, 262144) - 2) * 9999) / 262142; }

base::Failure missing(std::string_view controller) {
  return base::internal("the kernel has no cgroup controller \"" + std::string(controller) +
                        "\" (is it off on the kernel's command line?)");
}

}  // namespace

Result<Cgroups> Cgroups::detect(std::string root) {
  Cgroups out;
  while (root.ends_with('/')) root.pop_back();
  if (!root.empty() && !root.starts_with('/')) root = "/" + root;
  if (root.find("/..") != std::string::npos) return base::bad_request("the cgroup root \"" + root + "\" must not contain \"..\"");
  out.root_ = root;
  TRY(std::string mounts, read_kernel("/proc/self/mountinfo"));
  Hierarchy unified;
  for (const std::string& line : words(mounts, "\n")) {
    size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    auto left = words(std::string_view(line).substr(0, dash), " ");
    auto right = words(std::string_view(line).substr(dash + 3), " ");
    if (left.size() < 5 || right.size() < 3) continue;
    const std::string& where = left[4];
    if (right[0] == "cgroup2" && unified.mount.empty()) {
      unified.mount = where;
      unified.root = left[3];
      unified.v2 = true;
      if (auto text = read_kernel(where + "/cgroup.controllers")) unified.controllers = words(*text, " \n");
    } else if (right[0] == "cgroup") {
      Hierarchy h{where, left[3], {}, false};
      for (const std::string& option : words(right[2], ",")) {
        if (std::ranges::find(kUsedV1, option) != std::end(kUsedV1) && out.with(option) == nullptr) h.controllers.push_back(option);
      }
      if (!h.controllers.empty()) out.hierarchies_.push_back(std::move(h));
    }
  }
  if (!unified.mount.empty()) out.hierarchies_.push_back(std::move(unified));
  if (out.hierarchies_.empty()) return base::internal("no cgroup hierarchy is mounted (expected /sys/fs/cgroup)");
  return out;
}

std::string Cgroups::mode() const {
  bool v1 = false, v2 = false;
  for (const auto& h : hierarchies_) (h.v2 ? v2 : v1) = true;
  if (v1 && v2) return "cgroup v1+v2 (hybrid)";
  return v2 ? "cgroup v2" : "cgroup v1";
}

const Cgroups::Hierarchy* Cgroups::with(std::string_view controller) const {
  for (const auto& h : hierarchies_) {
    if (has(h.controllers, controller)) return &h;
  }
  return nullptr;
}

std::string Cgroups::directory(const Hierarchy& h, std::string_view path) const {
  std::string dir = h.mount + root_ + std::string(path);
  while (dir.size() > 1 && dir.ends_with('/')) dir.pop_back();
  return dir;
}

Result<> Cgroups::create_v1(const Hierarchy& h, std::string_view path) const {
  std::string whole = root_ + std::string(path), dir = h.mount + whole;
  if (::mkdir(dir.c_str(), 0755) != 0) {
    if (errno == EEXIST) return {};
    if (errno != ENOENT) return base::errno_error("make the cgroup " + dir);
    // Parents first, then once more.
    for (const std::string& part : prefixes(whole)) CHECK_OK(make_v1(h, h.mount + part));
    return {};
  }
  return fill_cpuset(h, dir);
}

Result<> Cgroups::create_v2(const Hierarchy& h, std::string_view path) {
  std::string wanted;
  for (std::string_view c : kUsedV2) {
    if (has(h.controllers, c)) wanted += (wanted.empty() ? "+" : " +") + std::string(c);
  }
  std::string parent = h.mount;
  for (const std::string& part : prefixes(root_ + std::string(path))) {
    std::string dir = h.mount + part;
    if (::access(dir.c_str(), F_OK) != 0) {
      if (!wanted.empty()) {
        int err = try_write_kernel(parent + "/cgroup.subtree_control", wanted);
        if (err == EBUSY) {
          // A group with processes cannot have controllers for its children. When they are ours (a delegated group, or a
          // container we run in), they move into a leaf.
          std::string leaf = parent + "/appliance-node";
          CHECK_OK(make_group(leaf));
          if (auto procs = read_kernel(parent + "/cgroup.procs")) {
            for (const std::string& pid : words(*procs, "\n")) (void)try_write_kernel(leaf + "/cgroup.procs", pid);
          }
          err = try_write_kernel(parent + "/cgroup.subtree_control", wanted);
        }
        if (err != 0) {
          // One that is not delegated refuses the whole line: take what there is.
          for (const std::string& one : words(wanted, " ")) (void)try_write_kernel(parent + "/cgroup.subtree_control", one);
        }
      }
      CHECK_OK(make_group(dir));
    }
    parent = dir;
  }
  return {};
}

Result<> Cgroups::create(std::string_view path, const Resources& limits) {
  for (const auto& h : hierarchies_) CHECK_OK(h.v2 ? create_v2(h, path) : create_v1(h, path));
  return apply(path, limits);
}

Result<> Cgroups::apply(std::string_view path, const Resources& l) const {
  auto write = [&](const Hierarchy* h, std::string_view controller, const char* file, const std::string& value) -> Result<> {
    if (h == nullptr) return missing(controller);
    return write_kernel(directory(*h, path) + "/" + file, value);
  };
  if (l.memory_bytes && *l.memory_bytes < 0) {
    const Hierarchy* h = with("memory");
    if (h == nullptr) return {};
    std::string dir = directory(*h, path);
    // memsw first: it may not be below the other.
    (void)try_write_kernel(dir + (h->v2 ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes"), h->v2 ? "max" : "-1");
    CHECK_OK(write_kernel(dir + (h->v2 ? "/memory.max" : "/memory.limit_in_bytes"), h->v2 ? "max" : "-1"));
  }
  if (l.memory_bytes && *l.memory_bytes > 0) {
    const Hierarchy* h = with("memory");
    std::string limit = std::to_string(*l.memory_bytes);
    int64_t with_swap = l.memory_swap_bytes.value_or(*l.memory_bytes);
    if (h == nullptr) return missing("memory");
    std::string dir = directory(*h, path);
    if (h->v2) {
      CHECK_OK(write_kernel(dir + "/memory.max", limit));
      (void)try_write_kernel(dir + "/memory.swap.max", std::to_string(std::max<int64_t>(0, with_swap - *l.memory_bytes)));
    } else {
      // memsw may not be below limit at any moment: whichever order the kernel takes.
      std::string memsw = dir + "/memory.memsw.limit_in_bytes";
      int first = try_write_kernel(dir + "/memory.limit_in_bytes", limit);
      (void)try_write_kernel(memsw, std::to_string(with_swap));
      if (first != 0) CHECK_OK(write_kernel(dir + "/memory.limit_in_bytes", limit));
    }
  }
  if (l.cpu_shares && *l.cpu_shares > 0) {
    const Hierarchy* h = with("cpu");
    if (h != nullptr && h->v2) CHECK_OK(write(h, "cpu", "cpu.weight", std::to_string(weight_of(*l.cpu_shares))));
    else CHECK_OK(write(h, "cpu", "cpu.shares", std::to_string(std::max<uint64_t>(2, *l.cpu_shares))));
  }
  if (l.cpu_quota_us && *l.cpu_quota_us != 0) {
    const Hierarchy* h = with("cpu");
    std::string period = std::to_string(l.cpu_period_us.value_or(100000));
    if (h != nullptr && h->v2) {
      CHECK_OK(write(h, "cpu", "cpu.max", (*l.cpu_quota_us < 0 ? "max" : std::to_string(*l.cpu_quota_us)) + " " + period));
    } else {
      CHECK_OK(write(h, "cpu", "cpu.cfs_period_us", period));
      CHECK_OK(write(h, "cpu", "cpu.cfs_quota_us", std::to_string(std::max<int64_t>(-1, *l.cpu_quota_us))));
    }
  }
  if (l.pids && *l.pids != 0) CHECK_OK(write(with("pids"), "pids", "pids.max", *l.pids < 0 ? "max" : std::to_string(*l.pids)));
  if (!l.cpuset_cpus.empty()) CHECK_OK(write(with("cpuset"), "cpuset", "cpuset.cpus", l.cpuset_cpus));
  if (!l.cpuset_mems.empty()) CHECK_OK(write(with("cpuset"), "cpuset", "cpuset.mems", l.cpuset_mems));
  for (const auto& [size, bytes] : l.hugepage_bytes) {
    const Hierarchy* h = with("hugetlb");
    std::string file = "hugetlb." + size + (h != nullptr && h->v2 ? ".max" : ".limit_in_bytes");
    CHECK_OK(write(h, "hugetlb", file.c_str(), std::to_string(bytes)));
  }
  return {};
}

Result<Cgroups::Entry> Cgroups::open(std::string_view path) const {
  Entry entry;
  for (const auto& h : hierarchies_) {
    std::string dir = directory(h, path);
    if (h.v2) {
      entry.v2 = Fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!entry.v2) return base::errno_error("open the cgroup " + dir);
    } else {
      Fd fd(::open((dir + "/tasks").c_str(), O_WRONLY | O_CLOEXEC));
      if (!fd) return base::errno_error("open the cgroup " + dir);
      entry.tasks.push_back(std::move(fd));
    }
  }
  return entry;
}

Result<> Cgroups::enter(std::string_view path) const {
  for (const auto& h : hierarchies_) CHECK_OK(write_kernel(directory(h, path) + (h.v2 ? "/cgroup.procs" : "/tasks"), "0"));
  return {};
}

CgroupUsage Cgroups::usage(std::string_view path) const {
  CgroupUsage u;
  if (const Hierarchy* h = with("cpuacct"); h != nullptr) {
    u.cpu_ns = read_number(directory(*h, path) + "/cpuacct.usage");
  }
  if (const Hierarchy* h = with("cpu"); h != nullptr) {
    if (auto text = read_kernel(directory(*h, path) + "/cpu.stat")) {
      if (h->v2) u.cpu_ns = keyed_number(*text, "usage_usec") * 1000;
      u.periods = keyed_number(*text, "nr_periods");
      u.throttled_periods = keyed_number(*text, "nr_throttled");
      u.throttled_ns = h->v2 ? keyed_number(*text, "throttled_usec") * 1000 : keyed_number(*text, "throttled_time");
    }
  }
  if (const Hierarchy* h = with("memory"); h != nullptr) {
    std::string dir = directory(*h, path);
    auto text = read_kernel(dir + "/memory.stat");
    std::string stat = text ? *text : std::string();
    uint64_t limit, inactive;
    if (h->v2) {
      u.memory = read_number(dir + "/memory.current");
      limit = read_number(dir + "/memory.max", UINT64_MAX);
      inactive = keyed_number(stat, "inactive_file");
      u.rss = keyed_number(stat, "anon");
      u.page_faults = keyed_number(stat, "pgfault");
      u.major_faults = keyed_number(stat, "pgmajfault");
    } else {
      u.memory = read_number(dir + "/memory.usage_in_bytes");
      limit = read_number(dir + "/memory.limit_in_bytes", UINT64_MAX);
      inactive = keyed_number(stat, "total_inactive_file");
      u.rss = keyed_number(stat, "total_rss");
      u.page_faults = keyed_number(stat, "total_pgfault");
      u.major_faults = keyed_number(stat, "total_pgmajfault");
    }
    u.working_set = u.memory > inactive ? u.memory - inactive : 0;
    if (limit < (uint64_t{1} << 62)) u.memory_limit = limit;
  }
  if (const Hierarchy* h = with("pids"); h != nullptr) u.pids = read_number(directory(*h, path) + "/pids.current");
  return u;
}

uint64_t Cgroups::oom_kills(std::string_view path) const {
  const Hierarchy* h = with("memory");
  if (h == nullptr) return 0;
  auto text = read_kernel(directory(*h, path) + (h->v2 ? "/memory.events" : "/memory.oom_control"));
  return text ? keyed_number(*text, "oom_kill") : 0;
}

bool Cgroups::exists(std::string_view path) const {
  return std::ranges::any_of(hierarchies_, [&](const auto& h) { return ::access(directory(h, path).c_str(), F_OK) == 0; });
}

std::vector<pid_t> Cgroups::processes(std::string_view path) const {
  std::vector<pid_t> pids;
  for (const auto& h : hierarchies_) {
    each_group(directory(h, path), [&](const std::string& dir) {
      auto text = read_kernel(dir + "/cgroup.procs");
      if (!text) return;
      for (const std::string& line : words(*text, "\n")) {
        pid_t pid = std::atoi(line.c_str());
        if (pid > 0) pids.push_back(pid);
      }
    });
  }
  std::ranges::sort(pids);
  auto rest = std::ranges::unique(pids);
  pids.erase(rest.begin(), rest.end());
  return pids;
}

void Cgroups::kill(std::string_view path) const {
  if (path.empty() || path == "/") return;
  for (const auto& h : hierarchies_) {
    if (h.v2 && try_write_kernel(directory(h, path) + "/cgroup.kill", "1") == 0) break;
  }
  // Kernels before 5.14, and v1: until nobody is left who could fork.
  for (int round = 0; round < 8; ++round) {
    auto pids = processes(path);
    if (pids.empty()) return;
    for (pid_t pid : pids) {
      if (pid != ::getpid()) ::kill(pid, SIGKILL);
    }
  }
}

Result<> Cgroups::remove(std::string_view path) const {
  if (path.empty() || path == "/") return {};
  if (!exists(path)) return {};
  for (int attempt = 0;; ++attempt) {
    int failure = 0;
    for (const auto& h : hierarchies_) {
      each_group(directory(h, path), [&](const std::string& dir) {
        if (::rmdir(dir.c_str()) != 0 && errno != ENOENT) failure = errno;
      });
    }
    if (failure == 0) return {};
    if (attempt == 100) return base::errno_error("remove the cgroup " + root_ + std::string(path), failure);
    kill(path);
    ::usleep(attempt < 10 ? 1000 : 10000);
  }
}

}  // namespace runtime
