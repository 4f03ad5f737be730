// Structs to bytes and back: fields with numbers, unknown ones skipped, so that an agent and a supervisor of different
// releases understand each other. A number is never used again for something else.
//
// A struct takes part by `template <class A> void describe(A& a, T& v) { a(1, v.first); a(2, v.second); }`.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace runtime::wire {

template <class T>
inline constexpr bool is_number = std::is_integral_v<T> || std::is_enum_v<T>;

class Encoder {
 public:
  template <class T>
  void operator()(uint32_t tag, const T& v) {
    put(tag, v);
  }
  std::string take() { return std::move(out_); }

 private:
  void varint(uint64_t n) {
    for (; n >= 0x80; n >>= 7) out_ += static_cast<char>(n | 0x80);
    out_ += static_cast<char>(n);
  }
  void bytes(uint32_t tag, std::string_view b) {
    varint(tag);
    varint(b.size());
    out_ += b;
  }
  void put(uint32_t tag, const std::string& v) {
    if (!v.empty()) bytes(tag, v);
  }
  void put(uint32_t tag, std::chrono::system_clock::time_point v) { number(tag, static_cast<uint64_t>(v.time_since_epoch().count())); }
  template <class T>
    requires is_number<T>
  void put(uint32_t tag, T v) {
    number(tag, static_cast<uint64_t>(v));
  }
  void number(uint32_t tag, uint64_t n) {
    Encoder inner;
    inner.varint(n);
    bytes(tag, inner.out_);
  }
  template <class T>
  void put(uint32_t tag, const std::optional<T>& v) {
    if (v) put(tag, *v);
  }
  template <class T>
  void put(uint32_t tag, const std::vector<T>& v) {
    for (const T& one : v) {
      if constexpr (std::is_same_v<T, std::string>) bytes(tag, one);
      else put(tag, one);
    }
  }
  template <class T>
  void put(uint32_t tag, const std::map<std::string, T>& v) {
    for (const auto& [key, value] : v) {
      Encoder inner;
      inner(1, key);
      inner(2, value);
      bytes(tag, inner.out_);
    }
  }
  template <class T>
    requires(std::is_class_v<T>)
  void put(uint32_t tag, const T& v) {
    Encoder inner;
    describe(inner, const_cast<T&>(v));
    bytes(tag, inner.out_);
  }

  std::string out_;
};

class Decoder {
 public:
  explicit Decoder(std::string_view text) {
    while (!text.empty()) {
      auto tag = varint(text), size = varint(text);
      if (!tag || !size || *size > text.size()) {
        ok_ = false;
        return;
      }
      fields_.emplace_back(static_cast<uint32_t>(*tag), text.substr(0, *size));
      text.remove_prefix(*size);
    }
  }
  bool ok() const { return ok_; }

  template <class T>
  void operator()(uint32_t tag, T& v) {
    for (const auto& [t, bytes] : fields_) {
      if (t == tag) get(bytes, v);
    }
  }

 private:
  static std::optional<uint64_t> varint(std::string_view& text) {
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 64 && !text.empty(); shift += 7) {
      unsigned char c = static_cast<unsigned char>(text[0]);
      text.remove_prefix(1);
      n |= static_cast<uint64_t>(c & 0x7f) << shift;
      if (c < 0x80) return n;
    }
    return std::nullopt;
  }
  void get(std::string_view b, std::string& v) { v.assign(b); }
  void get(std::string_view b, std::chrono::system_clock::time_point& v) {
    int64_t n = 0;
    get(b, n);
    v = std::chrono::system_clock::time_point(std::chrono::system_clock::duration(n));
  }
  template <class T>
    requires is_number<T>
  void get(std::string_view b, T& v) {
    if (auto n = varint(b)) v = static_cast<T>(*n);
  }
  template <class T>
  void get(std::string_view b, std::optional<T>& v) {
    get(b, v.emplace());
  }
  template <class T>
  void get(std::string_view b, std::vector<T>& v) {
    get(b, v.emplace_back());
  }
  template <class T>
  void get(std::string_view b, std::map<std::string, T>& v) {
    Decoder inner(b);
    std::string key;
    T value{};
    inner(1, key);
    inner(2, value);
    v[key] = std::move(value);
  }
  template <class T>
    requires(std::is_class_v<T>)
  void get(std::string_view b, T& v) {
    Decoder inner(b);
    ok_ = ok_ && inner.ok();
    describe(inner, v);
  }

  std::vector<std::pair<uint32_t, std::string_view>> fields_;
  bool ok_ = true;
};

template <class T>
std::string encode(const T& v) {
  Encoder e;
  describe(e, const_cast<T&>(v));
  return e.take();
}

// False when the text is not one; v is filled as far as it could be read.
template <class T>
bool decode(std::string_view text, T& v) {
  Decoder d(text);
  if (d.ok()) describe(d, v);
  return d.ok();
}

}  // namespace runtime::wire
