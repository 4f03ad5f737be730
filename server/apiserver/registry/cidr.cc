#include "server/apiserver/registry/cidr.h"

#include <arpa/inet.h>

#include <charconv>

#include <fmt/format.h>

namespace server {

std::optional<uint32_t> parse_ipv4(std::string_view text) {
  in_addr a{};
  if (text.find('\0') != text.npos) return std::nullopt;
  if (inet_pton(AF_INET, std::string(text).c_str(), &a) != 1) return std::nullopt;
  return ntohl(a.s_addr);
}

std::string ipv4_text(uint32_t ip) { return fmt::format("{}.{}.{}.{}", ip >> 24, (ip >> 16) & 255, (ip >> 8) & 255, ip & 255); }

base::Result<Cidr> parse_cidr(std::string_view text) {
  size_t slash = text.find('/');
  auto ip = parse_ipv4(text.substr(0, slash));
  int bits = -1;
  const char* end = text.data() + text.size();
  if (slash != text.npos && std::from_chars(text.data() + slash + 1, end, bits).ptr != end) bits = -1;
  if (!ip || bits < 0 || bits > 32) return base::bad_request(fmt::format("{} is not an IPv4 network such as 10.42.0.0/16", text));
  uint32_t mask = bits == 0 ? 0 : ~uint32_t{0} << (32 - bits);
  return Cidr{*ip & mask, bits};
}

}  // namespace server
