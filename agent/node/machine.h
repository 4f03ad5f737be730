// Facts about this host, read from the kernel. Blocking, cheap.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace agent {

struct Machine {
  int cpus = 1;
  uint64_t memory_bytes = 0;
  std::string machine_id, system_uuid, boot_id, kernel_version, os_image, architecture;
};
Machine read_machine();

struct MemoryUse {
  uint64_t total = 0, available = 0;
};
MemoryUse read_memory();

struct DiskUse {
  uint64_t total = 0, available = 0, inodes = 0, inodes_free = 0;
};
base::Result<DiskUse> read_disk(const std::string& path);

struct PidUse {
  uint64_t max = 0, running = 0;
};
PidUse read_pids();

}  // namespace agent
