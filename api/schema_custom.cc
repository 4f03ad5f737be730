// Types of custom resources from their structural schemas (OpenAPI v3).
#include <fmt/format.h>

#include <set>

#include "api/schema.h"

namespace api {
namespace {

namespace json = base::json;

constexpr int kMaxDepth = 64;

class CustomBuilder {
 public:
  explicit CustomBuilder(CustomKind& into) : into_(into) {}

  base::Result<const Type*> root(const json::object& schema) {
    TRY(Type * t, object(schema, "spec.validation.openAPIV3Schema", 0, true));
    t->has_kind = true;
    bool present = false;
    for (Field& f : t->fields) {
      if (f.name != "metadata") continue;
      f.type = &Schema::object_meta();
      present = true;
    }
    if (!present) {
      Field& f = t->fields.emplace_back();
      f.name = "metadata";
      f.type = &Schema::object_meta();
    }
    std::erase_if(t->fields, [](const Field& f) { return f.name == "apiVersion" || f.name == "kind"; });
    t->constraints = std::make_shared<const json::object>(schema);
    return t;
  }

 private:
  std::string_view keep(std::string_view s) { return into_.texts.emplace_back(s); }

  static bool flag(const json::object& o, std::string_view name) {
    const json::value* v = o.if_contains(name);
    return v && v->is_bool() && v->get_bool();
  }
  static std::string_view text(const json::object& o, std::string_view name) {
    const json::value* v = o.if_contains(name);
    return v && v->is_string() ? std::string_view(v->get_string()) : std::string_view();
  }
  static base::Failure refused(const std::string& path, std::string_view why) {
    return base::fail(422, "Invalid", fmt::format("{}: {}", path, why));
  }

  base::Result<const Type*> node(const json::object& s, const std::string& path, int depth) {
    if (depth > kMaxDepth) return refused(path, "the schema is too deep");
    if (flag(s, "x-kubernetes-int-or-string")) return scalar(Form::int_or_string);
    std::string_view type = text(s, "type");
    if (type == "object") {
      TRY(Type * t, object(s, path, depth, false));
      return t;
    }
    if (type == "array") return list(s, path, depth);
    if (type == "string") return scalar(Form::string);
    if (type == "boolean") return scalar(Form::boolean);
    if (type == "number") return scalar(Form::float64);
    if (type == "integer") return scalar(text(s, "format") == "int32" ? Form::int32 : Form::int64);
    if (flag(s, "x-kubernetes-preserve-unknown-fields")) return scalar(Form::any);
    return refused(path + ".type", "Required value: must not be empty for specified object fields");
  }

  const Type* scalar(Form form) {
    Type& t = into_.types.emplace_back();
    t.form = form;
    return &t;
  }

  base::Result<const Type*> list(const json::object& s, const std::string& path, int depth) {
    const json::value* items = s.if_contains("items");
    if (!items || !items->is_object()) return refused(path + ".items", "Required value: must be specified");
    TRY(const Type* element, node(items->get_object(), path + ".items", depth + 1));
    Type& t = into_.types.emplace_back();
    t.form = Form::list;
    t.element = element;
    std::string_view kind = text(s, "x-kubernetes-list-type");
    if (kind == "set") t.list = ListKind::set;
    if (kind == "map") {
      t.list = ListKind::map;
      if (const json::value* keys = s.if_contains("x-kubernetes-list-map-keys"); keys && keys->is_array()) {
        for (const json::value& k : keys->get_array()) {
          if (k.is_string()) t.keys.emplace_back(k.get_string());
        }
      }
      if (t.keys.empty())
        return refused(path + ".x-kubernetes-list-map-keys", "Required value: must not be empty if x-kubernetes-list-type is map");
    }
    return &t;
  }

  base::Result<Type*> object(const json::object& s, const std::string& path, int depth, bool is_root) {
    Type& t = into_.types.emplace_back();
    t.form = Form::object;
    t.atomic = text(s, "x-kubernetes-map-type") == "atomic";
    t.preserve_unknown = flag(s, "x-kubernetes-preserve-unknown-fields");
    t.embedded_resource = flag(s, "x-kubernetes-embedded-resource");
    t.has_kind = t.embedded_resource;
    const json::value* additional = s.if_contains("additionalProperties");
    if (additional && !is_root && !s.contains("properties")) {
      if (additional->is_object()) {
        TRY(t.element, node(additional->get_object(), path + ".additionalProperties", depth + 1));
        t.form = Form::map;
        return &t;
      }
      if (additional->is_bool() && additional->get_bool()) {
        t.element = scalar(Form::any);
        t.form = Form::map;
        return &t;
      }
    }
    std::set<std::string_view> required;
    if (const json::value* list = s.if_contains("required"); list && list->is_array()) {
      for (const json::value& r : list->get_array()) {
        if (r.is_string()) required.insert(r.get_string());
      }
    }
    const json::value* properties = s.if_contains("properties");
    if (!properties || !properties->is_object()) return &t;
    for (const auto& [key, value] : properties->get_object()) {
      std::string_view name(key);
      std::string at = fmt::format("{}.properties[{}]", path, name);
      const json::object* member = value.if_object();
      if (!member) return refused(at, "Invalid value: must be a schema");
      if (is_root && (name == "metadata" || name == "apiVersion" || name == "kind")) {
        if (name != "metadata") continue;
        Field& f = t.fields.emplace_back();
        f.name = "metadata";
        continue;
      }
      TRY(const Type* type, node(*member, at, depth + 1));
      Field& f = t.fields.emplace_back();
      f.name = keep(name);
      f.type = type;
      f.required = required.contains(name);
      f.nullable = flag(*member, "nullable");
      f.keep_empty = true;
      if (const json::value* d = member->if_contains("default")) f.default_value = *d;
      if (std::string_view doc = text(*member, "description"); !doc.empty()) f.doc = keep(doc);
    }
    return &t;
  }

  CustomKind& into_;
};

std::vector<std::string> texts(const json::value& names, std::string_view member) {
  std::vector<std::string> out;
  if (const json::array* a = base::find_array(names, member)) {
    for (const json::value& v : *a) {
      if (v.is_string()) out.emplace_back(v.get_string());
    }
  }
  return out;
}

}  // namespace

base::Result<std::shared_ptr<const CustomKind>> custom_kind(const json::value& crd_spec, const json::value& version) {
  auto out = std::make_shared<CustomKind>();
  const json::value* names = base::find(crd_spec, "names");
  const json::object* schema = base::find_object(version, "schema.openAPIV3Schema");
  if (!names || !schema) return base::fail(422, "Invalid", "spec.versions.schema.openAPIV3Schema: Required value: schemas are required");
  if (base::get_string(version, "schema.openAPIV3Schema.type") != "object") {
    return base::fail(422, "Invalid", "spec.versions.schema.openAPIV3Schema.type: Invalid value: must be object at the root");
  }
  Kind& k = out->kind;
  k.group = base::get_string(crd_spec, "group");
  k.version = base::get_string(version, "name");
  k.kind = base::get_string(*names, "kind");
  k.plural = base::get_string(*names, "plural");
  k.singular = base::get_string(*names, "singular");
  if (k.singular.empty()) {
    for (char c : k.kind) k.singular += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  k.list_kind = base::get_string(*names, "listKind");
  if (k.list_kind.empty()) k.list_kind = k.kind + "List";
  k.short_names = texts(*names, "shortNames");
  k.categories = texts(*names, "categories");
  k.namespaced = base::get_string(crd_spec, "scope") == "Namespaced";
  if (const json::array* columns = base::find_array(version, "additionalPrinterColumns")) {
    for (const json::value& c : *columns) {
      auto text = [&](std::string_view name) -> std::string_view { return out->texts.emplace_back(base::get_string(c, name)); };
      k.columns.push_back({text("name"), text("type"), text("format"), text("jsonPath"), text("description"),
                           static_cast<int>(base::get_int(c, "priority"))});
    }
  }
  TRY(k.type, CustomBuilder(*out).root(*schema));
  return out;
}

}  // namespace api
