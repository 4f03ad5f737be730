#include <fmt/format.h>

#include "cmd/commands.h"
#include "cmd/host.h"

namespace cmd {

int version(const Arguments&) {
  fmt::print("appliance {}\nKubernetes API v1.36\n", APPLIANCE_VERSION);
  return 0;
}

}  // namespace cmd
