// OpenAPI documents as JSON values, in the dialect of version 2 or 3; text and protobuf forms are written from them piece by piece.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/openapi.h"
#include "api/openapi/descriptions.h"
#include "base/json.h"

namespace api::openapi {

using base::json::array;
using base::json::object;
using base::json::value;

enum class Dialect { v2, v3 };

// Key of a kind's or type's definition: "io.k8s.api.core.v1.Pod", "com.example.v1.Thing" for custom ones.
std::string definition_name(const Type& type);
std::string definition_name(const CustomKind& custom);
// "api/v1" or "apis/apps/v1".
std::string group_path(const Kind& kind);

// The definition of a named type; `kinds` are those it is the type of.
object definition(Dialect d, const Descriptions& descriptions, const Type& type, const std::vector<const Kind*>& kinds);
object definition(Dialect d, const CustomKind& custom);

// Named scalars that definitions refer to.
std::vector<std::pair<std::string, object>> scalar_definitions(Dialect d);

// Types a type refers to, itself included, each once.
void reachable(const Type& type, std::vector<const Type*>& out);

// All path items of a kind: path and item.
void paths_of(Dialect d, const Kind& kind, const std::string& definition, const std::function<void(std::string path, object item)>& each);

// Kinds that its subresources take and answer and that are not its own: Scale, Eviction.
std::vector<const Kind*> subresource_kinds(const Kind& kind);

// gnostic's messages (openapi_v2).
std::string proto_schema(const object& schema);
std::string proto_path_item(const object& item);
// Its messages of version 3 (openapi_v3): SchemaOrReference and PathItem.
std::string proto3_schema(const object& schema);
std::string proto3_path_item(const object& item);

}  // namespace api::openapi
