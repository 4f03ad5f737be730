// Accept and Content-Type: which form an answer takes and a body has.
#pragma once

#include <string_view>

#include "base/http/server.h"
#include "server/apiserver/operations/operations.h"

namespace server {

struct OutputForm {
  enum class Encoding { json, yaml, protobuf } encoding = Encoding::json;
  enum class Shape { whole, table, partial } shape = Shape::whole;
  bool pretty = false;
  bool beta = false;  // tables and metadata as meta.k8s.io/v1beta1, which older kubectl takes
  // Table only: which part of each object its row carries.
  std::string include_object;
  std::string_view meta_version() const { return beta ? "meta.k8s.io/v1beta1" : "meta.k8s.io/v1"; }
  bool plain() const { return encoding == Encoding::json && shape == Shape::whole && !pretty; }
};

// The acceptable form of the Accept header with the highest quality, the first of several; 406 when there is none.
// `tables`: whether what is asked for can be printed; answers to questions (reviews) cannot.
Result<OutputForm> choose_output(const base::http::Request& request, bool tables);
// 415 when the type is not one the API takes. Patches are looked at by patch_type.
Result<Body::Form> body_form(const base::http::Request& request);
Result<api::PatchType> patch_type(const base::http::Request& request);
// The version of aggregated discovery the client asks for: "v2", "v2beta1"; empty: none.
std::string_view aggregated_version(const base::http::Request& request);
std::string_view content_type(OutputForm::Encoding encoding);
std::string pretty_text(const base::json::value& v);

}  // namespace server
