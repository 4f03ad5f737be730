// The schema files as they were written, compressed in the program and opened once.
#pragma once

#include <string_view>
#include <vector>

namespace api {

// One text a file of api/schema/. They live as long as the process.
const std::vector<std::string_view>& schema_texts();

}  // namespace api
