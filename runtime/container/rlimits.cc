#include "runtime/container/rlimits.h"

#include <sys/resource.h>

#include <string_view>

namespace runtime {

namespace {

struct Named {
  std::string_view name;
  int number;
};

constexpr Named kLimits[] = {
    {"cpu", RLIMIT_CPU},       {"fsize", RLIMIT_FSIZE},     {"data", RLIMIT_DATA},           {"stack", RLIMIT_STACK},
    {"core", RLIMIT_CORE},     {"rss", RLIMIT_RSS},         {"nproc", RLIMIT_NPROC},         {"nofile", RLIMIT_NOFILE},
    {"memlock", RLIMIT_MEMLOCK}, {"as", RLIMIT_AS},         {"locks", RLIMIT_LOCKS},         {"sigpending", RLIMIT_SIGPENDING},
    {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},   {"rtprio", RLIMIT_RTPRIO},       {"rttime", RLIMIT_RTTIME},
};

}  // namespace

base::Result<> set_rlimits(const std::vector<Rlimit>& limits) {
  for (const Rlimit& limit : limits) {
    std::string name = limit.name;
    if (name.starts_with("RLIMIT_")) name.erase(0, 7);
    for (char& c : name) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    int number = -1;
    for (const auto& known : kLimits) {
      if (known.name == name) number = known.number;
    }
    if (number < 0) return base::fail(400, "InvalidContainerSpec", "unknown resource limit \"" + limit.name + "\"");
    rlimit value{limit.soft, limit.hard};
    if (::setrlimit(static_cast<__rlimit_resource_t>(number), &value) != 0)
      return base::errno_error("set the resource limit " + limit.name);
  }
  return {};
}

}  // namespace runtime
