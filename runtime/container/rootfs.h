// The file system of a container, built by its first process inside a mount namespace of its own: the overlay becomes the root, then
// /proc, /sys, /dev, the mounts of the spec and the masks are put on descriptors below it.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "runtime/container/cgroups.h"
#include "runtime/container/devices.h"
#include "runtime/container/spec.h"

namespace runtime {

struct RootfsPlan {
  const ContainerSpec* spec = nullptr;
  std::string upper, work;         // of the writable layer
  std::string mount_point;         // an empty directory on the host, used in the new namespace only
  std::string shm;                 // the pod's /dev/shm, a tmpfs on the host; empty: the host's
  std::vector<DeviceNode> devices;
  const Cgroups* cgroups = nullptr;
};

// Needs a private mount namespace, and the cgroup namespace entered. Leaves the process in the new root, "/" its directory.
// terminal receives the container's first pseudo terminal (master) when the spec asks for a tty, with the peer in `peer`.
base::Result<> build_rootfs(const RootfsPlan& plan, base::Fd& terminal, base::Fd& peer);

// The master of a new pseudo terminal of the devpts that `devpts` is (checked), and its peer through TIOCGPTPEER.
base::Result<> open_terminal(int devpts, base::Fd& master, base::Fd& peer);

}  // namespace runtime
