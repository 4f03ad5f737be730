// OpenAPI documents of the served API, written from the schema on demand.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/schema.h"

namespace api {

// What is served besides the built-in kinds.
struct OpenApiInput {
  std::vector<std::shared_ptr<const CustomKind>> custom;
  std::string version;  // of the product
};

// /openapi/v2 as JSON, and as the protobuf form of gnostic (application/com.github.proto-openapi.spec.v2@v1.0+protobuf).
std::string openapi_v2_json(const OpenApiInput& in);
std::string openapi_v2_protobuf(const OpenApiInput& in);

// /openapi/v3: {"paths":{"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=..."}}}.
std::string openapi_v3_index(const OpenApiInput& in);
// The hash in the index: changes with the document.
std::string openapi_v3_hash(const OpenApiInput& in, std::string_view path);
// /openapi/v3/<path>, path as in the index ("api/v1", "apis/apps/v1"); empty when unknown.
std::string openapi_v3_document(const OpenApiInput& in, std::string_view path);
// The same in gnostic's protobuf form (application/com.github.proto-openapi.spec.v3@v1.0+protobuf).
std::string openapi_v3_protobuf(const OpenApiInput& in, std::string_view path);

}  // namespace api
