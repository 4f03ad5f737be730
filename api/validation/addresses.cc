#include "api/validation/addresses.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "api/validate_names.h"

namespace api::validation {
namespace {

struct Address {
  bool v6 = false;
  unsigned char bytes[16] = {};
};

std::optional<Address> parse(std::string_view s) {
  std::string text(s);
  Address a;
  if (inet_pton(AF_INET, text.c_str(), a.bytes) == 1) return a;
  a.v6 = true;
  if (inet_pton(AF_INET6, text.c_str(), a.bytes) == 1) return a;
  return std::nullopt;
}

bool same_bits(const unsigned char* a, const unsigned char* b, int bits) {
  int whole = bits / 8, rest = bits % 8;
  if (!std::equal(a, a + whole, b)) return false;
  return rest == 0 || (a[whole] >> (8 - rest)) == (b[whole] >> (8 - rest));
}

}  // namespace

std::string canonical_ip(std::string_view s) {
  auto a = parse(s);
  if (!a) return {};
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(a->v6 ? AF_INET6 : AF_INET, a->bytes, text, sizeof text) ? text : "";
}

void check_non_special(Checker& c, std::string_view ip, const std::string& path) {
  auto a = parse(ip);
  if (!a) return;
  const unsigned char* b = a->bytes;
  bool unspecified = std::all_of(b, b + (a->v6 ? 16 : 4), [](unsigned char x) { return x == 0; });
  bool loopback = a->v6 ? std::all_of(b, b + 15, [](unsigned char x) { return x == 0; }) && b[15] == 1 : b[0] == 127;
  bool link_local = a->v6 ? b[0] == 0xfe && (b[1] & 0xc0) == 0x80 : b[0] == 169 && b[1] == 254;
  bool multicast = a->v6 ? b[0] == 0xff && (b[1] & 0x0f) == 2 : b[0] == 224 && b[1] == 0 && b[2] == 0;
  if (unspecified) c.invalid_text(path, ip, fmt::format("may not be unspecified ({})", ip));
  else if (loopback) c.invalid_text(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
  if (link_local) c.invalid_text(path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
  if (multicast) c.invalid_text(path, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
}

std::optional<Range> parse_range(std::string_view cidr) {
  size_t slash = cidr.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  auto a = parse(cidr.substr(0, slash));
  Range r;
  std::string_view bits = cidr.substr(slash + 1);
  auto [end, ec] = std::from_chars(bits.data(), bits.data() + bits.size(), r.bits);
  if (!a || ec != std::errc() || end != bits.data() + bits.size() || r.bits < 0 || r.bits > (a->v6 ? 128 : 32)) return std::nullopt;
  r.v6 = a->v6;
  std::copy(std::begin(a->bytes), std::end(a->bytes), r.bytes);
  return r;
}

bool Range::contains(const Range& other) const { return v6 == other.v6 && bits < other.bits && same_bits(bytes, other.bytes, bits); }

bool Range::is_masked() const {
  for (int i = bits; i < (v6 ? 128 : 32); ++i) {
    if (bytes[i / 8] >> (7 - i % 8) & 1) return false;
  }
  return true;
}

}  // namespace api::validation
