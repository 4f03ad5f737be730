#include "base/json.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <mutex>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/utf8.h"

namespace base {
namespace {

// Calls step for each member name of the path until it returns false.
template <class F>
void each_name(std::string_view path, F step) {
  while (!path.empty()) {
    size_t dot = path.find('.');
    if (!step(path.substr(0, dot))) return;
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
}

// Whether every number can be written again: text such as 1e999 is read as infinity, which JSON has not.
bool finite(const json::value& v) {
  if (const double* d = v.if_double()) return std::isfinite(*d);
  if (const json::array* a = v.if_array()) return std::all_of(a->begin(), a->end(), [](const json::value& e) { return finite(e); });
  if (const json::object* o = v.if_object()) return std::all_of(o->begin(), o->end(), [](const auto& m) { return finite(m.value()); });
  return true;
}

}  // namespace

// Blocks are kept for the next request, a few of them.
struct JsonArena::Block {
  static constexpr size_t size = 64 << 10, most_kept = 16;
  std::byte bytes[size];

  static Block* take() {
    std::scoped_lock lock(mutex);
    if (kept == 0) return static_cast<Block*>(::operator new(sizeof(Block)));
    return pool[--kept];
  }
  static void give(Block* block) {
    {
      std::scoped_lock lock(mutex);
      if (kept < most_kept) {
        pool[kept++] = block;
        return;
      }
    }
    ::operator delete(block);
  }

  static inline std::mutex mutex;
  static inline Block* pool[most_kept];
  static inline size_t kept = 0;
};

JsonArena::JsonArena() : block_(Block::take()), resource_(block_->bytes, Block::size) {}

JsonArena::~JsonArena() {
  resource_.release();
  Block::give(block_);
}

Result<json::value> parse_json(std::string_view text, size_t max_depth, json::storage_ptr storage) {
  json::parse_options options;
  options.max_depth = max_depth;
  boost::system::error_code ec;
  json::value v = json::parse(text, ec, std::move(storage), options);
  if (ec) return bad_request("the JSON is malformed: " + ec.message());
  if (!finite(v)) return bad_request("the JSON is malformed: a number is out of range");
  return v;
}

namespace {

// Strings may come from header fields, protobuf and file names; what cannot be read again must not be written.
std::string readable(std::string text) { return is_utf8(text) ? text : to_utf8(text); }

}  // namespace

std::string to_text(const json::value& v) { return readable(json::serialize(v)); }
std::string to_text(const json::object& v) { return readable(json::serialize(v)); }

const json::value* find(const json::value& v, std::string_view path) {
  const json::value* at = &v;
  each_name(path, [&](std::string_view name) {
    const auto* o = at->if_object();
    at = o ? o->if_contains(name) : nullptr;
    return at != nullptr;
  });
  return at;
}

const json::object* find_object(const json::value& v, std::string_view path) {
  const auto* f = find(v, path);
  return f ? f->if_object() : nullptr;
}

const json::array* find_array(const json::value& v, std::string_view path) {
  const auto* f = find(v, path);
  return f ? f->if_array() : nullptr;
}

std::string_view get_string(const json::value& v, std::string_view path, std::string_view otherwise) {
  const auto* f = find(v, path);
  if (!f || !f->is_string()) return otherwise;
  return f->get_string();
}

int64_t get_int(const json::value& v, std::string_view path, int64_t otherwise) {
  const auto* f = find(v, path);
  if (f && f->is_int64()) return f->get_int64();
  if (f && f->is_uint64()) return static_cast<int64_t>(f->get_uint64());
  return otherwise;
}

bool get_bool(const json::value& v, std::string_view path, bool otherwise) {
  const auto* f = find(v, path);
  return f && f->is_bool() ? f->get_bool() : otherwise;
}

json::object& make_object(json::value& v, std::string_view path) {
  json::value* at = &v;
  if (!at->is_object()) *at = json::object();
  each_name(path, [&](std::string_view name) {
    at = &at->get_object()[name];
    if (!at->is_object()) *at = json::object();
    return true;
  });
  return at->get_object();
}

}  // namespace base
