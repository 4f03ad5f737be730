// Schemas of types: what kubectl explain, validation and generated clients read.
#include <fmt/format.h>

#include <algorithm>

#include "api/openapi/document.h"

namespace api::openapi {
namespace {

namespace json = base::json;

json::string_view sv(std::string_view s) { return {s.data(), s.size()}; }

const std::string kQuantity = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const std::string kIntOrString = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

object reference(Dialect d, const std::string& name) {
  return {{"$ref", (d == Dialect::v2 ? "#/definitions/" : "#/components/schemas/") + name}};
}

void add_list_rules(object& node, const Type& t) {
  if (t.form == Form::list) {
    static constexpr std::string_view names[] = {"atomic", "set", "map"};
    node["x-kubernetes-list-type"] = sv(names[static_cast<size_t>(t.list)]);
    if (t.list == ListKind::map) {
      array keys;
      for (const std::string& k : t.keys) keys.emplace_back(k);
      node["x-kubernetes-list-map-keys"] = std::move(keys);
    }
  }
  if (t.form == Form::map && t.atomic) node["x-kubernetes-map-type"] = "atomic";
  static constexpr std::string_view strategies[] = {"", "merge", "replace", "retainKeys", "merge,retainKeys"};
  if (t.patch != PatchStrategy::none) node["x-kubernetes-patch-strategy"] = sv(strategies[static_cast<size_t>(t.patch)]);
  if (!t.patch_key.empty()) node["x-kubernetes-patch-merge-key"] = t.patch_key;
}

object node_of(Dialect d, const Type& t) {
  switch (t.form) {
    case Form::string: {
      object o{{"type", "string"}};
      if (!t.values.empty()) {
        array values;
        for (std::string_view v : t.values) values.emplace_back(sv(v));
        o["enum"] = std::move(values);
      }
      return o;
    }
    case Form::bytes: return {{"type", "string"}, {"format", "byte"}};
    case Form::time:
    case Form::micro_time: return {{"type", "string"}, {"format", "date-time"}};
    case Form::duration: return {{"type", "string"}};
    case Form::quantity: return reference(d, kQuantity);
    case Form::boolean: return {{"type", "boolean"}};
    case Form::int32: return {{"type", "integer"}, {"format", "int32"}};
    case Form::int64: return {{"type", "integer"}, {"format", "int64"}};
    case Form::float64: return {{"type", "number"}, {"format", "double"}};
    case Form::int_or_string: return reference(d, kIntOrString);
    case Form::any:
    case Form::json_or_union: return {};
    case Form::raw_extension: return {{"type", "object"}};
    case Form::object: return t.name.empty() ? object{{"type", "object"}} : reference(d, definition_name(t));
    case Form::list: {
      object o{{"type", "array"}, {"items", node_of(d, *t.element)}};
      add_list_rules(o, t);
      return o;
    }
    case Form::map: {
      object o{{"type", "object"}, {"additionalProperties", node_of(d, *t.element)}};
      add_list_rules(o, t);
      return o;
    }
  }
  return {};
}

object member(Dialect d, const Descriptions& descriptions, const Type& t, const Field& f) {
  object node = node_of(d, *f.type);
  // In version 3 a reference has no siblings, so it is wrapped.
  if (d == Dialect::v3 && node.contains("$ref")) node = object{{"allOf", array{std::move(node)}}};
  if (std::string_view text = descriptions.field(t, f); !text.empty()) node["description"] = sv(text);
  if (f.type->form == Form::object) add_list_rules(node, *f.type);
  if (!f.default_value.is_null()) node["default"] = f.default_value;
  return node;
}

constexpr std::string_view kApiVersion =
    "Version of the schema in which this object is written, as group/version (v1 for the core group).";
constexpr std::string_view kKind = "Name of the type of this object, in CamelCase; it cannot change.";

array group_version_kinds(const std::vector<const Kind*>& kinds) {
  array out;
  for (const Kind* k : kinds) out.push_back(object{{"group", k->group}, {"kind", k->kind}, {"version", k->version}});
  return out;
}

// Version 2 knows fewer words.
void to_v2(value& v) {
  if (object* o = v.if_object()) {
    for (std::string_view word : {"nullable", "oneOf", "anyOf", "not", "x-kubernetes-validations"}) {
      if (auto it = o->find(word); it != o->end() && !it->value().is_object()) o->stable_erase(it);
    }
    if (const value* any = o->if_contains("x-kubernetes-int-or-string"); any && any->is_bool() && any->get_bool()) {
      (*o)["type"] = "string";
      (*o)["format"] = "int-or-string";
    }
    for (auto& [key, inner] : *o) to_v2(inner);
  } else if (array* a = v.if_array()) {
    for (value& inner : *a) to_v2(inner);
  }
}

}  // namespace

std::vector<std::pair<std::string, object>> scalar_definitions(Dialect d) {
  static constexpr std::string_view quantity = "A number with a unit: 500m, 64Mi, 1.5.",
                                    either = "A number or a string, such as a port's number or name.";
  if (d == Dialect::v2) {
    return {{kQuantity, {{"description", sv(quantity)}, {"type", "string"}}},
            {kIntOrString, {{"description", sv(either)}, {"type", "string"}, {"format", "int-or-string"}}}};
  }
  return {{kQuantity, {{"description", sv(quantity)}, {"oneOf", array{object{{"type", "string"}}, object{{"type", "number"}}}}}},
          {kIntOrString,
           {{"description", sv(either)},
            {"format", "int-or-string"},
            {"oneOf", array{object{{"type", "integer"}}, object{{"type", "string"}}}}}}};
}

std::string definition_name(const Type& t) { return fmt::format("{}.{}", t.package, t.name); }

std::string definition_name(const CustomKind& custom) {
  std::string_view group = custom.kind.group;
  std::string out;
  while (!group.empty()) {
    size_t dot = group.rfind('.');
    out += dot == std::string_view::npos ? group : group.substr(dot + 1);
    out += '.';
    group = dot == std::string_view::npos ? std::string_view() : group.substr(0, dot);
  }
  return out + custom.kind.version + "." + custom.kind.kind;
}

std::string group_path(const Kind& k) { return k.group.empty() ? "api/" + k.version : fmt::format("apis/{}/{}", k.group, k.version); }

object definition(Dialect d, const Descriptions& descriptions, const Type& t, const std::vector<const Kind*>& kinds) {
  object out;
  if (std::string_view text = descriptions.type(t); !text.empty()) out["description"] = sv(text);
  else if (kinds.size() == 1 && t.name.ends_with("List"))
    out["description"] = fmt::format("A list of {} objects.", t.name.substr(0, t.name.size() - 4));
  out["type"] = "object";
  object properties;
  array required;
  if (t.has_kind) {
    properties["apiVersion"] = object{{"description", sv(kApiVersion)}, {"type", "string"}};
    properties["kind"] = object{{"description", sv(kKind)}, {"type", "string"}};
  }
  for (const Field& f : t.fields) {
    properties[f.name] = member(d, descriptions, t, f);
    if (f.required) required.emplace_back(sv(f.name));
  }
  if (!required.empty()) out["required"] = std::move(required);
  if (!properties.empty()) out["properties"] = std::move(properties);
  if (t.atomic) out["x-kubernetes-map-type"] = "atomic";
  if (!kinds.empty()) out["x-kubernetes-group-version-kind"] = group_version_kinds(kinds);
  return out;
}

object definition(Dialect d, const CustomKind& custom) {
  value v = custom.kind.type->constraints ? *custom.kind.type->constraints : object();
  if (d == Dialect::v2) to_v2(v);
  object out = std::move(v.as_object());
  out["type"] = "object";
  value& properties = out["properties"];
  if (!properties.is_object()) properties = object();
  properties.get_object()["apiVersion"] = object{{"description", sv(kApiVersion)}, {"type", "string"}};
  properties.get_object()["kind"] = object{{"description", sv(kKind)}, {"type", "string"}};
  object metadata = reference(d, definition_name(Schema::object_meta()));
  properties.get_object()["metadata"] = d == Dialect::v3 ? object{{"allOf", array{std::move(metadata)}}} : std::move(metadata);
  out["x-kubernetes-group-version-kind"] = group_version_kinds({&custom.kind});
  return out;
}

void reachable(const Type& t, std::vector<const Type*>& out) {
  if (t.element) return reachable(*t.element, out);
  if (t.form != Form::object || t.name.empty()) return;
  const Type* named = Schema::builtin().type(definition_name(t));
  if (!named || std::find(out.begin(), out.end(), named) != out.end()) return;
  out.push_back(named);
  for (const Field& f : named->fields) reachable(*f.type, out);
}

}  // namespace api::openapi
