#include "network/address.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

#include <fmt/format.h>

namespace network {

base::Result<Ip> Ip::parse(std::string_view text) {
  Ip ip;
  std::string s(text);
  if (s.find('\0') == std::string::npos) {
    if (inet_pton(AF_INET, s.c_str(), ip.bytes_.data()) == 1) {
      ip.family_ = 4;
      return ip;
    }
    if (inet_pton(AF_INET6, s.c_str(), ip.bytes_.data()) == 1) {
      ip.family_ = 6;
      return ip;
    }
  }
  return base::bad_request(fmt::format("not an IP address: \"{}\"", text.substr(0, 64)));
}

Ip Ip::v4(uint32_t host_order) {
  uint32_t n = htonl(host_order);
  return from_bytes(&n, 4);
}

Ip Ip::v6(const std::array<uint8_t, 16>& bytes) { return from_bytes(bytes.data(), 16); }

Ip Ip::from_bytes(const void* bytes, size_t size) {
  Ip ip;
  if (size != 4 && size != 16) return ip;
  ip.family_ = size == 4 ? 4 : 6;
  std::memcpy(ip.bytes_.data(), bytes, size);
  return ip;
}

bool Ip::is_loopback() const {
  if (is_v4()) return bytes_[0] == 127;
  if (!is_v6()) return false;
  for (int i = 0; i < 15; ++i)
    if (bytes_[i]) return false;
  return bytes_[15] == 1;
}

uint32_t Ip::host_order() const {
  uint32_t n;
  std::memcpy(&n, bytes_.data(), 4);
  return ntohl(n);
}

std::string Ip::str() const {
  char buf[INET6_ADDRSTRLEN] = "";
  if (is_v4()) inet_ntop(AF_INET, bytes_.data(), buf, sizeof buf);
  if (is_v6()) inet_ntop(AF_INET6, bytes_.data(), buf, sizeof buf);
  return buf;
}

base::Result<Cidr> Cidr::parse(std::string_view text) {
  auto slash = text.find('/');
  if (slash == std::string_view::npos) return base::bad_request(fmt::format("not an address prefix (no /): \"{}\"", text.substr(0, 64)));
  TRY(Ip ip, Ip::parse(text.substr(0, slash)));
  auto digits = text.substr(slash + 1);
  int bits = -1;
  auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (ec != std::errc() || end != digits.data() + digits.size() || bits < 0 || bits > static_cast<int>(ip.size() * 8))
    return base::bad_request(fmt::format("not an address prefix: \"{}\"", text.substr(0, 64)));
  std::array<uint8_t, 16> b{};
  std::memcpy(b.data(), ip.data(), ip.size());
  for (size_t i = 0; i < ip.size(); ++i) {
    int keep = bits - static_cast<int>(i) * 8;
    if (keep <= 0)
      b[i] = 0;
    else if (keep < 8)
      b[i] = static_cast<uint8_t>(b[i] & (0xff << (8 - keep)));
  }
  return Cidr{Ip::from_bytes(b.data(), ip.size()), bits};
}

bool Cidr::contains(const Ip& other) const {
  if (other.size() != ip.size() || ip.none()) return false;
  int whole = bits / 8;
  if (std::memcmp(ip.data(), other.data(), static_cast<size_t>(whole)) != 0) return false;
  if (bits % 8 == 0) return true;
  int mask = 0xff << (8 - bits % 8);
  return ((ip.data()[whole] ^ other.data()[whole]) & mask & 0xff) == 0;
}

Ip Cidr::at(uint32_t n) const {
  if (ip.none()) return ip;
  std::array<uint8_t, 16> b{};
  std::memcpy(b.data(), ip.data(), ip.size());
  uint32_t low;
  std::memcpy(&low, b.data() + ip.size() - 4, 4);
  low = htonl(ntohl(low) + n);
  std::memcpy(b.data() + ip.size() - 4, &low, 4);
  return Ip::from_bytes(b.data(), ip.size());
}

std::string Cidr::str() const { return fmt::format("{}/{}", ip.str(), bits); }

std::string mac_str(const Mac& m) { return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5]); }

base::Result<Mac> parse_mac(std::string_view text) {
  Mac mac{};
  bool ok = text.size() == 17;
  for (size_t i = 0; ok && i < 6; ++i) {
    const char* p = text.data() + i * 3;
    auto [end, ec] = std::from_chars(p, p + 2, mac[i], 16);
    ok = ec == std::errc() && end == p + 2 && (i == 5 || p[2] == ':');
  }
  if (!ok) return base::bad_request(fmt::format("not a link address: \"{}\"", text.substr(0, 64)));
  return mac;
}

base::Result<Protocol> parse_protocol(std::string_view text) {
  if (text.empty() || text == "TCP" || text == "tcp") return Protocol::tcp;
  if (text == "UDP" || text == "udp") return Protocol::udp;
  if (text == "SCTP" || text == "sctp") return Protocol::sctp;
  return base::bad_request(fmt::format("unknown protocol \"{}\"", text.substr(0, 64)));
}

std::string_view protocol_str(Protocol p) {
  switch (p) {
    case Protocol::tcp: return "TCP";
    case Protocol::udp: return "UDP";
    case Protocol::sctp: return "SCTP";
  }
  return "TCP";
}

}  // namespace network
