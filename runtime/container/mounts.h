// Mounts as descriptors: made detached, given their attributes, attached last (Linux 5.2 and later; mount_setattr 5.12 with a fallback).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "runtime/container/spec.h"

namespace runtime {

struct MountFlags {
  bool read_only = false, no_suid = false, no_dev = false, no_exec = false;
  bool recursive = false;  // also for what is mounted below
};

// A new instance of a file system type, e.g. {"tmpfs", {{"mode", "755"}}}.
base::Result<base::Fd> new_mount(const char* type, const std::vector<std::pair<std::string, std::string>>& options, MountFlags flags);
// A private copy of the mount of what `fd` (or path) names.
base::Result<base::Fd> clone_mount(int fd, bool recursive);
// Attaches it on `target` and gives it the flags; in one step where the kernel can.
base::Result<> attach(const base::Fd& mount, int target, MountFlags flags, Propagation propagation, const std::string& what);
// An overlay of directories (topmost first) with its writable layer; attached on the directory `where` (an absolute path).
base::Result<> mount_overlay(const std::vector<std::string>& layers, const std::string& upper, const std::string& work,
                             const std::string& where);

}  // namespace runtime
