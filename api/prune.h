// Field validation: unknown and duplicate fields, wrong types, and the normal form objects are stored in. Messages are those kubectl users know.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/schema.h"
#include "base/error.h"
#include "base/json.h"

namespace api {

enum class FieldValidation { ignore, warn, strict };
// The query parameter ?fieldValidation=; empty means warn. 400 otherwise.
base::Result<FieldValidation> parse_field_validation(std::string_view text);

// Parses JSON and adds `duplicate field "spec.x"` to problems for every repeated member (the last one wins).
base::Result<base::json::value> parse_json_strictly(std::string_view text, std::vector<std::string>& problems,
                                                    base::json::storage_ptr storage = {});

// Brings what was found about one JSON text into the order of the text, as a decoder that reads it once would say it.
void order_problems(std::string_view text, std::vector<std::string>& problems);

// Removes what the type does not have, adding `unknown field "spec.x"` per removal to problems. A value of a wrong type is
// 400: `Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field ...`.
base::Result<> prune(const Kind& kind, base::json::value& object, std::vector<std::string>& problems);
// The same for a part; `path` is where it is, for messages.
base::Result<> prune(const Type& type, base::json::value& part, std::string_view path, std::vector<std::string>& problems);

// Drops nulls and what Go's omitempty drops (empty strings, lists, maps of optional fields), and brings quantities into canonical form.
void normalise(const Type& type, base::json::value& object);

// The end of field validation: in strict mode problems are a 400 ("strict decoding error: unknown field ..."), else warnings are to be sent.
base::Result<> enforce(FieldValidation mode, const Kind& kind, const std::vector<std::string>& problems);

}  // namespace api
