// Connections to backends, kept alive and shared by all client connections of this process. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/http/body.h"
#include "base/http/stream.h"
#include "ingress/routes.h"

namespace ingress {

struct Connection {
  std::unique_ptr<base::http::Stream> stream;
  base::http::ReadBuffer buffer;
  bool reused = false;
  base::TimePoint idle_since{};
};

class Upstream {
 public:
  static constexpr size_t kIdlePerEndpoint = 64;
  static constexpr base::Duration kIdleTime = std::chrono::seconds(30);
  // A kept connection that is still quiet, moved to the caller's strand, or a new one. `fresh`: a new one in any case.
  base::Task<base::Result<Connection>> acquire(Endpoint endpoint, bool fresh);
  // Takes back a connection whose exchange is complete.
  void release(const Endpoint& endpoint, Connection connection);
  // Closes what has been idle too long; run from time to time by those who release.
  void sweep(base::TimePoint now);
  void close_all();

 private:
  std::mutex mutex_;
  std::map<std::string, std::vector<Connection>> idle_;
  base::TimePoint next_sweep_{};
};

}  // namespace ingress
