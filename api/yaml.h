// YAML to and from the JSON DOM, as the API takes and kubectl shows it (YAML 1.2 core types plus what Go's YAML accepts of 1.1 booleans in keys).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace api {

// One document. 400 on malformed text, depth over 64, aliases that expand to more than 10 times the text (at least 100,000 nodes).
base::Result<base::json::value> parse_yaml(std::string_view text);
// The same, and adds `line 7: key "x" already set in map` to problems for every repeated key (the last one wins).
base::Result<base::json::value> parse_yaml_strictly(std::string_view text, std::vector<std::string>& problems);
// All documents of a stream (`---`), empty ones left out. A stream that starts with `{` may also be concatenated JSON.
base::Result<std::vector<base::json::value>> parse_yaml_documents(std::string_view text);
// Block style, keys in the order of the DOM unless sorted.
std::string to_yaml(const base::json::value& v, bool sorted = false);

}  // namespace api
