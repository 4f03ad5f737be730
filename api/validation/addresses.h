// IP addresses and ranges, as validation looks at them.
#pragma once

#include <optional>
#include <string>

#include "api/validation/checker.h"

namespace api::validation {

struct Range {
  bool v6 = false;
  int bits = 0;
  unsigned char bytes[16] = {};

  bool contains(const Range& other) const;  // strictly
  bool is_masked() const;                   // no bits set behind the prefix
};
std::optional<Range> parse_range(std::string_view cidr);

// The usual way to write an address, empty when it is none.
std::string canonical_ip(std::string_view ip);
// Addresses that mean something else than a host of the network are refused.
void check_non_special(Checker& c, std::string_view ip, const std::string& path);

}  // namespace api::validation
