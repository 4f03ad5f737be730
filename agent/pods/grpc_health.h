// One call of grpc.health.v1.Health/Check over plain HTTP/2 (RFC 9113), just enough of it for a probe.
#pragma once

#include <string>
#include <string_view>

#include "base/io.h"

namespace agent {

using base::Result;
using base::Task;

// Success when the service answers SERVING.
Task<Result<>> grpc_health_check(std::string host, uint16_t port, std::string service, base::Duration timeout);

// The bytes a client sends for one check, and what the first message of the answer says: the enum value of ServingStatus, or -1.
std::string grpc_health_request(std::string_view authority, std::string_view service);
int parse_health_response(std::string_view grpc_message);

}  // namespace agent
