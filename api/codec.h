// JSON codec of generated structs, driven by their descriptor tables.
//
// Decoding ignores unknown fields and takes null as absent; a wrong type is 400 BadRequest naming the path.
// Encoding omits what is absent or empty unless required, and writes apiVersion and kind first for top-level kinds.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace api {

struct Descriptor;  // fields of one generated struct; see api/descriptor.h

base::Result<> decode_into(const Descriptor& d, const base::json::value& from, void* into);
base::Result<> decode_text_into(const Descriptor& d, std::string_view json, void* into);
base::json::value encode_value(const Descriptor& d, const void* from);
std::string encode_text(const Descriptor& d, const void* from);

// Every generated struct T has `static const Descriptor& descriptor()`.
template <class T>
base::Result<T> decode(std::string_view json) {
  T out;
  if (auto r = decode_text_into(T::descriptor(), json, &out); !r) return std::unexpected(std::move(r).error());
  return out;
}
template <class T, std::same_as<base::json::value> V>  // no conversions: text must not become a JSON string
base::Result<T> decode(const V& v) {
  T out;
  if (auto r = decode_into(T::descriptor(), v, &out); !r) return std::unexpected(std::move(r).error());
  return out;
}
template <class T>
std::string encode(const T& object) {
  return encode_text(T::descriptor(), &object);
}
template <class T>
base::json::value encode_json(const T& object) {
  return encode_value(T::descriptor(), &object);
}

}  // namespace api
