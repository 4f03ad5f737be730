// The pipes between the supervisor and a process on its way into a container.
#pragma once

#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace runtime {

base::Result<> make_pipe(base::Fd& read, base::Fd& write);
base::Result<> make_socket_pair(base::Fd& one, base::Fd& other);
// Appends everything that waits in a non-blocking pipe; true at its end.
bool drain(int fd, std::string& text);
// The terminal the child sent over the socket; none when it did not come so far.
base::Fd receive_terminal(int socket);

}  // namespace runtime
