// Exec sessions and attached clients of a sandbox.
#pragma once

#include <memory>
#include <vector>

#include "base/fd.h"
#include "runtime/exec/exec.h"

namespace runtime {

class SandboxImpl;

// The descriptors come as the protocol says (sandbox/protocol.h).
std::shared_ptr<ExecSession> make_exec_session(std::shared_ptr<SandboxImpl> sandbox, uint32_t session, pid_t pid, bool tty, bool with_stdin,
                                               std::vector<base::Fd> fds);
std::shared_ptr<AttachSession> make_attach_session(std::shared_ptr<SandboxImpl> sandbox, std::string container, bool with_stdin,
                                                   std::vector<base::Fd> fds);

}  // namespace runtime
