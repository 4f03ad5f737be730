// Who a container runs as: the image's /etc/passwd and /etc/group, read as hostile text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "runtime/container/spec.h"

namespace runtime {

struct Identity {
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;  // sorted, unique
  std::string home = "/";
  std::string name;              // empty when the uid has no entry
};

// A decimal number that is the whole text and fits 32 bits.
std::optional<uint32_t> parse_id(std::string_view text);

// 400 InvalidContainerSpec for unknown names, malformed forms and uid 0 where it is not allowed.
base::Result<Identity> resolve_user(const User& user, std::string_view passwd, std::string_view group);

}  // namespace runtime
