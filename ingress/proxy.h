// The engine: finds the backend of a request, carries it there and the answer back.
//
// A request is tried on another endpoint when no connection could be made, or when a kept-alive connection turned out to be dead and the
// request can be repeated. Answers: 400 malformed path or host, 404 no route, 421 the TLS name and Host differ, 502 and 504 the backend, 503 no endpoint.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "base/http/server.h"
#include "ingress/routes.h"
#include "ingress/upstream.h"

namespace ingress {

class Proxy {
 public:
  void set_routes(RouteTablePtr routes);
  RouteTablePtr routes() const;
  // The handler of both servers; thread-safe.
  base::Task<> handle(base::http::Request& request, base::http::Response& response, bool tls);
  void close_idle() { upstream_.close_all(); }

 private:
  struct Exchange;
  base::Task<> forward(Exchange& exchange);
  base::Task<bool> attempt(Exchange& exchange, Endpoint endpoint, bool fresh);
  base::Task<base::Result<>> send_request(Exchange& exchange, Connection& connection);
  base::Task<> relay(Exchange& exchange, Endpoint endpoint, Connection connection, size_t head_size);
  base::Task<> tunnel(Exchange& exchange, Connection connection);

  mutable std::mutex mutex_;
  RouteTablePtr routes_ = std::make_shared<const RouteTable>();
  Upstream upstream_;
};

}  // namespace ingress
