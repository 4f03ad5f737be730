// The codec walks a descriptor table and the bytes of the struct in step; nothing here is instantiated per type.
#include "api/codec.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <limits>

#include "api/descriptor.h"
#include "base/bytes.h"

namespace api {
namespace {

namespace json = base::json;

template <class T>
T& as(void* p) {
  return *static_cast<T*>(p);
}
template <class T>
const T& as(const void* p) {
  return *static_cast<const T*>(p);
}

// Where decoding stands, for error messages; linked through the stack so that the good case costs nothing.
struct Path {
  const Path* up;
  std::string_view name;
  size_t index = SIZE_MAX;

  std::string text() const {
    std::string s = up ? up->text() : std::string();
    if (index != SIZE_MAX) return s + fmt::format("[{}]", index);
    if (!s.empty() && !name.empty()) s += '.';
    return s.append(name);
  }
};

base::Failure wrong_type(const Path& path, std::string_view expected) {
  std::string where = path.text();
  return base::bad_request(fmt::format("{}: expected {}", where.empty() ? "object" : where, expected));
}

base::Result<> decode_struct(const Descriptor& d, const json::object& from, void* into, const Path* up);

base::Result<int64_t> integer(const json::value& v, const Path& path, int64_t low, int64_t high) {
  int64_t n = 0;
  if (const int64_t* i = v.if_int64()) {
    n = *i;
  } else if (const double* f = v.if_double(); f && *f == static_cast<double>(static_cast<int64_t>(*f)) && *f > -9e15 && *f < 9e15) {
    n = static_cast<int64_t>(*f);
  } else {
    return wrong_type(path, "integer");
  }
  if (n < low || n > high) return wrong_type(path, "integer in range");
  return n;
}

base::Result<int32_t> integer32(const json::value& v, const Path& path) {
  TRY(int64_t n, integer(v, path, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
  return static_cast<int32_t>(n);
}

base::Result<int64_t> integer64(const json::value& v, const Path& path) {
  return integer(v, path, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
}

base::Result<> decode_string(Shape shape, const json::value& v, std::string& into, const Path& path) {
  const json::string* s = v.if_string();
  if (!s) {
    if (shape != Shape::quantity || !v.is_number()) return wrong_type(path, "string");
    into = json::serialize(v);
    return {};
  }
  if (shape == Shape::bytes) {
    auto raw = base::base64_decode(*s);
    if (!raw) return wrong_type(path, "base64");
    into = std::move(*raw);
  } else {
    into.assign(s->data(), s->size());
  }
  return {};
}

base::Result<> decode_field(const FieldType& t, const json::value& v, void* into, const Path& path) {
  switch (t.shape) {
    case Shape::string:
    case Shape::bytes:
    case Shape::time:
    case Shape::quantity:
      return decode_string(t.shape, v, as<std::string>(into), path);
    case Shape::boolean:
    case Shape::opt_boolean: {
      const bool* b = v.if_bool();
      if (!b) return wrong_type(path, "boolean");
      if (t.shape == Shape::boolean) as<bool>(into) = *b;
      else as<std::optional<bool>>(into) = *b;
      return {};
    }
    case Shape::int32: {
      TRY(as<int32_t>(into), integer32(v, path));
      return {};
    }
    case Shape::opt_int32: {
      TRY(as<std::optional<int32_t>>(into), integer32(v, path));
      return {};
    }
    case Shape::int64: {
      TRY(as<int64_t>(into), integer64(v, path));
      return {};
    }
    case Shape::opt_int64: {
      TRY(as<std::optional<int64_t>>(into), integer64(v, path));
      return {};
    }
    case Shape::float64:
    case Shape::opt_float64: {
      if (!v.is_number()) return wrong_type(path, "number");
      double n = v.to_number<double>();
      if (t.shape == Shape::float64) as<double>(into) = n;
      else as<std::optional<double>>(into) = n;
      return {};
    }
    case Shape::int_or_string: {
      if (const json::string* s = v.if_string()) {
        as<IntOrString>(into) = IntOrString::of(std::string(*s));
        return {};
      }
      TRY(int32_t n, integer32(v, path));
      as<IntOrString>(into) = IntOrString::of(n);
      return {};
    }
    case Shape::raw_json:
      as<RawJson>(into).text = base::to_text(v);
      return {};
    case Shape::object:
    case Shape::box: {
      const json::object* o = v.if_object();
      if (!o) return wrong_type(path, "object");
      return decode_struct(t.descriptor(), *o, t.shape == Shape::box ? t.emplace(into) : into, &path);
    }
    case Shape::list: {
      const json::array* a = v.if_array();
      if (!a) return wrong_type(path, "array");
      t.reserve(into, a->size());
      for (size_t i = 0; i < a->size(); ++i) {
        void* slot = t.append(into);
        if ((*a)[i].is_null() && t.element->shape != Shape::raw_json) continue;
        CHECK_OK(decode_field(*t.element, (*a)[i], slot, Path{&path, {}, i}));
      }
      return {};
    }
    case Shape::map: {
      const json::object* o = v.if_object();
      if (!o) return wrong_type(path, "object");
      for (const auto& [key, value] : *o) {
        void* slot = t.insert(into, std::string_view(key));
        if (value.is_null() && t.element->shape != Shape::raw_json) continue;
        CHECK_OK(decode_field(*t.element, value, slot, Path{&path, std::string_view(key)}));
      }
      return {};
    }
  }
  return {};
}

base::Result<> decode_struct(const Descriptor& d, const json::object& from, void* into, const Path* up) {
  size_t next = 0;  // members usually come in the order of the table
  for (const auto& [key, value] : from) {
    if (value.is_null()) continue;
    std::string_view name(key);
    const FieldInfo* field = nullptr;
    for (size_t i = 0; i < d.fields.size() && !field; ++i) {
      const FieldInfo& candidate = d.fields[next + i < d.fields.size() ? next + i : next + i - d.fields.size()];
      if (candidate.name == name) field = &candidate;
    }
    if (!field) continue;
    next = static_cast<size_t>(field - d.fields.data()) + 1;
    CHECK_OK(decode_field(*field->type, value, static_cast<char*>(into) + field->offset, Path{up, field->name}));
  }
  return {};
}

void write_string(std::string& out, std::string_view s) {
  static constexpr char hex[] = "0123456789abcdef";
  out += '"';
  size_t done = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    auto c = static_cast<unsigned char>(s[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(s, done, i - done);
    done = i + 1;
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        out += "\\u00";
        out += hex[c >> 4];
        out += hex[c & 15];
    }
  }
  out.append(s, done);
  out += '"';
}

template <class N>
void write_number(std::string& out, N n) {
  fmt::format_to(std::back_inserter(out), FMT_COMPILE("{}"), n);
}

// Whether a value is left out when it is not required.
bool absent(const FieldType& t, const void* p) {
  switch (t.shape) {
    case Shape::string:
    case Shape::bytes:
    case Shape::time:
    case Shape::quantity: return as<std::string>(p).empty();
    case Shape::opt_boolean: return !as<std::optional<bool>>(p);
    case Shape::opt_int32: return !as<std::optional<int32_t>>(p);
    case Shape::opt_int64: return !as<std::optional<int64_t>>(p);
    case Shape::opt_float64: return !as<std::optional<double>>(p);
    case Shape::int_or_string: return !as<IntOrString>(p);
    case Shape::raw_json: return as<RawJson>(p).text.empty();
    case Shape::box: return !t.get(p);
    case Shape::list:
    case Shape::map: return t.size(p) == 0;
    default: return false;
  }
}

void write_struct(std::string& out, const Descriptor& d, const void* from);

void write_value(std::string& out, const FieldType& t, const void* p) {
  switch (t.shape) {
    case Shape::string:
    case Shape::quantity: return write_string(out, as<std::string>(p));
    case Shape::time:
      if (as<std::string>(p).empty()) out += "null";
      else write_string(out, as<std::string>(p));
      return;
    case Shape::bytes: return write_string(out, base::base64_encode(as<std::string>(p)));
    case Shape::boolean: out += as<bool>(p) ? "true" : "false"; return;
    case Shape::opt_boolean: out += as<std::optional<bool>>(p).value_or(false) ? "true" : "false"; return;
    case Shape::int32: return write_number(out, as<int32_t>(p));
    case Shape::opt_int32: return write_number(out, as<std::optional<int32_t>>(p).value_or(0));
    case Shape::int64: return write_number(out, as<int64_t>(p));
    case Shape::opt_int64: return write_number(out, as<std::optional<int64_t>>(p).value_or(0));
    case Shape::float64: return write_number(out, as<double>(p));
    case Shape::opt_float64: return write_number(out, as<std::optional<double>>(p).value_or(0));
    case Shape::int_or_string:
      if (as<IntOrString>(p).is_string) write_string(out, as<IntOrString>(p).text);
      else write_number(out, as<IntOrString>(p).number);
      return;
    case Shape::raw_json:
      if (as<RawJson>(p).text.empty()) out += "null";
      else out += as<RawJson>(p).text;
      return;
    case Shape::object: return write_struct(out, t.descriptor(), p);
    case Shape::box:
      if (const void* inner = t.get(p)) write_struct(out, t.descriptor(), inner);
      else out += "{}";
      return;
    case Shape::list: {
      out += '[';
      for (size_t i = 0, n = t.size(p); i < n; ++i) {
        if (i) out += ',';
        write_value(out, *t.element, t.at(p, i));
      }
      out += ']';
      return;
    }
    case Shape::map: {
      out += '{';
      struct Context {
        std::string& out;
        const FieldType& element;
        bool first;
      } context{out, *t.element, true};
      t.each(p, [](void* c, const std::string& key, const void* value) {
        auto& ctx = as<Context>(c);
        if (!ctx.first) ctx.out += ',';
        ctx.first = false;
        write_string(ctx.out, key);
        ctx.out += ':';
        write_value(ctx.out, ctx.element, value);
      }, &context);
      out += '}';
      return;
    }
  }
}

void write_struct(std::string& out, const Descriptor& d, const void* from) {
  out += '{';
  bool first = true;
  if (d.kind) {
    out += "\"apiVersion\":\"";
    if (!d.kind->group.empty()) out.append(d.kind->group).append("/");
    out.append(d.kind->version).append("\",\"kind\":\"").append(d.kind->kind).append("\"");
    first = false;
  }
  for (const FieldInfo& f : d.fields) {
    const void* p = static_cast<const char*>(from) + f.offset;
    if (!f.required && absent(*f.type, p)) continue;
    size_t start = out.size();
    if (!first) out += ',';
    write_string(out, f.name);
    out += ':';
    size_t value = out.size();
    write_value(out, *f.type, p);
    if (!f.required && f.type->shape == Shape::object && out.size() == value + 2) {
      out.resize(start);  // an empty struct says nothing
      continue;
    }
    first = false;
  }
  out += '}';
}

}  // namespace

base::Result<> decode_into(const Descriptor& d, const json::value& from, void* into) {
  const json::object* o = from.if_object();
  if (!o) return wrong_type(Path{nullptr, {}}, "a JSON object");
  return decode_struct(d, *o, into, nullptr);
}

base::Result<> decode_text_into(const Descriptor& d, std::string_view text, void* into) {
  unsigned char buffer[16 * 1024];
  json::monotonic_resource memory(buffer);
  json::parse_options options;
  options.max_depth = 64;
  json::error_code ec;
  json::value v = json::parse({text.data(), text.size()}, ec, &memory, options);
  if (ec) {
    TRY(v, base::parse_json(text));  // for the position in the message
  }
  return decode_into(d, v, into);
}

json::value encode_value(const Descriptor& d, const void* from) {
  json::error_code ec;
  return json::parse(encode_text(d, from), ec);
}

std::string encode_text(const Descriptor& d, const void* from) {
  std::string out;
  out.reserve(1024);
  write_struct(out, d, from);
  return out;
}

}  // namespace api
