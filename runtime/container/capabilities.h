// Capability sets of a container: the default fourteen of Docker and containerd, plus and minus what the spec says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace runtime {

using CapabilitySet = uint64_t;  // bit n is capability n

// All the kernel and this process can give (the bounding set).
CapabilitySet bounding_capabilities();
// "ALL" in drop is applied before add, "ALL" in add before drop, as Docker does. 400 on an unknown name.
base::Result<CapabilitySet> container_capabilities(const std::vector<std::string>& add, const std::vector<std::string>& drop,
                                                   bool privileged);

// Removes everything else from the bounding set of the calling process.
base::Result<> drop_bounding(CapabilitySet keep);
// Sets effective and permitted; inheritable and ambient become empty.
base::Result<> set_capabilities(CapabilitySet effective, CapabilitySet permitted);

}  // namespace runtime
