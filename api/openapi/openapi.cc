#include "api/openapi.h"

#include <fmt/format.h>

#include <map>

#include "api/openapi/document.h"
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
  for (const Type& t : Schema::builtin().types()) {
    if (t.form != Form::object || t.name.empty() || Schema::builtin().type(definition_name(t)) != &t) continue;
    f(definition_name(t), definition(d, t, kinds[&t]));
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
  return {{"type", "object"}, {"required", array{"items"}}, {"properties", std::move(properties)}, {"x-kubernetes-group-version-kind", array{std::move(gvk)}}};
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

const CustomKind* custom_at(const OpenApiInput& in, std::string_view path, size_t from, size_t& index) {
  for (index = from; index < in.custom.size(); ++index) {
    if (group_path(in.custom[index]->kind) == path) return in.custom[index].get();
  }
  return nullptr;
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

std::string openapi_v3_index(const OpenApiInput& in) {
  std::map<std::string, std::string> salts;  // by path
  for (const Kind& k : Schema::builtin().kinds()) {
    if (!k.plural.empty()) salts[group_path(k)];
  }
  for (const auto& c : in.custom) {
    std::string& salt = salts[group_path(c->kind)];
    if (c->kind.type->constraints) salt += c->kind.kind + base::to_text(*c->kind.type->constraints);
  }
  std::string out;
  {
    Members document(out);
    document.key("paths");
    Members paths(out);
    for (const auto& [path, salt] : salts) {
      std::string hash = base::sha256_hex(in.version + "/" + path + salt);
      paths.add(path, object{{"serverRelativeURL", fmt::format("/openapi/v3/{}?hash={}", path, hash)}});
    }
  }
  return out;
}

std::string openapi_v3_document(const OpenApiInput& in, std::string_view path) {
  std::vector<const Type*> types;
  bool known = false;
  for (const Kind& k : Schema::builtin().kinds()) {
    bool shared = k.type->package.ends_with(".meta.v1");
    if (k.group.empty() && shared ? (k.kind != "Status" && k.kind != "DeleteOptions" && k.kind != "WatchEvent") : group_path(k) != path) continue;
    known |= !shared && !k.plural.empty();
    reachable(*k.type, types);
  }
  size_t index = 0;
  if (custom_at(in, path, 0, index)) {
    known = true;
    reachable(Schema::object_meta(), types);
    reachable(Schema::list_meta(), types);
  }
  if (!known) return {};
  auto kinds = kinds_by_type();
  std::string out;
  {
    Members document(out);
    document.add("openapi", "3.0.0");
    document.add("info", info(in));
    document.key("paths");
    {
      Members paths(out);
      auto add = [&](const std::string& p, object item) { paths.add(p, std::move(item)); };
      for (const Kind& k : Schema::builtin().kinds()) {
        if (group_path(k) == path) paths_of(Dialect::v3, k, definition_name(*k.type), add);
      }
      for (const CustomKind* c = custom_at(in, path, 0, index); c; c = custom_at(in, path, index + 1, index)) {
        paths_of(Dialect::v3, c->kind, definition_name(*c), add);
      }
    }
    document.key("components");
    Members components(out);
    components.key("schemas");
    Members schemas(out);
    for (const Type* t : types) schemas.add(definition_name(*t), definition(Dialect::v3, *t, kinds[t]));
    for (auto& [name, node] : scalar_definitions(Dialect::v3)) schemas.add(name, std::move(node));
    for (const CustomKind* c = custom_at(in, path, 0, index); c; c = custom_at(in, path, index + 1, index)) {
      schemas.add(definition_name(*c), definition(Dialect::v3, *c));
      schemas.add(definition_name(*c) + "List", custom_list(Dialect::v3, *c));
    }
  }
  return out;
}

std::string openapi_v3_protobuf(const OpenApiInput&, std::string_view) { return {}; }

}  // namespace api
