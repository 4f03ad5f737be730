// The RuntimeDefault profile and profiles in Docker's format, compiled with libseccomp.
//
// What is not listed returns ENOSYS, so that programs that probe for new system calls (clone3, io_uring) fall back; what is known and
// refused returns EPERM. On 32-bit x86 socketcall(2) is missing on purpose: its arguments cannot be checked.
#include <linux/capability.h>
#include <seccomp.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>

#include "base/json.h"
#include "runtime/container/seccomp.h"
#include "runtime/container/spec.h"

namespace runtime {

namespace {

using base::Result;
namespace json = boost::json;

// Allowed to everybody, by what they act on.
constexpr std::string_view kAllowed =
    // files and directories
    "access faccessat faccessat2 chdir fchdir chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32 close "
    "close_range "
    "copy_file_range creat dup dup2 dup3 fadvise64 fadvise64_64 fallocate fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr "
    "fsetxattr fstat "
    "fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat lgetxattr "
    "link linkat "
    "listxattr listxattrat llistxattr lremovexattr lseek _llseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat newfstatat _newselect "
    "open openat "
    "openat2 name_to_handle_at pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr "
    "removexattrat rename "
    "renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink symlinkat sync "
    "sync_file_range "
    "syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev statmount "
    "listmount cachestat "
    "file_getattr file_setattr "
    // waiting and notification
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 "
    "inotify_add_watch inotify_init "
    "inotify_init1 inotify_rm_watch fanotify_mark poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4 io_cancel "
    "io_destroy io_getevents "
    "io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set "
    // memory
    "brk madvise memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap msync munlock munlockall munmap "
    "pkey_alloc pkey_free "
    "pkey_mprotect remap_file_pages mseal map_shadow_stack membarrier process_mrelease process_madvise "
    // processes and threads
    "arch_prctl capget capset execve execveat exit exit_group fork futex futex_time64 futex_waitv futex_wake futex_wait futex_requeue "
    "getcpu getegid "
    "getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 "
    "getresuid "
    "getresuid32 getrlimit get_robust_list getrusage getsid get_thread_area gettid getuid getuid32 kill landlock_add_rule "
    "landlock_create_ruleset "
    "landlock_restrict_self modify_ldt pause pidfd_open pidfd_send_signal prctl prlimit64 ptrace process_vm_readv process_vm_writev "
    "restart_syscall rseq "
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 "
    "rt_tgsigqueueinfo "
    "sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval "
    "sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp setfsgid "
    "setfsgid32 setfsuid "
    "setfsuid32 setgid setgid32 setgroups setgroups32 setitimer getitimer setpgid setpriority setregid setregid32 setresgid setresgid32 "
    "setresuid "
    "setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid set_thread_area set_tid_address setuid setuid32 sigaltstack "
    "sigprocmask sigreturn "
    "sigaction sigpending sigsuspend signal tgkill tkill ugetrlimit vfork wait4 waitid waitpid "
    // time
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep "
    "clock_nanosleep_time64 "
    "gettimeofday nanosleep time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 "
    "timerfd_create "
    "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times "
    // sockets and pipes (socket itself has conditions)
    "accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recv recvfrom recvmmsg recvmmsg_time64 recvmsg send "
    "sendmmsg sendmsg "
    "sendto setsockopt shutdown socketpair "
    // System V and POSIX IPC
    "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget "
    "msgrcv msgsnd semctl "
    "semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget "
    // about the system
    "getrandom olduname sysinfo uname lsm_get_self_attr lsm_list_modules lsm_set_self_attr riscv_hwprobe uretprobe uprobe";

struct ByCapability {
  int capability;
  std::string_view calls;
};

constexpr ByCapability kByCapability[] = {
    {CAP_SYS_ADMIN,
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree open_tree_attr "
     "perf_event_open "
     "quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare pivot_root"},
    {CAP_BPF, "bpf"},
    {CAP_PERFMON, "perf_event_open"},
    {CAP_SYSLOG, "syslog"},
    {CAP_SYS_BOOT, "reboot"},
    {CAP_SYS_CHROOT, "chroot"},
    {CAP_SYS_MODULE, "delete_module init_module finit_module"},
    {CAP_SYS_NICE, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node move_pages migrate_pages"},
    {CAP_SYS_PACCT, "acct"},
    {CAP_SYS_PTRACE, "kcmp pidfd_getfd"},
    {CAP_SYS_RAWIO, "iopl ioperm"},
    {CAP_SYS_TIME, "settimeofday stime clock_settime clock_settime64"},
    {CAP_SYS_TTY_CONFIG, "vhangup"},
    {CAP_DAC_READ_SEARCH, "open_by_handle_at"},
};

// Refused with EPERM even with a capability: keyrings are not namespaced, the others hand out the kernel or widen its attack surface.
constexpr std::string_view kRefused =
    "add_key request_key keyctl userfaultfd kexec_load kexec_file_load swapon swapoff nfsservctl get_kernel_syms query_module "
    "create_module "
    "uselib ustat sysfs _sysctl io_uring_setup io_uring_enter io_uring_register";

constexpr uint32_t kNamespaceFlags[] = {0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000};
constexpr uint32_t kAllNamespaceFlags = 0x7e020000;

scmp_arg_cmp if_first(scmp_compare op, uint64_t value, uint64_t second = 0) { return {0, op, value, second}; }

struct Release {
  void operator()(void* c) const { seccomp_release(static_cast<scmp_filter_ctx>(c)); }
};
using Filter = std::unique_ptr<void, Release>;

base::Failure invalid(std::string message) { return base::fail(400, "InvalidContainerSpec", std::move(message)); }

template <class F>
void each_word(std::string_view text, F f) {
  while (!text.empty()) {
    size_t at = text.find(' ');
    if (at != 0) f(std::string(text.substr(0, at)));
    if (at == std::string_view::npos) break;
    text.remove_prefix(at + 1);
  }
}

Result<Filter> new_filter(uint32_t default_action) {
  Filter filter(seccomp_init(default_action));
  if (!filter) return base::internal("libseccomp refused the default action");
#ifdef __x86_64__
  seccomp_arch_add(filter.get(), SCMP_ARCH_X86);
#endif
  seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_NNP, 0);
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a binary search instead of a list
  return filter;
}

// Names this architecture does not have are of no matter: the default action covers them. A rule libseccomp cannot express must not be lost.
Result<> add(const Filter& filter, uint32_t action, const std::string& name, std::vector<scmp_arg_cmp> args = {}) {
  int number = seccomp_syscall_resolve_name(name.c_str());
  if (number == __NR_SCMP_ERROR) return {};
  int err = seccomp_rule_add_array(filter.get(), action, number, static_cast<unsigned>(args.size()), args.data());
  if (err != 0 && err != -EEXIST) return base::errno_error("the seccomp rule for " + name, -err);
  return {};
}

Result<std::string> to_program(const Filter& filter) {
  FILE* file = ::tmpfile();
  if (file == nullptr) return base::errno_error("make a temporary file for the seccomp program");
  std::unique_ptr<FILE, int (*)(FILE*)> owner(file, &std::fclose);
  if (int err = seccomp_export_bpf(filter.get(), ::fileno(file)); err != 0) return base::errno_error("compile the seccomp profile", -err);
  off_t size = ::lseek(::fileno(file), 0, SEEK_END);
  std::string program(static_cast<size_t>(size), '\0');
  if (::pread(::fileno(file), program.data(), program.size(), 0) != size) return base::errno_error("read the seccomp program");
  return program;
}

Result<std::string> compile_default(uint64_t capabilities) {
  TRY(Filter filter, new_filter(SCMP_ACT_ERRNO(ENOSYS)));
  Result<> ok;
  auto rule = [&](uint32_t action, const std::string& name, std::vector<scmp_arg_cmp> args = {}) {
    if (ok) ok = add(filter, action, name, std::move(args));
  };
  each_word(kAllowed, [&](const std::string& name) { rule(SCMP_ACT_ALLOW, name); });
  std::map<std::string, bool> conditional;
  for (const auto& group : kByCapability) {
    each_word(group.calls, [&](const std::string& name) { conditional[name] |= (capabilities >> group.capability & 1) != 0; });
  }
  bool admin = conditional["clone"];
  for (const auto& [name, allowed] : conditional) {
    if (allowed) rule(SCMP_ACT_ALLOW, name);
    else if (name != "clone" && name != "clone3") rule(SCMP_ACT_ERRNO(EPERM), name);
  }
  each_word(kRefused, [&](const std::string& name) {
    // Programs that probe for io_uring take ENOSYS (the default action) for "not there".
    if (!name.starts_with("io_uring")) rule(SCMP_ACT_ERRNO(EPERM), name);
  });
  if (!admin) {
    rule(SCMP_ACT_ALLOW, "clone", {if_first(SCMP_CMP_MASKED_EQ, kAllNamespaceFlags, 0)});
    for (uint32_t flag : kNamespaceFlags) rule(SCMP_ACT_ERRNO(EPERM), "clone", {if_first(SCMP_CMP_MASKED_EQ, flag, flag)});
  }
  // Rules of one call are joined by "or": three ranges leave out the two families. They end in ENOSYS: libseccomp 2.5 loses rules
  // when one argument decides between two actions.
  rule(SCMP_ACT_ALLOW, "socket", {if_first(SCMP_CMP_LT, AF_ALG)});
  rule(SCMP_ACT_ALLOW, "socket", {if_first(SCMP_CMP_EQ, AF_ALG + 1)});
  rule(SCMP_ACT_ALLOW, "socket", {if_first(SCMP_CMP_GT, AF_VSOCK)});
  for (uint64_t value : {0x0ull, 0x8ull, 0x20000ull, 0x20008ull, 0xffffffffull})
    rule(SCMP_ACT_ALLOW, "personality", {if_first(SCMP_CMP_EQ, value)});
  if (!ok) return std::unexpected(ok.error());
  return to_program(filter);
}

// --- profiles

Result<uint32_t> action_of(std::string_view name, int errno_value) {
  if (name == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(static_cast<uint32_t>(errno_value));
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return SCMP_ACT_KILL_THREAD;
  if (name == "SCMP_ACT_KILL_PROCESS") return SCMP_ACT_KILL_PROCESS;
  if (name == "SCMP_ACT_TRAP") return SCMP_ACT_TRAP;
  if (name == "SCMP_ACT_LOG") return SCMP_ACT_LOG;
  if (name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(static_cast<uint32_t>(errno_value));
  return invalid("the seccomp profile names an unknown action \"" + std::string(name) + "\"");
}

Result<scmp_compare> operator_of(std::string_view name) {
  static const std::map<std::string_view, scmp_compare> known = {
      {"SCMP_CMP_NE", SCMP_CMP_NE}, {"SCMP_CMP_LT", SCMP_CMP_LT}, {"SCMP_CMP_LE", SCMP_CMP_LE}, {"SCMP_CMP_EQ", SCMP_CMP_EQ},
      {"SCMP_CMP_GE", SCMP_CMP_GE}, {"SCMP_CMP_GT", SCMP_CMP_GT}, {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
  auto it = known.find(name);
  if (it == known.end()) return invalid("the seccomp profile names an unknown operator \"" + std::string(name) + "\"");
  return it->second;
}

uint64_t number_of(const json::value& v, std::string_view key) {
  const json::value* n = base::find(v, key);
  if (n == nullptr) return 0;
  if (n->is_uint64()) return n->get_uint64();
  if (n->is_int64()) return static_cast<uint64_t>(n->get_int64());
  return 0;
}

// "includes" and "excludes" of a rule.
bool matches(const json::value& rule, std::string_view key, uint64_t capabilities, bool otherwise) {
  const json::object* filter = base::find_object(rule, key);
  if (filter == nullptr || filter->empty()) return otherwise;
  json::value v(*filter);
  if (const json::array* caps = base::find_array(v, "caps")) {
    bool all = true;
    for (const auto& c : *caps) {
      auto n = c.is_string() ? parse_capability(std::string_view(c.get_string())) : std::nullopt;
      all = all && n && (capabilities >> *n & 1);
    }
    if (!all) return false;
  }
  if (const json::array* arches = base::find_array(v, "arches"); arches != nullptr && !arches->empty()) {
    bool any = false;
    for (const auto& a : *arches) any = any || (a.is_string() && (a.get_string() == "amd64" || a.get_string() == "x86"));
    if (!any) return false;
  }
  if (std::string kernel(base::get_string(v, "minKernel")); !kernel.empty()) {
    utsname name{};
    ::uname(&name);
    int major = 0, minor = 0, want_major = 0, want_minor = 0;
    std::sscanf(name.release, "%d.%d", &major, &minor);
    std::sscanf(kernel.c_str(), "%d.%d", &want_major, &want_minor);
    if (std::pair(major, minor) < std::pair(want_major, want_minor)) return false;
  }
  return true;
}

}  // namespace

Result<std::string> default_seccomp(uint64_t capabilities) {
  uint64_t relevant = 0;
  for (const auto& group : kByCapability) relevant |= capabilities & (uint64_t{1} << group.capability);
  static std::mutex mutex;
  static std::map<uint64_t, std::string> cache;
  std::scoped_lock lock(mutex);
  if (auto it = cache.find(relevant); it != cache.end()) return it->second;
  TRY(std::string program, compile_default(relevant));
  return cache.emplace(relevant, std::move(program)).first->second;
}

Result<std::string> compile_seccomp(std::string_view profile_json, uint64_t capabilities) {
  if (profile_json.empty()) return invalid("the seccomp profile is empty");
  auto parsed = base::parse_json(profile_json);
  if (!parsed) return invalid("the seccomp profile is not JSON: " + parsed.error().message);
  if (!parsed->is_object()) return invalid("the seccomp profile is not a JSON object");
  const json::value& profile = *parsed;
  std::string_view default_name = base::get_string(profile, "defaultAction");
  if (default_name.empty()) return invalid("the seccomp profile has no defaultAction");
  TRY(uint32_t default_action, action_of(default_name, static_cast<int>(base::get_int(profile, "defaultErrnoRet", EPERM))));
  TRY(Filter filter, new_filter(default_action));
  const json::array* rules = base::find_array(profile, "syscalls");
  if (rules == nullptr) return to_program(filter);
  for (const json::value& rule : *rules) {
    if (!matches(rule, "includes", capabilities, true) || matches(rule, "excludes", capabilities, false)) continue;
    TRY(uint32_t action, action_of(base::get_string(rule, "action"), static_cast<int>(base::get_int(rule, "errnoRet", EPERM))));
    if (action == default_action) continue;
    std::vector<scmp_arg_cmp> args;
    bool repeated = false;
    if (const json::array* list = base::find_array(rule, "args")) {
      unsigned seen = 0;
      for (const json::value& a : *list) {
        unsigned index = static_cast<unsigned>(number_of(a, "index"));
        if (index > 5) return invalid("the seccomp profile compares an argument beyond the sixth");
        TRY(scmp_compare op, operator_of(base::get_string(a, "op")));
        repeated = repeated || (seen >> index & 1);
        seen |= 1u << index;
        args.push_back({index, op, number_of(a, "value"), number_of(a, "valueTwo")});
      }
    }
    auto add_all = [&](const std::string& name) -> Result<> {
      if (!repeated) return add(filter, action, name, args);
      // Several conditions on one argument mean "any of them".
      for (const auto& one : args) CHECK_OK(add(filter, action, name, {one}));
      return {};
    };
    if (auto name = base::get_string(rule, "name"); !name.empty()) CHECK_OK(add_all(std::string(name)));
    if (const json::array* names = base::find_array(rule, "names")) {
      for (const auto& name : *names) {
        if (name.is_string()) CHECK_OK(add_all(std::string(name.get_string())));
      }
    }
  }
  return to_program(filter);
}

}  // namespace runtime
