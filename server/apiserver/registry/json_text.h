// JSON text of a DOM, appended to a string: without the intermediate buffers of a general serialiser, because every write passes here.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace server {

void append_json(std::string& out, const base::json::value& v);
void append_json_string(std::string& out, std::string_view text);

}  // namespace server
