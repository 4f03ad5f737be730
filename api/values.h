// The two scalar types of the Kubernetes API that have no C++ equivalent.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace api {

// A JSON number or string: ports by number or name, counts or percentages. Absent unless set.
struct IntOrString {
  bool is_string = false;
  int32_t number = 0;
  std::string text;
  bool present = false;  // tells an explicit 0 from absence

  static IntOrString of(int32_t n) { return {false, n, {}, true}; }
  static IntOrString of(std::string s) { return {true, 0, std::move(s), true}; }
  bool has_value() const { return present || is_string || number != 0; }
  explicit operator bool() const { return has_value(); }
  IntOrString& operator*() { return *this; }
  const IntOrString& operator*() const { return *this; }
  IntOrString* operator->() { return this; }
  const IntOrString* operator->() const { return this; }
  // "80" or "http".
  std::string to_string() const { return is_string ? text : std::to_string(number); }
  bool operator==(const IntOrString& o) const {
    return has_value() == o.has_value() && is_string == o.is_string && (is_string ? text == o.text : number == o.number);
  }
};

// Any JSON value, kept as its compact text; empty when absent.
struct RawJson {
  std::string text;
  bool has_value() const { return !text.empty(); }
  explicit operator bool() const { return has_value(); }
  bool operator==(const RawJson&) const = default;
};

}  // namespace api
