#include "api/openapi.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "api/openapi/gnostic.h"
#include "api/schema_text.h"
#include "api/wire.h"
#include "base/bytes.h"

namespace api {

namespace {

using namespace openapi;
namespace json = base::json;

// Kinds by their type.
std::map<const Type*, std::vector<const Kind*>> kinds_by_type() {
  std::map<const Type*, std::vector<const Kind*>> out;
  for (const Kind& k : Schema::builtin().kinds()) out[k.type].push_back(&k);
  return out;
}

// Named object types, each once.
template <class F>
void each_definition(Dialect d, const OpenApiInput& in, F f) {
  auto kinds = kinds_by_type();
  const Descriptions descriptions;
  for (const Type& t : Schema::builtin().types()) {
    if (t.form != Form::object || t.name.empty() || Schema::builtin().type(definition_name(t)) != &t) continue;
    f(definition_name(t), definition(d, descriptions, t, kinds[&t]));
  }
  for (auto& [name, node] : scalar_definitions(d)) f(name, std::move(node));
  for (const auto& c : in.custom) f(definition_name(*c), definition(d, *c));
}

object custom_list(Dialect d, const CustomKind& c) {
  std::string prefix = d == Dialect::v2 ? "#/definitions/" : "#/components/schemas/";
  object properties{{"apiVersion", object{{"type", "string"}}}, {"kind", object{{"type", "string"}}}};
  properties["metadata"] = object{{"$ref", prefix + definition_name(Schema::list_meta())}};
  properties["items"] = object{{"type", "array"}, {"items", object{{"$ref", prefix + definition_name(c)}}}};
  object gvk{{"group", c.kind.group}, {"kind", c.kind.list_kind}, {"version", c.kind.version}};
  return {{"type", "object"},
          {"required", array{"items"}},
          {"properties", std::move(properties)},
          {"x-kubernetes-group-version-kind", array{std::move(gvk)}}};
}

template <class F>
void each_path(Dialect d, const OpenApiInput& in, F f) {
  for (const Kind& k : Schema::builtin().kinds()) paths_of(d, k, definition_name(*k.type), f);
  for (const auto& c : in.custom) paths_of(d, c->kind, definition_name(*c), f);
}

// Writes members of an object one by one, so that no document exists as a DOM.
class Members {
 public:
  explicit Members(std::string& out) : out_(out) { out_ += '{'; }
  ~Members() { out_ += '}'; }
  void add(std::string_view name, const value& v) {
    key(name);
    out_ += base::to_text(v);
  }
  void key(std::string_view name) {
    if (!first_) out_ += ',';
    first_ = false;
    out_ += base::to_text(value(json::string_view(name.data(), name.size())));
    out_ += ':';
  }

 private:
  std::string& out_;
  bool first_ = true;
};

object info(const OpenApiInput& in) { return {{"title", "Kubernetes"}, {"version", in.version}}; }

// Of what the documents are made of, so that a hash in the index stands for a content.
const std::string& schema_digest() {
  static const std::string digest = [] {
    std::string all;
    for (std::string_view text : schema_texts()) all += text;
    return base::sha256_hex(all);
  }();
  return digest;
}

}  // namespace

std::string openapi_v2_json(const OpenApiInput& in) {
  std::string out;
  {
    Members document(out);
    document.add("swagger", "2.0");
    document.add("info", info(in));
    document.key("paths");
    {
      Members paths(out);
      each_path(Dialect::v2, in, [&](const std::string& path, object item) { paths.add(path, std::move(item)); });
    }
    document.key("definitions");
    {
      Members definitions(out);
      each_definition(Dialect::v2, in, [&](const std::string& name, object node) { definitions.add(name, std::move(node)); });
      for (const auto& c : in.custom) definitions.add(definition_name(*c) + "List", custom_list(Dialect::v2, *c));
    }
  }
  return out;
}

std::string openapi_v2_protobuf(const OpenApiInput& in) {
  std::string out, about, paths, definitions;
  wire::bytes(out, 1, "2.0");
  wire::bytes(about, 1, "Kubernetes");
  wire::bytes(about, 2, in.version);
  wire::bytes(out, 2, about);
  each_path(Dialect::v2, in, [&](const std::string& path, const object& item) {
    std::string named;
    wire::bytes(named, 1, path);
    wire::bytes(named, 2, proto_path_item(item));
    wire::bytes(paths, 2, named);
  });
  wire::bytes(out, 8, paths);
  auto define = [&](const std::string& name, const object& node) {
    std::string named;
    wire::bytes(named, 1, name);
    wire::bytes(named, 2, proto_schema(node));
    wire::bytes(definitions, 1, named);
  };
  each_definition(Dialect::v2, in, define);
  for (const auto& c : in.custom) define(definition_name(*c) + "List", custom_list(Dialect::v2, *c));
  wire::bytes(out, 9, definitions);
  return out;
}

std::string openapi_v3_hash(const OpenApiInput& in, std::string_view path) {
  std::string salt;
  for (const auto& c : in.custom)
    if (group_path(c->kind) == path && c->kind.type->constraints) salt += c->kind.kind + base::to_text(*c->kind.type->constraints);
  return base::sha256_hex(fmt::format("{}/{}/{}{}", in.version, schema_digest(), path, salt));
}

std::string openapi_v3_index(const OpenApiInput& in) {
  std::set<std::string> served;
  for (const Kind& k : Schema::builtin().kinds()) {
    if (!k.plural.empty()) served.insert(group_path(k));
  }
  for (const auto& c : in.custom) served.insert(group_path(c->kind));
  std::string out;
  {
    Members document(out);
    document.key("paths");
    Members paths(out);
    for (const std::string& path : served)
      paths.add(path, object{{"serverRelativeURL", fmt::format("/openapi/v3/{}?hash={}", path, openapi_v3_hash(in, path))}});
  }
  return out;
}

namespace {

// The document of one group and version.
class GroupDocument {
 public:
  GroupDocument(const OpenApiInput& in, std::string_view path) : in_(in), path_(path) {
    for (const Kind& k : Schema::builtin().kinds()) {
      bool shared = k.type->package.ends_with(".meta.v1");
      if (k.group.empty() && shared ? (k.kind != "Status" && k.kind != "DeleteOptions" && k.kind != "WatchEvent") : group_path(k) != path)
        continue;
      known_ |= !shared && !k.plural.empty();
      reachable(*k.type, types_);
      for (const Kind* about : subresource_kinds(k)) reachable(*about->type, types_);
    }
    each_custom([&](const CustomKind&) { known_ = true; });
    if (known_) {
      reachable(Schema::object_meta(), types_);
      reachable(Schema::list_meta(), types_);
    }
  }
  bool known() const { return known_; }

  template <class F>
  void each_path(F f) const {
    for (const Kind& k : Schema::builtin().kinds()) {
      if (group_path(k) == path_) paths_of(Dialect::v3, k, definition_name(*k.type), f);
    }
    each_custom([&](const CustomKind& c) { paths_of(Dialect::v3, c.kind, definition_name(c), f); });
  }

  template <class F>
  void each_schema(F f) const {
    auto kinds = kinds_by_type();
    const Descriptions descriptions;
    for (const Type* t : types_) f(definition_name(*t), definition(Dialect::v3, descriptions, *t, kinds[t]));
    for (auto& [name, node] : scalar_definitions(Dialect::v3)) f(name, std::move(node));
    each_custom([&](const CustomKind& c) {
      f(definition_name(c), definition(Dialect::v3, c));
      f(definition_name(c) + "List", custom_list(Dialect::v3, c));
    });
  }

 private:
  template <class F>
  void each_custom(F f) const {
    for (const auto& c : in_.custom)
      if (group_path(c->kind) == path_) f(*c);
  }
  const OpenApiInput& in_;
  std::string_view path_;
  std::vector<const Type*> types_;
  bool known_ = false;
};

}  // namespace

std::string openapi_v3_document(const OpenApiInput& in, std::string_view path) {
  GroupDocument group(in, path);
  if (!group.known()) return {};
  std::string out;
  {
    Members document(out);
    document.add("openapi", "3.0.0");
    document.add("info", info(in));
    document.key("paths");
    {
      Members paths(out);
      group.each_path([&](const std::string& p, object item) { paths.add(p, std::move(item)); });
    }
    document.key("components");
    Members components(out);
    components.key("schemas");
    Members schemas(out);
    group.each_schema([&](const std::string& name, object node) { schemas.add(name, std::move(node)); });
  }
  return out;
}

std::string openapi_v3_protobuf(const OpenApiInput& in, std::string_view path) {
  GroupDocument group(in, path);
  if (!group.known()) return {};
  std::string out, about, paths, schemas, components;
  wire::bytes(out, 1, "3.0.0");
  wire::bytes(about, 1, "Kubernetes");
  wire::bytes(about, 6, in.version);
  wire::bytes(out, 2, about);
  group.each_path([&](const std::string& p, const object& item) { put_named(paths, 1, p, proto3_path_item(item)); });
  wire::bytes(out, 4, paths);
  group.each_schema([&](const std::string& name, const object& node) { put_named(schemas, 1, name, proto3_schema(node)); });
  wire::bytes(components, 1, schemas);
  wire::bytes(out, 5, components);
  return out;
}

}  // namespace api
