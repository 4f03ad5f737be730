// What the protobuf forms of versions 2 and 3 have in common: members of a JSON schema written as fields of gnostic's messages.
#pragma once

#include <cstdint>

#include "api/openapi/document.h"

namespace api::openapi {

std::string_view text_of(const value& v);
// Any{yaml}: JSON is YAML.
std::string proto_any(const value& v);
// {name = 1, value = 2}, appended as the field.
void put_named(std::string& out, uint32_t number, std::string_view name, std::string_view message);
void put_extensions(std::string& out, uint32_t number, const object& o);
void put_text(std::string& out, uint32_t number, const object& o, std::string_view name);
void put_number(std::string& out, uint32_t number, const object& o, std::string_view name, bool real);
void put_flag(std::string& out, uint32_t number, const object& o, std::string_view name);

}  // namespace api::openapi
