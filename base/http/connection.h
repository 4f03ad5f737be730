// One server connection: parses requests, runs the handler, keeps the connection alive. HTTP/2 where ALPN chose it. Internal to base/http.
#pragma once

#include <exception>
#include <memory>

#include "base/http/server.h"

namespace base::http {

// Made and used on one strand; shared so that a waiting client_gone() may outlive the handler by a moment.
// The handler is borrowed and must outlive the connection.
std::shared_ptr<Connection> make_connection(std::unique_ptr<Stream> stream, const Handler& handler, const Limits& limits);
std::shared_ptr<Connection> make_http2_connection(std::unique_ptr<Stream> stream, const Handler& handler, const Limits& limits);

// Logs what escaped a handler. False for a cancellation, which goes on.
bool log_failure(const Request& request, std::exception_ptr failure);

}  // namespace base::http
