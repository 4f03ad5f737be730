#include "runtime/images/confine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/files.h"

namespace runtime {

using base::Result;

namespace {

// The directory bound onto itself becomes the root of a mount namespace in which nothing else is left.
Result<> change_root(int directory) {
  if (::fchdir(directory) != 0) return base::errno_error("enter the directory to unpack into");
  if (::unshare(CLONE_NEWNS) != 0) return base::errno_error("unshare");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return base::errno_error("make mounts private");
  char path[4096];
  if (!::getcwd(path, sizeof path)) return base::errno_error("getcwd");
  if (::mount(path, path, nullptr, MS_BIND, nullptr) != 0) return base::errno_error("bind the directory");
  if (::chdir(path) != 0) return base::errno_error("enter the directory to unpack into");
  if (::mount(nullptr, ".", nullptr, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    return base::errno_error("remount");
  if (::syscall(SYS_pivot_root, ".", ".") != 0) {
    // On an initramfs the root cannot be pivoted; then the directory is moved over it.
    if (errno != EINVAL) return base::errno_error("pivot_root");
    if (::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0) return base::errno_error("change the root");
  } else if (::umount2(".", MNT_DETACH) != 0) {
    return base::errno_error("leave the old root");
  }
  if (::chdir("/") != 0) return base::errno_error("chdir");
  return {};
}

Result<> keep_capabilities() {
  uint64_t keep = 0;
  for (int c : {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP}) keep |= uint64_t{1} << c;
  for (int c = 0; c <= 63; ++c) {
    if (!(keep >> c & 1) && ::prctl(PR_CAPBSET_DROP, c, 0, 0, 0) != 0 && errno != EINVAL) return base::errno_error("drop a capability");
  }
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  data[0].effective = data[0].permitted = static_cast<uint32_t>(keep);
  data[1].effective = data[1].permitted = static_cast<uint32_t>(keep >> 32);
  if (::syscall(SYS_capset, &header, data) != 0) return base::errno_error("capset");
  return {};
}

Result<> filter_system_calls() {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  if (!filter) return base::internal("seccomp");
  for (int call : {SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(socket),
                   SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kill),
                   SCMP_SYS(tkill), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(pidfd_send_signal), SCMP_SYS(mount), SCMP_SYS(umount2),
                   SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(open_tree), SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(fsmount),
                   SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(bpf), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
                   SCMP_SYS(io_uring_setup), SCMP_SYS(userfaultfd), SCMP_SYS(perf_event_open), SCMP_SYS(init_module), SCMP_SYS(finit_module),
                   SCMP_SYS(kexec_load), SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(open_by_handle_at), SCMP_SYS(name_to_handle_at)}) {
    seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0);
  }
  int rc = seccomp_load(filter);
  seccomp_release(filter);
  if (rc != 0) return base::errno_error("load the seccomp filter", -rc);
  return {};
}

}  // namespace

Result<> confine_to(int directory) {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  CHECK_OK(change_root(directory));
  rlimit none{0, 0}, files{64, 64};
  ::setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
  rlimit memory{1u << 30, 1u << 30};  // sanitizers reserve more than that
  ::setrlimit(RLIMIT_AS, &memory);
#endif
  ::setrlimit(RLIMIT_NOFILE, &files);
  CHECK_OK(keep_capabilities());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return base::errno_error("no_new_privs");
  return filter_system_calls();
}

}  // namespace runtime
