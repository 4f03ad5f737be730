// metav1.Status: how every failure and some successes look on the wire.
#pragma once

#include <string>

#include "base/error.h"
#include "base/json.h"

namespace server {

base::json::object status_object(const base::Error& error);
std::string status_text(const base::Error& error);
// Status Success of a deletion. `resource` is the plural.
std::string deleted_text(std::string_view group, std::string_view resource, std::string_view name, std::string_view uid);

}  // namespace server
