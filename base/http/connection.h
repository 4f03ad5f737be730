// One server connection: parses requests, runs the handler, keeps the connection alive. Internal to base/http.
#pragma once

#include <memory>

#include "base/http/server.h"

namespace base::http {

// Made and used on one strand; shared so that a waiting client_gone() may outlive the handler by a moment.
// The handler is borrowed and must outlive the connection.
std::shared_ptr<Connection> make_connection(std::unique_ptr<Stream> stream, const Handler& handler, const Limits& limits);

}  // namespace base::http
