// Equality of JSON values that came by different ways.
#pragma once

#include <algorithm>
#include <cmath>

#include "base/json.h"

namespace fuzz {

// 1.0 is 1, as in Go; the last digit of a fraction may differ, because reading and writing round.
inline bool same(const base::json::value& a, const base::json::value& b) {
  if (a.is_number() && b.is_number()) {
    if (a == b) return true;
    double x = a.to_number<double>(), y = b.to_number<double>();
    return std::abs(x - y) <= 1e-13 * std::abs(x);
  }
  if (a.is_array() && b.is_array()) return std::ranges::equal(a.get_array(), b.get_array(), same);
  if (a.is_object() && b.is_object())
    return a.get_object().size() == b.get_object().size() && std::ranges::all_of(a.get_object(), [&](const auto& m) {
             const base::json::value* other = b.get_object().if_contains(m.key());
             return other && same(m.value(), *other);
           });
  return a == b;
}

}  // namespace fuzz
