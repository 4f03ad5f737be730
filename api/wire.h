// The protobuf wire format: varints, tags and length-delimited fields (protobuf encoding documentation).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace api::wire {

inline void varint(std::string& out, uint64_t n) {
  for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
  out += static_cast<char>(n);
}
inline void tag(std::string& out, uint32_t number, uint32_t type) { varint(out, number << 3 | type); }
inline void integer(std::string& out, uint32_t number, int64_t n) {
  tag(out, number, 0);
  varint(out, static_cast<uint64_t>(n));
}
inline void bytes(std::string& out, uint32_t number, std::string_view s) {
  tag(out, number, 2);
  varint(out, s.size());
  out += s;
}
inline void real(std::string& out, uint32_t number, double d) {
  tag(out, number, 1);
  auto bits = std::bit_cast<uint64_t>(d);
  for (int i = 0; i < 8; ++i) out += static_cast<char>(bits >> (8 * i));
}

// Reads one field after the other; stops for good at malformed bytes.
class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  // False at the end or on malformed bytes; failed() tells which.
  bool next() {
    if (in_.empty() || failed_) return false;
    uint64_t key = 0;
    if (!read_varint(key) || (key >> 3) == 0 || (key >> 3) > 0x1fffffff) return fail();
    number = static_cast<uint32_t>(key >> 3);
    type = static_cast<uint32_t>(key & 7);
    value = 0;
    data = {};
    switch (type) {
      case 0: return read_varint(value) || fail();
      case 1: return fixed(8);
      case 5: return fixed(4);
      case 2: {
        uint64_t n = 0;
        if (!read_varint(n) || n > in_.size()) return fail();
        data = in_.substr(0, n);
        in_.remove_prefix(n);
        return true;
      }
      default: return fail();
    }
  }
  bool failed() const { return failed_; }

  uint32_t number = 0, type = 0;
  uint64_t value = 0;      // of types 0, 1 and 5
  std::string_view data;   // of type 2

  double real() const { return std::bit_cast<double>(value); }

 private:
  bool fail() {
    failed_ = true;
    return false;
  }
  bool fixed(size_t n) {
    if (in_.size() < n) return fail();
    for (size_t i = 0; i < n; ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(in_[i])) << (8 * i);
    in_.remove_prefix(n);
    return true;
  }
  bool read_varint(uint64_t& n) {
    n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (in_.empty()) return false;
      auto c = static_cast<unsigned char>(in_[0]);
      in_.remove_prefix(1);
      n |= static_cast<uint64_t>(c & 0x7f) << shift;
      if (!(c & 0x80)) return true;
    }
    return false;
  }
  std::string_view in_;
  bool failed_ = false;
};

}  // namespace api::wire
