#include "runtime/container/mounts.h"

#include <cstring>

#include "runtime/container/syscalls.h"

namespace runtime {

using base::Fd;
using base::Result;

namespace {

uint64_t attributes(MountFlags f) {
  uint64_t a = 0;
  if (f.read_only) a |= MOUNT_ATTR_RDONLY;
  if (f.no_suid) a |= MOUNT_ATTR_NOSUID;
  if (f.no_dev) a |= MOUNT_ATTR_NODEV;
  if (f.no_exec) a |= MOUNT_ATTR_NOEXEC;
  return a;
}

unsigned long classic_flags(MountFlags f) {
  unsigned long a = 0;
  if (f.read_only) a |= MS_RDONLY;
  if (f.no_suid) a |= MS_NOSUID;
  if (f.no_dev) a |= MS_NODEV;
  if (f.no_exec) a |= MS_NOEXEC;
  return a;
}

unsigned long propagation_flag(Propagation p) {
  switch (p) {
    case Propagation::none: return MS_PRIVATE;
    case Propagation::host_to_container: return MS_SLAVE;
    case Propagation::bidirectional: return MS_SHARED;
  }
  return MS_PRIVATE;
}

// The kernel's own words for a failed configuration, if it left any.
std::string kernel_message(int fs) {
  char text[512];
  ssize_t n = ::read(fs, text, sizeof text - 1);
  if (n <= 2) return {};
  return " (" + std::string(text + 2, static_cast<size_t>(n) - 2) + ")";
}

}  // namespace

Result<Fd> new_mount(const char* type, const std::vector<std::pair<std::string, std::string>>& options, MountFlags flags) {
  std::string what = std::string("mount ") + type;
  Fd fs = sys::fsopen(type);
  if (!fs) return base::errno_error(what);
  // What df and mount show in their first column.
  (void)sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, "source", type);
  for (const auto& [key, value] : options) {
    int r = value.empty() ? sys::fsconfig(fs.get(), FSCONFIG_SET_FLAG, key.c_str(), nullptr)
                          : sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, key.c_str(), value.c_str());
    if (r != 0) {
      int err = errno;
      return base::errno_error(what + " with " + key + "=" + value + kernel_message(fs.get()), err);
    }
  }
  if (sys::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr) != 0) {
    int err = errno;
    return base::errno_error(what + kernel_message(fs.get()), err);
  }
  Fd mount = sys::fsmount(fs.get(), static_cast<unsigned>(attributes(flags)));
  if (!mount) return base::errno_error(what);
  return mount;
}

Result<Fd> clone_mount(int fd, bool recursive) {
  Fd tree = sys::open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0));
  if (!tree) return base::errno_error("clone a mount");
  return tree;
}

Result<> attach(const Fd& mount, int target, MountFlags flags, Propagation propagation, const std::string& what) {
  uint64_t set = attributes(flags);
  bool classic = false;
  // Propagation is for all that came along; the flags only where asked for.
  if (sys::mount_setattr(mount.get(), true, flags.recursive ? set : 0, 0, propagation_flag(propagation)) != 0 ||
      (set != 0 && !flags.recursive && sys::mount_setattr(mount.get(), false, set, 0, 0) != 0)) {
    if (errno != ENOSYS) return base::errno_error("set the attributes of the mount of " + what);
    classic = true;
  }
  if (sys::move_mount(mount.get(), target) != 0) return base::errno_error("mount " + what);
  if (classic) {
    std::string self = "/proc/self/fd/" + std::to_string(mount.get());
    if (flags.recursive && flags.read_only) return base::fail(400, "InvalidContainerSpec", "recursive read-only mounts need Linux 5.12");
    if (::mount(nullptr, self.c_str(), nullptr, propagation_flag(propagation) | MS_REC, nullptr) != 0)
      return base::errno_error("set the propagation of " + what);
    if (set != 0 && ::mount(nullptr, self.c_str(), nullptr, MS_REMOUNT | MS_BIND | classic_flags(flags), nullptr) != 0) {
      return base::errno_error("set the flags of the mount of " + what);
    }
  }
  return {};
}

namespace {

// "lowerdir+" (Linux 6.7) takes layers one by one, so that neither a page nor 256 characters are the limit.
Fd detached_overlay(const std::vector<std::string>& layers, const std::string& upper, const std::string& work) {
  Fd fs = sys::fsopen("overlay");
  bool ok = fs && !layers.empty() && sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, "source", "overlay") == 0;
  for (const std::string& layer : layers) ok = ok && sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, "lowerdir+", layer.c_str()) == 0;
  ok = ok && sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, "upperdir", upper.c_str()) == 0;
  ok = ok && sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, "workdir", work.c_str()) == 0;
  ok = ok && sys::fsconfig(fs.get(), FSCONFIG_SET_FLAG, "volatile", nullptr) == 0;
  ok = ok && sys::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr) == 0;
  return ok ? sys::fsmount(fs.get(), 0) : Fd();
}

}  // namespace

// "volatile": nothing is synced, neither by the container's fsync nor (with all of the disk) when it ends. After a power cut
// no writable layer is used again, so there is nothing to be durable for.
Result<> mount_overlay(const std::vector<std::string>& layers, const std::string& upper, const std::string& work,
                       const std::string& where) {
  if (Fd mount = detached_overlay(layers, upper, work)) {
    Fd target(::open(where.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!target || sys::move_mount(mount.get(), target.get()) != 0) return base::errno_error("mount the root file system");
    return {};
  }
  std::string options;
  for (const std::string& layer : layers) {
    options += options.empty() ? "lowerdir=" : ":";
    for (char c : layer) {
      if (c == ':' || c == '\\' || c == ',') options += '\\';
      options += c;
    }
  }
  options += ",upperdir=" + upper + ",workdir=" + work;
  if (options.size() + 16 >= static_cast<size_t>(::sysconf(_SC_PAGESIZE)))
    return base::internal("mount the root file system: too many layers for this kernel");
  if (::mount("overlay", where.c_str(), "overlay", 0, (options + ",volatile").c_str()) == 0) return {};
  if (::mount("overlay", where.c_str(), "overlay", 0, options.c_str()) != 0) {
    return base::errno_error("mount the root file system (overlayfs of " + std::to_string(layers.size()) + " layers)");
  }
  return {};
}

}  // namespace runtime
