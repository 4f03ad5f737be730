// Seccomp filters as BPF programs. Compiling needs libseccomp and happens in the agent, once per profile; installing is one system call.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace runtime {

// The program as the kernel takes it (an array of sock_filter), for a container with these capabilities: the groups that hang on a capability
// (mount with SYS_ADMIN, clock_settime with SYS_TIME...) are allowed only with it. Cached per set; thread-safe.
base::Result<std::string> default_seccomp(uint64_t capabilities);
// A profile in Docker's JSON format. 400 InvalidContainerSpec when it is empty, malformed or names unknown actions.
base::Result<std::string> compile_seccomp(std::string_view profile_json, uint64_t capabilities);

// Binds the calling process for good. Needs no_new_privs or CAP_SYS_ADMIN.
base::Result<> install_seccomp(std::string_view program);

}  // namespace runtime
