// One process per run directory: a locked file with the pid in it.
#pragma once

#include <string>

#include "base/files.h"

namespace cmd {

class PidFile {
 public:
  // Fails when another process holds <run_dir>/appliance.pid, and names it.
  static base::Result<PidFile> claim(const std::string& run_dir);

 private:
  explicit PidFile(base::Fd fd) : fd_(std::move(fd)) {}
  base::Fd fd_;
};

}  // namespace cmd
