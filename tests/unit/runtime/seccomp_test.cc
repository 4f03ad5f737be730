#include <catch2/catch.hpp>

#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "runtime/container/capabilities.h"
#include "runtime/container/seccomp.h"

using namespace runtime;

namespace {

// The errno of a system call under the filter, in a child; 0 when it worked.
int under(const std::string& program, std::function<long()> call) {
  pid_t pid = ::fork();
  if (pid == 0) {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !install_seccomp(program)) ::_exit(255);
    long r = call();
    ::_exit(r < 0 ? errno : 0);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

std::string default_program(CapabilitySet more = 0) {
  auto set = container_capabilities({}, {}, false);
  REQUIRE(set);
  auto program = default_seccomp(*set | more);
  REQUIRE(program);
  return *program;
}

}  // namespace

TEST_CASE("RuntimeDefault lets programs work and refuses the kernel's back doors") {
  std::string program = default_program();
  CHECK(program.size() < 16384);
  auto raw = [&](long number, long a = 0, long b = 0, long c = 0) {
    return under(program, [=] { return ::syscall(number, a, b, c, 0, 0, 0); });
  };
  for (int family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}) CHECK(under(program, [=] { return ::socket(family, SOCK_DGRAM, 0); }) == 0);
  for (int family : {AF_ALG, AF_VSOCK}) CHECK(under(program, [=] { return ::socket(family, SOCK_STREAM, 0); }) == ENOSYS);
  CHECK(under(program, [] {
          pid_t child = ::fork();
          if (child == 0) ::_exit(0);
          return child < 0 ? -1L : 0L;
        }) == 0);
  for (long flag : {CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP})
    CHECK(raw(SYS_clone, flag | SIGCHLD) == EPERM);
  CHECK(raw(SYS_clone3) == ENOSYS);
  CHECK(raw(9999) == ENOSYS);
  for (long number : {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register}) CHECK(raw(number) == ENOSYS);
  for (long number : {SYS_unshare, SYS_mount, SYS_umount2, SYS_setns, SYS_pivot_root, SYS_bpf, SYS_perf_event_open, SYS_keyctl, SYS_add_key, SYS_request_key,
                      SYS_userfaultfd, SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_reboot, SYS_swapon, SYS_open_by_handle_at,
                      SYS_fsopen, SYS_move_mount, SYS_open_tree, SYS_mount_setattr, SYS_settimeofday, SYS_iopl, SYS_acct, SYS_quotactl}) {
    INFO(number);
    CHECK(raw(number) == EPERM);
  }
  CHECK(raw(SYS_personality, 0xffffffff) == 0);
  CHECK(raw(SYS_personality, 0x40000) == ENOSYS);
  CHECK(raw(SYS_sched_yield) == 0);
  CHECK(raw(SYS_getrandom, 0, 0, 0) == 0);
}

TEST_CASE("capabilities open the calls that belong to them") {
  auto with = [](int capability) { return default_program(CapabilitySet{1} << capability); };
  auto call = [](long number) { return [number] { return ::syscall(number, -1, 0, 0, 0, 0); }; };
  CHECK(under(with(CAP_SYS_ADMIN), call(SYS_umount2)) != EPERM);
  CHECK(under(with(CAP_SYS_ADMIN), call(SYS_keyctl)) == EPERM);
  CHECK(under(with(CAP_SYS_MODULE), call(SYS_finit_module)) != EPERM);
  CHECK(under(with(CAP_SYS_TIME), call(SYS_umount2)) == EPERM);
}

TEST_CASE("profiles in Docker's format") {
  auto compiled = [](const char* text, CapabilitySet capabilities = 0) { return compile_seccomp(text, capabilities); };
  auto deny = compiled(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":71,
      "args":[{"index":0,"value":16,"op":"SCMP_CMP_EQ"}]}]})");
  REQUIRE(deny);
  CHECK(under(*deny, [] { return ::socket(AF_NETLINK, SOCK_RAW, 0); }) == 71);
  CHECK(under(*deny, [] { return ::socket(AF_UNIX, SOCK_STREAM, 0); }) == 0);
  const char* conditional =
      R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["getsid"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_ADMIN"]}}]})";
  CHECK(under(*compiled(conditional), [] { return static_cast<long>(::getsid(0)); }) == EPERM);
  CHECK(under(*compiled(conditional, CapabilitySet{1} << CAP_SYS_ADMIN), [] { return static_cast<long>(::getsid(0)); }) == 0);
  for (
      const char* bad :
      {"", "x", "[]", "{}", R"({"defaultAction":"SCMP_ACT_MAYBE"})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"NO"}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"value":1,"op":"SCMP_CMP_EQ"}]}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"LIKE"}]}]})"}) {
    INFO(bad);
    auto r = compiled(bad);
    REQUIRE_FALSE(r);
    CHECK(r.error().code == 400);
  }
}
