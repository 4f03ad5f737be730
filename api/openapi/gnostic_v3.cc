// The protobuf form of version 3 documents, as gnostic defines it (openapiv3/OpenAPIv3.proto).
#include "api/openapi/gnostic.h"
#include "api/wire.h"

namespace api::openapi {
namespace {

// SchemaOrReference.
std::string schema_or_reference(const object& o);

void put_schemas(std::string& out, uint32_t number, const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  if (!v || !v->is_array()) return;
  for (const value& e : v->get_array())
    if (e.is_object()) wire::bytes(out, number, schema_or_reference(e.get_object()));
}

void put_default(std::string& out, const value& v) {
  std::string item;
  if (v.is_number()) wire::real(item, 1, v.to_number<double>());
  else if (const bool* b = v.if_bool()) wire::integer(item, 2, *b);
  else if (v.is_string()) wire::bytes(item, 3, text_of(v));
  if (!item.empty()) wire::bytes(out, 33, item);
}

std::string schema(const object& o) {
  std::string out;
  put_flag(out, 1, o, "nullable");
  put_text(out, 9, o, "title");
  put_number(out, 10, o, "multipleOf", true);
  put_number(out, 11, o, "maximum", true);
  put_flag(out, 12, o, "exclusiveMaximum");
  put_number(out, 13, o, "minimum", true);
  put_flag(out, 14, o, "exclusiveMinimum");
  put_number(out, 15, o, "maxLength", false);
  put_number(out, 16, o, "minLength", false);
  put_text(out, 17, o, "pattern");
  put_number(out, 18, o, "maxItems", false);
  put_number(out, 19, o, "minItems", false);
  put_flag(out, 20, o, "uniqueItems");
  put_number(out, 21, o, "maxProperties", false);
  put_number(out, 22, o, "minProperties", false);
  if (const value* v = o.if_contains("required"); v && v->is_array())
    for (const value& e : v->get_array()) wire::bytes(out, 23, text_of(e));
  if (const value* v = o.if_contains("enum"); v && v->is_array())
    for (const value& e : v->get_array()) wire::bytes(out, 24, proto_any(e));
  put_text(out, 25, o, "type");
  put_schemas(out, 26, o, "allOf");
  put_schemas(out, 27, o, "oneOf");
  put_schemas(out, 28, o, "anyOf");
  if (const value* v = o.if_contains("not"); v && v->is_object()) wire::bytes(out, 29, schema(v->get_object()));
  if (const value* v = o.if_contains("items"); v && v->is_object()) {
    std::string item;
    wire::bytes(item, 1, schema_or_reference(v->get_object()));
    wire::bytes(out, 30, item);
  }
  if (const value* v = o.if_contains("properties"); v && v->is_object()) {
    std::string properties;
    for (const auto& [key, p] : v->get_object())
      if (p.is_object()) put_named(properties, 1, key, schema_or_reference(p.get_object()));
    wire::bytes(out, 31, properties);
  }
  if (const value* v = o.if_contains("additionalProperties")) {
    std::string item;
    if (const object* s = v->if_object()) wire::bytes(item, 1, schema_or_reference(*s));
    else wire::integer(item, 2, v->is_bool() && v->get_bool());
    wire::bytes(out, 32, item);
  }
  if (const value* v = o.if_contains("default")) put_default(out, *v);
  put_text(out, 34, o, "description");
  put_text(out, 35, o, "format");
  put_extensions(out, 36, o);
  return out;
}

std::string schema_or_reference(const object& o) {
  std::string out;
  if (const value* r = o.if_contains("$ref")) {
    std::string reference;
    wire::bytes(reference, 1, text_of(*r));
    wire::bytes(out, 2, reference);
  } else {
    wire::bytes(out, 1, schema(o));
  }
  return out;
}

// MediaTypes.
std::string content(const object& types) {
  std::string out;
  for (const auto& [type, v] : types) {
    std::string media;
    if (const value* s = v.is_object() ? v.get_object().if_contains("schema") : nullptr; s && s->is_object())
      wire::bytes(media, 1, schema_or_reference(s->get_object()));
    put_named(out, 1, type, media);
  }
  return out;
}

void put_content(std::string& out, uint32_t number, const object& o) {
  if (const value* v = o.if_contains("content"); v && v->is_object()) wire::bytes(out, number, content(v->get_object()));
}

// Fields of the wrapper X-OrReference whose first member is X.
void put_wrapped(std::string& out, uint32_t number, std::string_view message) {
  std::string wrapper;
  wire::bytes(wrapper, 1, message);
  wire::bytes(out, number, wrapper);
}

void put_parameters(std::string& out, uint32_t number, const object& o) {
  const value* list = o.if_contains("parameters");
  if (!list || !list->is_array()) return;
  for (const value& e : list->get_array()) {
    const object& p = e.get_object();
    std::string parameter;
    put_text(parameter, 1, p, "name");
    put_text(parameter, 2, p, "in");
    put_text(parameter, 3, p, "description");
    put_flag(parameter, 4, p, "required");
    if (const value* s = p.if_contains("schema"); s && s->is_object()) wire::bytes(parameter, 10, schema_or_reference(s->get_object()));
    put_wrapped(out, number, parameter);
  }
}

std::string operation(const object& o) {
  std::string out;
  put_text(out, 5, o, "operationId");
  put_parameters(out, 6, o);
  if (const value* v = o.if_contains("requestBody"); v && v->is_object()) {
    std::string body;
    put_text(body, 1, v->get_object(), "description");
    put_content(body, 2, v->get_object());
    put_flag(body, 3, v->get_object(), "required");
    put_wrapped(out, 7, body);
  }
  std::string responses;
  if (const value* v = o.if_contains("responses"); v && v->is_object()) {
    for (const auto& [code, r] : v->get_object()) {
      std::string response, holder;
      put_text(response, 1, r.get_object(), "description");
      put_content(response, 3, r.get_object());
      wire::bytes(holder, 1, response);
      put_named(responses, 2, code, holder);
    }
  }
  wire::bytes(out, 8, responses);
  put_extensions(out, 13, o);
  return out;
}

}  // namespace

std::string proto3_schema(const object& o) { return schema_or_reference(o); }

std::string proto3_path_item(const object& item) {
  static constexpr std::pair<std::string_view, uint32_t> verbs[] = {{"get", 4},     {"put", 5},  {"post", 6}, {"delete", 7},
                                                                     {"options", 8}, {"head", 9}, {"patch", 10}};
  std::string out;
  for (auto [verb, number] : verbs)
    if (const value* v = item.if_contains(verb); v && v->is_object()) wire::bytes(out, number, operation(v->get_object()));
  put_parameters(out, 13, item);
  return out;
}

}  // namespace api::openapi
