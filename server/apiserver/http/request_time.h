// How long a request may take.
#pragma once

#include "base/io.h"
#include "server/apiserver/http/request_info.h"

namespace server {

constexpr base::Duration kRequestTime = std::chrono::seconds(60);

// Watches, and what holds a connection to a node, the tunnels among it: no limit of their own.
bool is_long_running(const RequestInfo& info);
// The `timeout` parameter (a duration such as 30s or 1m30s), at most and by default kRequestTime. 400 when it is no duration.
base::Result<base::Duration> request_time(const base::http::Query& query);
// As Go writes durations; nullopt when malformed.
std::optional<base::Duration> parse_duration(std::string_view text);

}  // namespace server
