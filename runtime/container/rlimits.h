// Resource limits by the names of the shell's ulimit and OCI ("nofile", "RLIMIT_NOFILE").
#pragma once

#include <vector>

#include "runtime/container/spec.h"

namespace runtime {

base::Result<> set_rlimits(const std::vector<Rlimit>& limits);

}  // namespace runtime
