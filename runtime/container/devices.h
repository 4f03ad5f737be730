// The device nodes a container sees and the ones it may use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "runtime/container/cgroups.h"
#include "runtime/container/spec.h"

namespace runtime {

struct DeviceNode {
  std::string path;  // in the container, absolute
  mode_t mode = 0;   // with S_IFCHR or S_IFBLK
  dev_t device = 0;
  uint32_t uid = 0, gid = 0;
};

struct DeviceRule {
  char type = 'a';              // a, b, c
  int64_t major = -1, minor = -1;  // -1: any
  std::string access = "rwm";
};

// null, zero, full, random, urandom, tty; the devices of the spec; for privileged containers all of the host's. Reads the host's /dev.
base::Result<std::vector<DeviceNode>> device_nodes(const ContainerSpec& spec);
std::vector<DeviceRule> device_rules(const ContainerSpec& spec, const std::vector<DeviceNode>& nodes);

// Limits the group: the v1 devices controller where there is one, a BPF program on v2 otherwise.
base::Result<> restrict_devices(const Cgroups& cgroups, std::string_view path, const std::vector<DeviceRule>& rules);

}  // namespace runtime
