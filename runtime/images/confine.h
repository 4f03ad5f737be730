// Locks the calling single-threaded process into one directory: own mount namespace, the directory as its root, few capabilities, no new
// privileges, no system call that starts or watches another process, opens a socket or changes mounts.
#pragma once

#include "base/error.h"

namespace runtime {

// The directory is an open descriptor. Afterwards "/" and the working directory are it.
base::Result<> confine_to(int directory);

}  // namespace runtime
