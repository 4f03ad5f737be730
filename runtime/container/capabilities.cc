#include "runtime/container/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/container/spec.h"

namespace runtime {

namespace {

constexpr CapabilitySet bit(int n) { return CapabilitySet{1} << n; }

constexpr CapabilitySet kDefault = bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_FSETID) | bit(CAP_FOWNER) | bit(CAP_MKNOD) |
                                   bit(CAP_NET_RAW) | bit(CAP_SETGID) | bit(CAP_SETUID) | bit(CAP_SETFCAP) | bit(CAP_SETPCAP) |
                                   bit(CAP_NET_BIND_SERVICE) | bit(CAP_SYS_CHROOT) | bit(CAP_KILL) | bit(CAP_AUDIT_WRITE);

bool is_all(const std::string& name) { return name == "ALL" || name == "all" || name == "CAP_ALL"; }

}  // namespace

CapabilitySet bounding_capabilities() {
  CapabilitySet set = 0;
  for (int n = 0; n < 64; ++n) {
    int r = ::prctl(PR_CAPBSET_READ, n, 0, 0, 0);
    if (r < 0) break;
    if (r == 1) set |= bit(n);
  }
  return set;
}

base::Result<CapabilitySet> container_capabilities(const std::vector<std::string>& add, const std::vector<std::string>& drop,
                                                   bool privileged) {
  CapabilitySet possible = bounding_capabilities();
  CapabilitySet set = privileged ? possible : kDefault;
  if (std::ranges::any_of(add, is_all)) set = possible;
  if (std::ranges::any_of(drop, is_all)) set = 0;
  auto apply = [&](const std::vector<std::string>& names, bool on) -> base::Result<> {
    for (const std::string& name : names) {
      if (is_all(name)) continue;
      auto n = parse_capability(name);
      if (!n) return base::fail(400, "InvalidContainerSpec", "unknown capability \"" + name + "\"");
      if (on) set |= bit(*n);
      else set &= ~bit(*n);
    }
    return {};
  };
  // A name in both lists is dropped.
  CHECK_OK(apply(add, true));
  CHECK_OK(apply(drop, false));
  return set & possible;
}

base::Result<> drop_bounding(CapabilitySet keep) {
  for (int n = 0; n < 64; ++n) {
    if (keep & bit(n)) continue;
    if (::prctl(PR_CAPBSET_DROP, n, 0, 0, 0) != 0) {
      if (errno == EINVAL) break;  // beyond the last one the kernel knows
      return base::errno_error("drop a capability from the bounding set");
    }
  }
  return {};
}

base::Result<> set_capabilities(CapabilitySet effective, CapabilitySet permitted) {
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (int i = 0; i < 2; ++i) {
    data[i].effective = static_cast<uint32_t>(effective >> (32 * i));
    data[i].permitted = static_cast<uint32_t>(permitted >> (32 * i));
  }
  if (::syscall(SYS_capset, &header, data) != 0) return base::errno_error("set capabilities");
  return {};
}

}  // namespace runtime
