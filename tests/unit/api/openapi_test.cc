#include "api/openapi.h"
#include "api/openapi/descriptions.h"

#include <catch2/catch.hpp>

#include "api/wire.h"

namespace {

// Adds the definition names that references under v point at.
void references(const base::json::value& v, std::vector<std::string>& out) {
  if (const auto* o = v.if_object()) {
    for (const auto& [key, inner] : *o) {
      if (key == "$ref" && inner.is_string())
        out.emplace_back(std::string(inner.get_string()).substr(std::string_view(inner.get_string()).rfind('/') + 1));
      references(inner, out);
    }
  } else if (const auto* a = v.if_array()) {
    for (const auto& inner : *a) references(inner, out);
  }
}

}  // namespace

TEST_CASE("the OpenAPI v2 document is complete and every reference leads somewhere") {
  std::string text = api::openapi_v2_json({{}, "v1.36.0"});
  auto v = base::parse_json(text);
  REQUIRE(v);
  const auto* definitions = base::find_object(*v, "definitions");
  REQUIRE(definitions);
  std::vector<std::string> used;
  references(*v, used);
  for (const std::string& name : used) {
    INFO(name);
    CHECK(definitions->contains(name));
  }
  const auto& pod = definitions->at("io.k8s.api.core.v1.Pod");
  CHECK(base::to_text(*base::find(pod, "x-kubernetes-group-version-kind")) == R"([{"group":"","kind":"Pod","version":"v1"}])");
  const auto& spec = definitions->at("io.k8s.api.core.v1.PodSpec");
  CHECK(base::get_string(spec, "properties.containers.x-kubernetes-patch-merge-key") == "name");
  CHECK(base::get_string(spec, "properties.volumes.x-kubernetes-patch-strategy") == "merge,retainKeys");
  const auto* paths = base::find_object(*v, "paths");
  const auto* item = paths->if_contains("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
  REQUIRE(item);
  CHECK(base::get_string(*item, "patch.x-kubernetes-group-version-kind.kind") == "Deployment");
  CHECK(base::to_text(*base::find(*item, "patch.parameters")).find("dryRun") != std::string::npos);
  auto at = [&](std::string_view path, std::string_view what) { return std::string(base::get_string(paths->at(path), what)); };
  CHECK(at("/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale", "put.x-kubernetes-group-version-kind.kind") == "Scale");
  CHECK(at("/api/v1/namespaces/{namespace}/pods/{name}/eviction", "post.responses.200.schema.$ref") ==
        "#/definitions/io.k8s.api.policy.v1.Eviction");
  CHECK(at("/api/v1/namespaces/{namespace}/pods/{name}/exec", "post.operationId") == "connectCoreV1PostNamespacedPodExec");
  CHECK(at("/api/v1/namespaces/{namespace}/pods/{name}/log", "get.responses.200.schema.type") == "string");
  CHECK(at("/api/v1/nodes/{name}/proxy/{path}", "options.x-kubernetes-action") == "connect");
  CHECK(at("/api/v1/namespaces/{name}/finalize", "put.x-kubernetes-action") == "put");
  CHECK_FALSE(paths->contains("/apis/autoscaling/v1/namespaces/{namespace}/scales"));
}

TEST_CASE("every OpenAPI v3 document stands alone") {
  auto index = base::parse_json(api::openapi_v3_index({{}, "v1.36.0"}));
  REQUIRE(index);
  const auto* paths = base::find_object(*index, "paths");
  REQUIRE(paths);
  CHECK(paths->contains("api/v1"));
  CHECK(paths->contains("apis/apps/v1"));
  for (const auto& [path, entry] : *paths) {
    INFO(std::string_view(path));
    auto v = base::parse_json(api::openapi_v3_document({{}, "v1.36.0"}, path));
    REQUIRE(v);
    const auto* schemas = base::find_object(*v, "components.schemas");
    REQUIRE(schemas);
    std::vector<std::string> used;
    references(*v, used);
    for (const std::string& name : used) {
      INFO(name);
      CHECK(schemas->contains(name));
    }
  }
  CHECK(api::openapi_v3_document({{}, "v1"}, "apis/none/v1").empty());
}

TEST_CASE("the protobuf form of OpenAPI v2 is well-formed") {
  std::string bytes = api::openapi_v2_protobuf({{}, "v1.36.0"});
  api::wire::Reader r(bytes);
  size_t definitions = 0, paths = 0;
  while (r.next()) {
    if (r.number == 8 || r.number == 9) {
      api::wire::Reader inner(r.data);
      while (inner.next()) ++(r.number == 8 ? paths : definitions);
      CHECK_FALSE(inner.failed());
    }
  }
  CHECK_FALSE(r.failed());
  CHECK(definitions > 500);
  CHECK(paths > 150);
}

TEST_CASE("descriptions are of types and fields there are, and short") {
  const api::openapi::Descriptions descriptions;
  const auto& types = api::Schema::builtin().types();
  REQUIRE(descriptions.all().size() > 800);
  for (const auto& [name, text] : descriptions.all()) {
    INFO(name);
    CHECK(text.size() <= 100);
    CHECK(text.ends_with('.'));
    std::string_view type = std::string_view(name).substr(0, name.find('.'));
    std::string_view field = name.find('.') == std::string::npos ? std::string_view() : std::string_view(name).substr(name.find('.') + 1);
    CHECK(std::any_of(types.begin(), types.end(),
                      [&](const api::Type& t) { return (type == "*" || t.name == type) && (field.empty() || t.field(field)); }));
  }
}

TEST_CASE("explain has something to say of every kind and of every field people use") {
  auto v = base::parse_json(api::openapi_v2_json({{}, "v1.36.0"}));
  REQUIRE(v);
  size_t fields = 0, silent = 0;
  for (const auto& [name, node] : *base::find_object(*v, "definitions")) {
    INFO(std::string_view(name));
    if (base::find(node, "x-kubernetes-group-version-kind")) CHECK(!base::get_string(node, "description").empty());
    const auto* properties = base::find_object(node, "properties");
    if (!properties) continue;
    for (const auto& [field, p] : *properties) {
      ++fields;
      const bool said = !base::get_string(p, "description").empty();
      silent += !said;
      for (std::string_view common : {"core.v1.PodSpec", "core.v1.Container", "core.v1.Service", "apps.v1.", "batch.v1.", "networking.v1.",
                                      "rbac.v1.", "policy.v1.", "meta.v1.ObjectMeta"}) {
        if (!said && std::string_view(name).find(common) != std::string_view::npos)
          FAIL_CHECK(std::string_view(name) << "." << std::string_view(field));
      }
    }
  }
  INFO(silent << " of " << fields << " fields without description");
  CHECK(silent * 4 < fields);
}
