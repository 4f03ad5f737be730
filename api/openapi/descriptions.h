// Texts of types and fields for kubectl explain (api/schema/descriptions.txt). They stand compressed in the program and are unpacked for as long as a
// document is written.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "api/schema.h"

namespace api::openapi {

class Descriptions {
 public:
  Descriptions();
  Descriptions(const Descriptions&) = delete;
  Descriptions& operator=(const Descriptions&) = delete;
  // Empty when there is none. What the schema itself says goes first, but for texts of fields that mean the same everywhere.
  std::string_view type(const Type& t) const;
  std::string_view field(const Type& t, const Field& f) const;
  // By "Type", "Type.field" and "*.field".
  const std::unordered_map<std::string, std::string_view>& all() const { return by_name_; }

 private:
  std::string_view find(std::string_view name) const;
  std::string text_;
  std::unordered_map<std::string, std::string_view> by_name_;
};

}  // namespace api::openapi
