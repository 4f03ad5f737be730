// The engine: finds the backend of a request, carries it there and the answer back.
//
// A request is tried on another endpoint when no connection could be made, or when a connection ended before the first byte of an answer and the
// request can be repeated. Answers: 400 malformed path or host, 404 no route, 421 the TLS name and Host differ, 502 and 504 the backend, 503 no endpoint.
// Client connections are spread over lanes, strands that each have their own connections to backends.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/http/server.h"
#include "ingress/routes.h"
#include "ingress/upstream.h"

namespace ingress {

struct ProxyTimes {
  base::Duration answer = std::chrono::seconds(120);  // until the head of a backend's answer
  base::Duration body = std::chrono::hours(1);        // without a byte of it
  base::Duration client = std::chrono::seconds(60);   // without progress of a client's reading or sending
};

class Proxy {
 public:
  explicit Proxy(base::Runtime& runtime, ProxyTimes times = {});

  // Safe from any thread; requests that begin afterwards see the new table.
  void set_routes(RouteTablePtr routes);
  RouteTablePtr routes() const;

  // For Server's constructor. `port` is what X-Forwarded-Port says.
  std::vector<base::Executor> lanes() const;
  base::http::ConnectionFactory factory(bool tls, uint16_t port);

  base::Task<> stop();  // after the servers have stopped

  struct Lane {
    base::Executor strand;
    Upstream upstream;
  };
  Lane& lane(size_t i) { return *lanes_[i % lanes_.size()]; }
  base::Tasks& tasks() { return tasks_; }
  const ProxyTimes& times() const { return times_; }

 private:
  const ProxyTimes times_;
  base::Tasks tasks_;
  std::vector<std::shared_ptr<Lane>> lanes_;
  mutable std::mutex mutex_;
  RouteTablePtr routes_ = std::make_shared<const RouteTable>();
};

}  // namespace ingress
