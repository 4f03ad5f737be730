// Kernel settings of the node's network namespace.
#pragma once

#include <string>

#include "base/error.h"

namespace network {

// Writes /proc/sys/<path> unless it holds the value already. The error names the setting and what to do.
base::Result<> set_sysctl(const std::string& path, const std::string& value);

}  // namespace network
