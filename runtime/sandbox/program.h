// The supervisor's executable and its first process, as the agent starts it.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace runtime {

// A sealed memory file with the embedded executable: nobody can write to it, whatever handle they get.
base::Result<base::Fd> supervisor_program();

struct FirstProcess {
  pid_t pid = 0;
  base::Fd socket;
};
// Starts the process that forks supervisors and waits until it is ready. Blocking.
base::Result<FirstProcess> start_first_process(const std::string& cgroup_root);

}  // namespace runtime
