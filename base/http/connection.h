// One server connection: parses requests, runs the handler, keeps the connection alive. Internal to base/http.
#pragma once

#include <atomic>
#include <memory>

#include "base/http/server.h"

namespace base::http {

// Made and used on one strand; shared so that a waiting client_gone() may outlive the handler by a moment.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual Task<> serve() = 0;
  // Ends after the request in progress; at once when idle. On the connection's strand.
  virtual void finish() = 0;
};

// The handler is borrowed and must outlive the connection.
std::shared_ptr<Connection> make_connection(std::unique_ptr<Stream> stream, const Handler& handler, const Limits& limits);

}  // namespace base::http
