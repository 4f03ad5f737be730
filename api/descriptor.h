// What the codecs know of a generated struct: its fields, their place and shape. The tables are generated from api/schema/.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/box.h"
#include "api/kind.h"
#include "api/values.h"

namespace api {

struct Descriptor;

enum class Shape : uint8_t {
  string,
  bytes,     // std::string of raw bytes, base64 in JSON
  time,      // std::string, null in JSON when required and empty
  quantity,  // std::string, also taken from a JSON number
  boolean,
  int32,
  int64,
  float64,
  opt_boolean,
  opt_int32,
  opt_int64,
  opt_float64,
  int_or_string,
  raw_json,
  object,  // a struct by value
  box,     // Box of a struct
  list,
  map,
};

// A member's type with the operations the codecs need on it, erased.
struct FieldType {
  Shape shape;
  const Descriptor& (*descriptor)() = nullptr;  // object, box
  const FieldType* element = nullptr;           // list, map
  size_t (*size)(const void*) = nullptr;        // list, map
  const void* (*at)(const void*, size_t) = nullptr;                                               // list
  void* (*append)(void*) = nullptr;                                                               // list
  void (*reserve)(void*, size_t) = nullptr;                                                       // list
  void* (*insert)(void*, std::string_view) = nullptr;                                             // map
  void (*each)(const void*, void (*)(void*, const std::string&, const void*), void*) = nullptr;   // map
  const void* (*get)(const void*) = nullptr;                                                      // box: null when absent
  void* (*emplace)(void*) = nullptr;                                                              // box
};

struct FieldInfo {
  std::string_view name;  // as in JSON
  uint32_t offset;
  bool required;
  const FieldType* type;
};

struct Descriptor {
  std::string_view name;            // "Container"
  std::span<const FieldInfo> fields;
  const KindInfo* kind = nullptr;   // set for types with apiVersion and kind
};

namespace detail {

template <class T>
constexpr Shape scalar_shape() {
  if constexpr (std::is_same_v<T, std::string>) return Shape::string;
  else if constexpr (std::is_same_v<T, bool>) return Shape::boolean;
  else if constexpr (std::is_same_v<T, int32_t>) return Shape::int32;
  else if constexpr (std::is_same_v<T, int64_t>) return Shape::int64;
  else if constexpr (std::is_same_v<T, double>) return Shape::float64;
  else if constexpr (std::is_same_v<T, std::optional<bool>>) return Shape::opt_boolean;
  else if constexpr (std::is_same_v<T, std::optional<int32_t>>) return Shape::opt_int32;
  else if constexpr (std::is_same_v<T, std::optional<int64_t>>) return Shape::opt_int64;
  else if constexpr (std::is_same_v<T, std::optional<double>>) return Shape::opt_float64;
  else if constexpr (std::is_same_v<T, IntOrString>) return Shape::int_or_string;
  else if constexpr (std::is_same_v<T, RawJson>) return Shape::raw_json;
  else return Shape::object;
}

template <class T>
struct TypeOf {
  static constexpr FieldType make(const FieldType*) {
    FieldType t{scalar_shape<T>()};
    if constexpr (scalar_shape<T>() == Shape::object) t.descriptor = &T::descriptor;
    return t;
  }
};
template <class T>
struct TypeOf<Box<T>> {
  static constexpr FieldType make(const FieldType*) {
    FieldType t{Shape::box};
    t.descriptor = &T::descriptor;
    t.get = [](const void* p) -> const void* { return static_cast<const Box<T>*>(p)->get(); };
    t.emplace = [](void* p) -> void* { return &static_cast<Box<T>*>(p)->emplace(); };
    return t;
  }
};
template <class T>
struct TypeOf<std::vector<T>> {
  using V = std::vector<T>;
  static constexpr FieldType make(const FieldType* element) {
    FieldType t{Shape::list};
    t.element = element;
    t.size = [](const void* p) { return static_cast<const V*>(p)->size(); };
    t.at = [](const void* p, size_t i) -> const void* { return &(*static_cast<const V*>(p))[i]; };
    t.append = [](void* p) -> void* { return &static_cast<V*>(p)->emplace_back(); };
    t.reserve = [](void* p, size_t n) { static_cast<V*>(p)->reserve(n); };
    return t;
  }
};
template <class T>
struct TypeOf<std::map<std::string, T>> {
  using M = std::map<std::string, T>;
  static constexpr FieldType make(const FieldType* element) {
    FieldType t{Shape::map};
    t.element = element;
    t.size = [](const void* p) { return static_cast<const M*>(p)->size(); };
    t.insert = [](void* p, std::string_view key) -> void* { return &(*static_cast<M*>(p))[std::string(key)]; };
    t.each = [](const void* p, void (*f)(void*, const std::string&, const void*), void* context) {
      for (const auto& [key, value] : *static_cast<const M*>(p)) f(context, key, &value);
    };
    return t;
  }
};

template <class T, Shape Leaf>
struct Element {
  static constexpr const FieldType* type = nullptr;
};

}  // namespace detail

// The FieldType of a member type; Leaf says what its strings stand for.
template <class T, Shape Leaf = Shape::string>
struct TypeTable {
  static constexpr FieldType make() {
    FieldType t = detail::TypeOf<T>::make(detail::Element<T, Leaf>::type);
    if (t.shape == Shape::string) t.shape = Leaf;
    return t;
  }
  static constexpr FieldType value = make();
};

namespace detail {
template <class T, Shape Leaf>
struct Element<std::vector<T>, Leaf> {
  static constexpr const FieldType* type = &TypeTable<T, Leaf>::value;
};
template <class T, Shape Leaf>
struct Element<std::map<std::string, T>, Leaf> {
  static constexpr const FieldType* type = &TypeTable<T, Leaf>::value;
};
}  // namespace detail

}  // namespace api
