#include "network/sysctl.h"

#include <fmt/format.h>

#include "base/files.h"

namespace network {

base::Result<> set_sysctl(const std::string& path, const std::string& value) {
  const std::string file = "/proc/sys/" + path;
  auto now = base::read_file(file, 4096);
  if (now && now->substr(0, now->find_last_not_of(" \n") + 1) == value) return {};
  if (auto r = base::write_kernel_file(file, value); !r) {
    auto e = r.error();
    std::string dotted = path;
    for (char& c : dotted)
      if (c == '/') c = '.';
    e.message = fmt::format("cannot set {} to {} (needed for pod traffic; is /proc/sys read-only?): {}", dotted, value, e.message);
    return std::unexpected(std::move(e));
  }
  return {};
}

}  // namespace network
