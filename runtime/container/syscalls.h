// The system calls this folder is made of, where libc has no wrapper or a changing one. Nothing here allocates.
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

#include "base/fd.h"

#ifndef FSCONFIG_SET_FD
#define FSCONFIG_SET_FD 5
#endif

namespace runtime::sys {

// Resolves path below dir. EAGAIN (the tree changed meanwhile) is retried a bounded number of times.
inline base::Fd openat2(int dir, const char* path, int flags, uint64_t resolve, mode_t mode = 0) {
  ::open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = mode;
  how.resolve = resolve;
  for (int attempt = 0;; ++attempt) {
    long fd = ::syscall(SYS_openat2, dir, path, &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || attempt == 64) return base::Fd(static_cast<int>(fd));
  }
}

// A fork with namespaces; cgroup >= 0: the child begins in that v2 group. 0 in the child.
inline pid_t clone3(uint64_t flags, int cgroup = -1) {
  ::clone_args args{};
  args.flags = flags;
  args.exit_signal = SIGCHLD;
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(cgroup);
  }
  return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
}

inline base::Fd fsopen(const char* type) { return base::Fd(static_cast<int>(::syscall(SYS_fsopen, type, 1u /* FSOPEN_CLOEXEC */))); }
inline int fsconfig(int fs, unsigned command, const char* key, const char* value, int aux = 0) {
  return static_cast<int>(::syscall(SYS_fsconfig, fs, command, key, value, aux));
}
inline base::Fd fsmount(int fs, unsigned attributes) {
  return base::Fd(static_cast<int>(::syscall(SYS_fsmount, fs, 1u /* FSMOUNT_CLOEXEC */, attributes)));
}
inline base::Fd open_tree(int dir, const char* path, unsigned flags) {
  return base::Fd(static_cast<int>(::syscall(SYS_open_tree, dir, path, flags | O_CLOEXEC)));
}
// Attaches the detached mount behind `from` on the object behind `to`.
inline int move_mount(int from, int to) {
  return static_cast<int>(::syscall(SYS_move_mount, from, "", to, "", 0x4u | 0x40u /* F_EMPTY_PATH | T_EMPTY_PATH */));
}
struct MountAttributes {
  uint64_t set, clear, propagation, userns_fd;
};
inline int mount_setattr(int fd, bool recursive, uint64_t set, uint64_t clear, uint64_t propagation) {
  MountAttributes a{set, clear, propagation, 0};
  return static_cast<int>(::syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &a, sizeof a));
}
inline int pivot_root(const char* root, const char* old) { return static_cast<int>(::syscall(SYS_pivot_root, root, old)); }
inline int pidfd_open(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

}  // namespace runtime::sys
