// Seccomp profiles of users.
#include "fuzz.h"
#include "runtime/container/seccomp.h"

const std::vector<std::string_view> fuzz::seeds = {
    R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[{"names":["read","openat"],"action":"SCMP_ACT_ALLOW"},{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}],"includes":{"caps":["CAP_SYS_ADMIN"]}}]})",
    R"({"defaultAction":"SCMP_ACT_LOG","architectures":["SCMP_ARCH_X86_64"],"syscalls":[{"name":"clone","action":"SCMP_ACT_ERRNO","errnoRet":38,"args":[{"index":1,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}]}]})"};

void fuzz::one(std::string_view input) {
  auto program = runtime::compile_seccomp(input, 1u << 21);
  if (program) require(!program->empty() && program->size() % 8 == 0);
}
