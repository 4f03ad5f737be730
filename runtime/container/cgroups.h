// Control groups, v2, v1 and the hybrid of both, detected per controller. A group is named by one path below the configured root and
// exists in each hierarchy that is used. With v1, a unified hierarchy without controllers is used as well, to kill a group at once.
//
// Not thread-safe in create(); the rest only reads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "runtime/container/spec.h"

namespace runtime {

struct CgroupUsage {
  uint64_t cpu_ns = 0, memory = 0, working_set = 0, rss = 0, memory_limit = 0, page_faults = 0, major_faults = 0, pids = 0;
  uint64_t periods = 0, throttled_periods = 0, throttled_ns = 0;
};

class Cgroups {
 public:
  struct Hierarchy {
    std::string mount;                     // /sys/fs/cgroup/memory
    std::string root;                      // of the mount, "/" but inside containers
    std::vector<std::string> controllers;  // of v1; of v2 what cgroup.controllers lists
    bool v2 = false;
  };

  Cgroups() = default;
  // Reads /proc/self/mountinfo. An error when neither version is mounted.
  static base::Result<Cgroups> detect(std::string root);

  const std::string& root() const { return root_; }
  const std::vector<Hierarchy>& hierarchies() const { return hierarchies_; }
  std::string mode() const;
  bool pure_v2() const { return hierarchies_.size() == 1 && hierarchies_[0].v2; }
  // The hierarchy that has a controller; null when none has.
  const Hierarchy* with(std::string_view controller) const;

  // Makes the group with its parents (controllers enabled down the tree on v2) and applies limits. Present is success.
  base::Result<> create(std::string_view path, const Resources& limits);
  base::Result<> apply(std::string_view path, const Resources& limits) const;

  // What a process needs to enter: on v1 descriptors of `tasks` (a single-threaded process writes "0" itself, which spares the
  // kernel's global lock), on v2 the directory for clone3 (-1 when v2 is not mounted).
  struct Entry {
    std::vector<base::Fd> tasks;
    base::Fd v2;
  };
  base::Result<Entry> open(std::string_view path) const;
  // Moves the calling single-threaded process there.
  base::Result<> enter(std::string_view path) const;

  CgroupUsage usage(std::string_view path) const;  // zeros where the group is not
  uint64_t oom_kills(std::string_view path) const;
  bool exists(std::string_view path) const;
  // SIGKILL to all processes of the group and those below.
  void kill(std::string_view path) const;
  std::vector<pid_t> processes(std::string_view path) const;
  // Kills, then removes the group and those below; waits up to a second for the processes to end.
  base::Result<> remove(std::string_view path) const;
  std::string directory(const Hierarchy& h, std::string_view path) const;

 private:
  base::Result<> create_v1(const Hierarchy& h, std::string_view path) const;
  base::Result<> create_v2(const Hierarchy& h, std::string_view path);

  std::string root_;  // "" or "/name"
  std::vector<Hierarchy> hierarchies_;
};

}  // namespace runtime
