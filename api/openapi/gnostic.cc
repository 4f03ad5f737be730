// The protobuf form of version 2 documents, as gnostic defines it (openapiv2/OpenAPIv2.proto): older kubectl asks for nothing else.
#include "api/openapi/gnostic.h"
#include "api/wire.h"

namespace api::openapi {
std::string_view text_of(const value& v) { return v.is_string() ? std::string_view(v.get_string()) : std::string_view(); }

std::string proto_any(const value& v) {
  std::string out;
  wire::bytes(out, 2, base::to_text(v) + "\n");
  return out;
}

void put_named(std::string& out, uint32_t number, std::string_view name, std::string_view message) {
  std::string named;
  wire::bytes(named, 1, name);
  wire::bytes(named, 2, message);
  wire::bytes(out, number, named);
}

void put_extensions(std::string& out, uint32_t number, const object& o) {
  for (const auto& [key, v] : o)
    if (std::string_view(key).starts_with("x-")) put_named(out, number, key, proto_any(v));
}

void put_text(std::string& out, uint32_t number, const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  if (v && v->is_string() && !v->get_string().empty()) wire::bytes(out, number, v->get_string());
}

void put_number(std::string& out, uint32_t number, const object& o, std::string_view name, bool real) {
  const value* v = o.if_contains(name);
  if (!v || !v->is_number()) return;
  if (real) wire::real(out, number, v->to_number<double>());
  else if (v->is_int64()) wire::integer(out, number, v->get_int64());
}

void put_flag(std::string& out, uint32_t number, const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  if (v && v->is_bool() && v->get_bool()) wire::integer(out, number, 1);
}

namespace {

std::string parameter(const object& p) {
  std::string_view where = text_of(p.at("in"));
  std::string item, message;
  if (where == "body") {
    put_text(item, 1, p, "description");
    put_text(item, 2, p, "name");
    put_text(item, 3, p, "in");
    put_flag(item, 4, p, "required");
    if (const value* s = p.if_contains("schema"); s && s->is_object()) wire::bytes(item, 5, proto_schema(s->get_object()));
    wire::bytes(message, 1, item);
  } else {
    // Query parameters have one more field than path parameters, before the type.
    uint32_t shift = where == "query" ? 1 : 0;
    put_flag(item, 1, p, "required");
    put_text(item, 2, p, "in");
    put_text(item, 3, p, "description");
    put_text(item, 4, p, "name");
    put_text(item, 5 + shift, p, "type");
    put_flag(item, 19 + shift, p, "uniqueItems");
    std::string other;
    wire::bytes(other, where == "query" ? 3 : 4, item);
    wire::bytes(message, 2, other);
  }
  std::string out;
  wire::bytes(out, 1, message);
  return out;
}

std::string operation(const object& o) {
  std::string out;
  put_text(out, 5, o, "operationId");
  static constexpr std::pair<std::string_view, uint32_t> lists[] = {{"produces", 6}, {"consumes", 7}};
  for (auto [name, number] : lists) {
    if (const value* v = o.if_contains(name); v && v->is_array()) {
      for (const value& e : v->get_array()) wire::bytes(out, number, text_of(e));
    }
  }
  if (const value* v = o.if_contains("parameters"); v && v->is_array()) {
    for (const value& p : v->get_array()) wire::bytes(out, 8, parameter(p.get_object()));
  }
  std::string responses;
  if (const value* v = o.if_contains("responses"); v && v->is_object()) {
    for (const auto& [code, r] : v->get_object()) {
      std::string response, item, holder, named;
      put_text(response, 1, r.get_object(), "description");
      if (const value* s = r.get_object().if_contains("schema"); s && s->is_object()) {
        wire::bytes(item, 1, proto_schema(s->get_object()));
        wire::bytes(response, 2, item);
      }
      wire::bytes(holder, 1, response);
      wire::bytes(named, 1, code);
      wire::bytes(named, 2, holder);
      wire::bytes(responses, 1, named);
    }
  }
  wire::bytes(out, 9, responses);
  put_extensions(out, 13, o);
  return out;
}

}  // namespace

std::string proto_schema(const object& o) {
  std::string out;
  put_text(out, 1, o, "$ref");
  put_text(out, 2, o, "format");
  put_text(out, 3, o, "title");
  put_text(out, 4, o, "description");
  if (const value* v = o.if_contains("default")) wire::bytes(out, 5, proto_any(*v));
  put_number(out, 6, o, "multipleOf", true);
  put_number(out, 7, o, "maximum", true);
  put_flag(out, 8, o, "exclusiveMaximum");
  put_number(out, 9, o, "minimum", true);
  put_flag(out, 10, o, "exclusiveMinimum");
  put_number(out, 11, o, "maxLength", false);
  put_number(out, 12, o, "minLength", false);
  put_text(out, 13, o, "pattern");
  put_number(out, 14, o, "maxItems", false);
  put_number(out, 15, o, "minItems", false);
  put_flag(out, 16, o, "uniqueItems");
  put_number(out, 17, o, "maxProperties", false);
  put_number(out, 18, o, "minProperties", false);
  if (const value* v = o.if_contains("required"); v && v->is_array()) {
    for (const value& e : v->get_array()) wire::bytes(out, 19, text_of(e));
  }
  if (const value* v = o.if_contains("enum"); v && v->is_array()) {
    for (const value& e : v->get_array()) wire::bytes(out, 20, proto_any(e));
  }
  if (const value* v = o.if_contains("additionalProperties")) {
    std::string item;
    if (const object* s = v->if_object()) wire::bytes(item, 1, proto_schema(*s));
    else wire::integer(item, 2, v->is_bool() && v->get_bool());
    wire::bytes(out, 21, item);
  }
  if (const value* v = o.if_contains("type"); v && v->is_string()) {
    std::string item;
    wire::bytes(item, 1, v->get_string());
    wire::bytes(out, 22, item);
  }
  if (const value* v = o.if_contains("items"); v && v->is_object()) {
    std::string item;
    wire::bytes(item, 1, proto_schema(v->get_object()));
    wire::bytes(out, 23, item);
  }
  if (const value* v = o.if_contains("allOf"); v && v->is_array()) {
    for (const value& e : v->get_array()) {
      if (e.is_object()) wire::bytes(out, 24, proto_schema(e.get_object()));
    }
  }
  if (const value* v = o.if_contains("properties"); v && v->is_object()) {
    std::string properties;
    for (const auto& [key, p] : v->get_object()) {
      std::string named;
      wire::bytes(named, 1, key);
      if (p.is_object()) wire::bytes(named, 2, proto_schema(p.get_object()));
      wire::bytes(properties, 1, named);
    }
    wire::bytes(out, 25, properties);
  }
  put_extensions(out, 31, o);
  return out;
}

std::string proto_path_item(const object& item) {
  static constexpr std::pair<std::string_view, uint32_t> verbs[] = {{"get", 2},     {"put", 3},  {"post", 4}, {"delete", 5},
                                                                    {"options", 6}, {"head", 7}, {"patch", 8}};
  std::string out;
  for (auto [verb, number] : verbs) {
    if (const value* v = item.if_contains(verb); v && v->is_object()) wire::bytes(out, number, operation(v->get_object()));
  }
  if (const value* v = item.if_contains("parameters"); v && v->is_array()) {
    for (const value& p : v->get_array()) wire::bytes(out, 9, parameter(p.get_object()));
  }
  return out;
}

}  // namespace api::openapi
