// resource.Quantity: exact fixed-point numbers with decimal or binary suffixes, and int-or-percent arithmetic.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/values.h"
#include "base/error.h"

namespace api {

class Quantity {
 public:
  enum class Format { decimal_si, binary_si, decimal_exponent };

  Quantity() = default;
  // "500m", "1.5Gi", "1e3", "0.1". Finer than nano is rounded up, as Kubernetes does. 400 when malformed.
  static base::Result<Quantity> parse(std::string_view text);
  // Zero when malformed: for values that have been validated.
  static Quantity of(std::string_view text);
  static Quantity of_milli(int64_t n) { return Quantity(static_cast<__int128>(n) * 1'000'000, Format::decimal_si); }
  static Quantity of_value(int64_t n, Format f = Format::decimal_si) { return Quantity(static_cast<__int128>(n) * 1'000'000'000, f); }

  int64_t value() const;        // rounded up to a whole number, saturated
  int64_t milli_value() const;  // rounded up, saturated
  double as_double() const;
  std::string to_string() const;  // canonical
  Format format() const { return format_; }
  bool is_zero() const { return nano_ == 0; }
  int sign() const { return nano_ > 0 ? 1 : nano_ < 0 ? -1 : 0; }

  // The format of the left one stays unless it is zero.
  Quantity& operator+=(const Quantity& o);
  Quantity& operator-=(const Quantity& o);
  friend Quantity operator+(Quantity a, const Quantity& b) { return a += b; }
  friend Quantity operator-(Quantity a, const Quantity& b) { return a -= b; }
  friend bool operator==(const Quantity& a, const Quantity& b) { return a.nano_ == b.nano_; }
  friend std::strong_ordering operator<=>(const Quantity& a, const Quantity& b) { return a.nano_ <=> b.nano_; }

 private:
  Quantity(__int128 nano, Format f) : nano_(nano), format_(f) {}
  __int128 nano_ = 0;  // in 10^-9
  Format format_ = Format::decimal_si;
};

// A number as it is, a percentage of total rounded up or down. 400 when the text is no percentage.
base::Result<int> scaled_value(const IntOrString& v, int total, bool round_up);

}  // namespace api
