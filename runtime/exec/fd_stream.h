// FdStream over a descriptor.
#pragma once

#include "base/fd.h"
#include "runtime/exec/exec.h"

namespace runtime {

FdStreamPtr make_fd_stream(base::Runtime& runtime, base::Fd fd);

}  // namespace runtime
