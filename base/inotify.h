// Waiting for changes of files and directories, without polling.
#pragma once

#include <memory>
#include <string>

#include "base/io.h"

namespace base {

// Lives on the strand of the coroutine that made it.
class Inotify {
 public:
  static Task<Result<std::unique_ptr<Inotify>>> open();
  ~Inotify();
  // mask: IN_CREATE | IN_MODIFY | ... of sys/inotify.h.
  Result<> add(const std::string& path, uint32_t mask);
  // Returns after at least one event; all that are pending are consumed. With a deadline: false when it passed first.
  Task<Result<bool>> wait(std::optional<TimePoint> deadline = std::nullopt);

 private:
  struct Impl;
  explicit Inotify(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace base
