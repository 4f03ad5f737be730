// The streams of processes inside a container: exec sessions and attached clients. Both come from Sandbox.
//
// A session may be used from any thread, one reader per stream. Dropping the last reference closes its descriptors; an exec'd
// process then sees a closed stdin and a hang-up or SIGPIPE, and is otherwise left alone (kill() ends it).
#pragma once

#include <sys/types.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/io.h"

namespace runtime {

using base::Result;
using base::Task;

// One end of a pipe or a terminal.
class FdStream {
 public:
  virtual ~FdStream() = default;
  // Up to n bytes; empty at the end (for a terminal: when its last user is gone).
  virtual Task<Result<std::string>> read(size_t n = 32768) = 0;
  // All of it. The error is 410 "Gone" with reason BrokenPipe when nobody reads any more.
  virtual Task<Result<>> write(std::string data) = 0;
  virtual void close() = 0;
};
using FdStreamPtr = std::shared_ptr<FdStream>;

class ExecSession {
 public:
  virtual ~ExecSession() = default;
  // Null when not asked for. With a tty, in and out are the same terminal and err is null. Close `in` for end of file.
  virtual FdStreamPtr in() = 0;
  virtual FdStreamPtr out() = 0;
  virtual FdStreamPtr err() = 0;
  virtual pid_t pid() const = 0;
  // The exit code (128 + signal when killed). 503 when the supervisor is gone. May be called after the end, and more than once.
  virtual Task<Result<int>> wait() = 0;
  virtual Result<> resize(uint16_t columns, uint16_t rows) = 0;
  // To the process and its process group.
  virtual Task<Result<>> kill(int signal) = 0;
};

class AttachSession {
 public:
  virtual ~AttachSession() = default;
  virtual FdStreamPtr in() = 0;   // null without stdin_open or when not asked for
  virtual FdStreamPtr out() = 0;  // from now on; ends with the container
  virtual FdStreamPtr err() = 0;  // null with a tty
  virtual Task<Result<>> resize(uint16_t columns, uint16_t rows) = 0;
};

}  // namespace runtime
