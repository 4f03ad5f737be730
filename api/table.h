// meta.k8s.io/v1 Table: what `kubectl get` prints, computed by the server.
#pragma once

#include <string>
#include <string_view>

#include "api/schema.h"
#include "base/json.h"

namespace api {

// The columns of a kind (name, type, format, description, priority), as columnDefinitions.
base::json::array table_columns(const Kind& kind);
// The cells of one object in that order. `now` is what ages are counted to.
base::json::array table_cells(const Kind& kind, const base::json::value& object, std::string_view now_rfc3339);

enum class IncludeObject { none, metadata, object };
// One row: cells, and as much of the object as asked for. `version`: meta.k8s.io/v1 or meta.k8s.io/v1beta1.
base::json::object table_row(const Kind& kind, const base::json::value& object, IncludeObject include, std::string_view now_rfc3339,
                             std::string_view version);
// A whole Table for a list (metadata taken from it) or a single object.
base::json::value make_table(const Kind& kind, const base::json::value& list_or_object, IncludeObject include, std::string_view now_rfc3339,
                             bool with_columns = true, std::string_view version = "meta.k8s.io/v1");

// 90s, 5m, 3h12m, 2d4h, 400d, 2y: durations as kubectl shows them.
std::string human_duration(int64_t seconds);

}  // namespace api
