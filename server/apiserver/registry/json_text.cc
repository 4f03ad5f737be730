#include "server/apiserver/registry/json_text.h"

#include <array>
#include <charconv>

#include "base/utf8.h"

namespace server {
namespace {

// Bytes that must be escaped (RFC 8259, section 7).
constexpr std::array<bool, 256> special = [] {
  std::array<bool, 256> t{};
  for (int c = 0; c < 0x20; ++c) t[static_cast<size_t>(c)] = true;
  t['"'] = t['\\'] = true;
  return t;
}();

void append_escape(std::string& out, unsigned char c) {
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    default: {
      constexpr char digits[] = "0123456789abcdef";
      out += "\\u00";
      out += digits[c >> 4];
      out += digits[c & 15];
    }
  }
}

template <class N>
void append_number(std::string& out, N n) {
  char text[32];
  auto r = std::to_chars(text, text + sizeof text, n);
  out.append(text, r.ptr);
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  // Names from header fields and strings of protobuf may hold anything; the store keeps only what can be read again.
  if (!base::is_utf8(text)) return append_json_string(out, base::to_utf8(text));
  out += '"';
  size_t clean = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    if (!special[c]) continue;
    out.append(text, clean, i - clean);
    append_escape(out, c);
    clean = i + 1;
  }
  out.append(text, clean, text.size() - clean);
  out += '"';
}

void append_json(std::string& out, const base::json::value& v) {
  switch (v.kind()) {
    case base::json::kind::null: out += "null"; return;
    case base::json::kind::bool_: out += v.get_bool() ? "true" : "false"; return;
    case base::json::kind::int64: append_number(out, v.get_int64()); return;
    case base::json::kind::uint64: append_number(out, v.get_uint64()); return;
    case base::json::kind::double_: append_number(out, v.get_double()); return;
    case base::json::kind::string: append_json_string(out, v.get_string()); return;
    case base::json::kind::array: {
      out += '[';
      bool first = true;
      for (const base::json::value& e : v.get_array()) {
        if (!first) out += ',';
        first = false;
        append_json(out, e);
      }
      out += ']';
      return;
    }
    case base::json::kind::object: {
      out += '{';
      bool first = true;
      for (const auto& [name, member] : v.get_object()) {
        if (!first) out += ',';
        first = false;
        append_json_string(out, name);
        out += ':';
        append_json(out, member);
      }
      out += '}';
      return;
    }
  }
}

}  // namespace server
