// Boost.JSON as the project's DOM: parsing with limits, access by path without exceptions, canonical text.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/array.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/error.h"

namespace base {
namespace json = boost::json;

// Memory for the documents of one request: taking is a step of a pointer, and all of it is freed at once. For values that are made and dropped together.
// A value says at its making where its memory is: parse_json(text, depth, arena), value(other, arena), value(other, other.storage()). Moving such a
// value makes another one in the arena; none may outlive it. Assigning to a value or inserting into one that lives elsewhere copies.
// One strand at a time.
class JsonArena {
 public:
  JsonArena();
  ~JsonArena();
  JsonArena(const JsonArena&) = delete;
  JsonArena& operator=(const JsonArena&) = delete;
  operator json::storage_ptr() { return &resource_; }

 private:
  struct Block;
  Block* const block_;  // from a small pool
  json::monotonic_resource resource_;
};

// Parses one JSON document; 400 with position on malformed text, on depth over max_depth and on duplicate keys' last value wins.
Result<json::value> parse_json(std::string_view text, size_t max_depth = 64, json::storage_ptr storage = {});
// Compact text.
std::string to_text(const json::value& v);
std::string to_text(const json::object& v);

// Member lookup that never throws: null pointers mean "absent or of another type".
const json::value* find(const json::value& v, std::string_view dotted_path);
const json::object* find_object(const json::value& v, std::string_view dotted_path);
const json::array* find_array(const json::value& v, std::string_view dotted_path);
std::string_view get_string(const json::value& v, std::string_view dotted_path, std::string_view otherwise = {});
int64_t get_int(const json::value& v, std::string_view dotted_path, int64_t otherwise = 0);
bool get_bool(const json::value& v, std::string_view dotted_path, bool otherwise = false);
// The object at the path, made where absent (replacing what is not an object).
json::object& make_object(json::value& v, std::string_view dotted_path);

}  // namespace base
