// Waiting for changes of a file and of its directory, by inotify.
#pragma once

#include <memory>
#include <string>

#include "base/io.h"

namespace agent {

// Strand-bound: that of the coroutine that calls changed().
class FileWatch {
 public:
  static base::Result<std::unique_ptr<FileWatch>> open(const std::string& file, base::Executor strand);
  virtual ~FileWatch() = default;
  // Returns after the file was written, or files in its directory came, went or were renamed, since the last call.
  virtual base::Task<base::Result<>> changed() = 0;
};

}  // namespace agent
