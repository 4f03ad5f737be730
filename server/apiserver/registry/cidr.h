// IPv4 networks as numbers, for handing out addresses and node networks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace server {

struct Cidr {
  uint32_t base = 0;  // host order, host bits zero
  int bits = 0;
  uint64_t size() const { return uint64_t{1} << (32 - bits); }
  bool contains(uint32_t ip) const { return bits == 0 || (ip >> (32 - bits)) == (base >> (32 - bits)); }
};

std::optional<uint32_t> parse_ipv4(std::string_view text);
std::string ipv4_text(uint32_t ip);
base::Result<Cidr> parse_cidr(std::string_view text);

}  // namespace server
