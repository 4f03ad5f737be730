// Internet addresses, prefixes and link addresses as values. Pure; thread-safe.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace network {

// An IPv4 or IPv6 address, bytes in network order. A default one is "none" (neither family).
class Ip {
 public:
  Ip() = default;
  static base::Result<Ip> parse(std::string_view text);  // strict: no leading zeros, no zone
  static Ip v4(uint32_t host_order);
  static Ip v6(const std::array<uint8_t, 16>& bytes);
  // 4 or 16 bytes; anything else gives none.
  static Ip from_bytes(const void* bytes, size_t size);

  bool none() const { return family_ == 0; }
  bool is_v4() const { return family_ == 4; }
  bool is_v6() const { return family_ == 6; }
  bool is_loopback() const;
  size_t size() const { return is_v4() ? 4 : is_v6() ? 16 : 0; }
  const uint8_t* data() const { return bytes_.data(); }
  uint32_t host_order() const;  // of an IPv4 address
  std::string str() const;      // canonical text (RFC 5952)

  auto operator<=>(const Ip&) const = default;

 private:
  uint8_t family_ = 0;
  std::array<uint8_t, 16> bytes_{};
};

struct Cidr {
  Ip ip;
  int bits = 0;

  // "10.42.0.0/16". Host bits are cleared.
  static base::Result<Cidr> parse(std::string_view text);
  bool contains(const Ip& ip) const;
  // The n-th address of the prefix (n = 0: the network address). IPv4, or the last 32 bits of IPv6.
  Ip at(uint32_t n) const;
  std::string str() const;
  auto operator<=>(const Cidr&) const = default;
};

using Mac = std::array<uint8_t, 6>;
std::string mac_str(const Mac& mac);
base::Result<Mac> parse_mac(std::string_view text);

enum class Protocol : uint8_t { tcp = 6, udp = 17, sctp = 132 };
base::Result<Protocol> parse_protocol(std::string_view text);  // "TCP", "UDP", "SCTP"; empty is TCP
std::string_view protocol_str(Protocol p);

}  // namespace network

template <>
struct std::hash<network::Ip> {
  size_t operator()(const network::Ip& ip) const noexcept {
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(ip.data()), ip.size()});
  }
};
