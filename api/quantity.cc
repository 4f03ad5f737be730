#include "api/quantity.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>

namespace api {
namespace {

using Wide = __int128;
constexpr Wide kNano = 1'000'000'000;
constexpr Wide kMax = static_cast<Wide>(std::numeric_limits<int64_t>::max()) * kNano;

struct Suffix {
  std::string_view text;
  Quantity::Format format;
  int exponent;  // of 10, or of 2
};
constexpr std::array<Suffix, 16> kSuffixes{{
    {"", Quantity::Format::decimal_si, 0},    {"n", Quantity::Format::decimal_si, -9},  {"u", Quantity::Format::decimal_si, -6},
    {"m", Quantity::Format::decimal_si, -3},  {"k", Quantity::Format::decimal_si, 3},   {"M", Quantity::Format::decimal_si, 6},
    {"G", Quantity::Format::decimal_si, 9},   {"T", Quantity::Format::decimal_si, 12},  {"P", Quantity::Format::decimal_si, 15},
    {"E", Quantity::Format::decimal_si, 18},  {"Ki", Quantity::Format::binary_si, 10},  {"Mi", Quantity::Format::binary_si, 20},
    {"Gi", Quantity::Format::binary_si, 30},  {"Ti", Quantity::Format::binary_si, 40},  {"Pi", Quantity::Format::binary_si, 50},
    {"Ei", Quantity::Format::binary_si, 60},
}};

base::Failure malformed() {
  return base::bad_request(R"(quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$')");
}

std::string decimal(Wide n) {
  if (n == 0) return "0";
  bool negative = n < 0;
  std::string s;
  for (Wide rest = negative ? -n : n; rest > 0; rest /= 10) s += static_cast<char>('0' + static_cast<int>(rest % 10));
  if (negative) s += '-';
  return {s.rbegin(), s.rend()};
}

// a / b, away from zero.
Wide divide_up(Wide a, Wide b) {
  Wide q = a / b;
  if (a % b != 0) q += a > 0 ? 1 : -1;
  return q;
}

int64_t saturated(Wide n) {
  if (n > std::numeric_limits<int64_t>::max()) return std::numeric_limits<int64_t>::max();
  if (n < std::numeric_limits<int64_t>::min()) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(n);
}

Wide clamp(Wide n) { return n > kMax ? kMax : n < -kMax ? -kMax : n; }

// mantissa * 10^shift (or 2^shift) rounded away from zero and held within the largest quantity.
Wide scale(Wide mantissa, int base, int shift) {
  for (; shift > 0; --shift) {
    mantissa *= base;
    if (mantissa > kMax || mantissa < -kMax) return clamp(mantissa);
  }
  bool inexact = false;
  for (; shift < 0; ++shift) {
    inexact |= mantissa % base != 0;
    mantissa /= base;
    if (mantissa == 0) break;
  }
  return inexact ? mantissa + 1 : mantissa;
}

}  // namespace

base::Result<Quantity> Quantity::parse(std::string_view text) {
  std::string_view rest = text;
  bool negative = false;
  if (!rest.empty() && (rest[0] == '+' || rest[0] == '-')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  Wide mantissa = 0;
  int fraction = 0, digits = 0;
  bool point = false, lost = false;
  size_t i = 0;
  for (; i < rest.size(); ++i) {
    char c = rest[i];
    if (c == '.') {
      if (point) return malformed();
      point = true;
    } else if (c >= '0' && c <= '9') {
      ++digits;
      if (mantissa > static_cast<Wide>(std::numeric_limits<int64_t>::max()) * 1'000'000'000'000) {
        // Beyond any precision that counts: digits before the point only make it larger, after it they round up.
        if (point) lost |= c != '0';
        else --fraction;
        continue;
      }
      mantissa = mantissa * 10 + (c - '0');
      if (point) ++fraction;
    } else {
      break;
    }
  }
  if (digits == 0) return malformed();
  std::string_view tail = rest.substr(i);
  Format format = Format::decimal_si;
  int exponent = 0;
  bool known = false;
  for (const Suffix& s : kSuffixes) {
    if (s.text != tail) continue;
    format = s.format;
    exponent = s.exponent;
    known = true;
  }
  if (!known && (tail[0] == 'e' || tail[0] == 'E')) {
    std::string_view number = tail.substr(1);
    if (!number.empty() && number[0] == '+') number.remove_prefix(1);
    auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), exponent);
    if (ec != std::errc() || end != number.data() + number.size() || exponent > 1000 || exponent < -1000) return malformed();
    format = Format::decimal_exponent;
    known = true;
  }
  if (!known) return malformed();
  Wide nano;
  if (format == Format::binary_si) {
    // Whole bits first, then decimal places; 128 bits hold both as the mantissa is bounded.
    nano = mantissa;
    Wide scaled = scale(mantissa, 2, exponent);
    if (scaled >= kMax) {
      nano = fraction > 0 ? scale(scaled, 10, 9 - fraction) : kMax;
    } else {
      nano = scale(scaled, 10, 9 - fraction);
    }
  } else {
    nano = scale(mantissa, 10, exponent + 9 - fraction);
  }
  if (lost && nano < kMax) ++nano;
  return Quantity(clamp(negative ? -nano : nano), format);
}

Quantity Quantity::of(std::string_view text) {
  auto q = parse(text);
  return q ? *q : Quantity();
}

int64_t Quantity::value() const { return saturated(divide_up(nano_, kNano)); }
int64_t Quantity::milli_value() const { return saturated(divide_up(nano_, 1'000'000)); }
double Quantity::as_double() const { return static_cast<double>(nano_) / 1e9; }

std::string Quantity::to_string() const {
  if (nano_ == 0) return "0";
  Format format = format_;
  if (format == Format::binary_si && ((nano_ > -1024 * kNano && nano_ < 1024 * kNano) || nano_ % kNano != 0)) format = Format::decimal_si;
  if (format == Format::binary_si) {
    static constexpr std::string_view names[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    Wide n = nano_ / kNano;
    size_t i = 0;
    for (; i < 6 && n % 1024 == 0; ++i) n /= 1024;
    return decimal(n).append(names[i]);
  }
  Wide n = nano_;
  int exponent = -9;
  for (; n % 1000 == 0 && exponent < 18; exponent += 3) n /= 1000;
  if (format == Format::decimal_exponent) return exponent == 0 ? decimal(n) : fmt::format("{}e{}", decimal(n), exponent);
  static constexpr std::string_view names[] = {"n", "u", "m", "", "k", "M", "G", "T", "P", "E"};
  return decimal(n).append(names[static_cast<size_t>(exponent + 9) / 3]);
}

Quantity& Quantity::operator+=(const Quantity& o) {
  if (nano_ == 0) format_ = o.format_;
  nano_ = clamp(nano_ + o.nano_);
  return *this;
}

Quantity& Quantity::operator-=(const Quantity& o) {
  if (nano_ == 0) format_ = o.format_;
  nano_ = clamp(nano_ - o.nano_);
  return *this;
}

base::Result<int> scaled_value(const IntOrString& v, int total, bool round_up) {
  if (!v.is_string) return v.number;
  std::string_view text = v.text;
  int percent = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (ec != std::errc() || end + 1 != text.data() + text.size() || *end != '%') {
    return base::bad_request(fmt::format("invalid value for IntOrString: invalid type: string is not a percentage: {}", text));
  }
  int64_t product = static_cast<int64_t>(percent) * total;
  int64_t q = product / 100;
  if (product % 100 != 0) {
    if (round_up && product > 0) ++q;
    if (!round_up && product < 0) --q;
  }
  return static_cast<int>(q);
}

}  // namespace api
