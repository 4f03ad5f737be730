// Connections to backends of one lane: kept alive, shared by the client connections of that lane. Used on the lane's strand only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/http/body.h"
#include "base/http/stream.h"
#include "ingress/routes.h"

namespace ingress {

struct BackendConnection {
  std::unique_ptr<base::http::Stream> stream;
  base::http::ReadBuffer buffer;
  bool reused = false;
  base::TimePoint idle_since{};
};

class Upstream {
 public:
  static constexpr size_t kIdlePerEndpoint = 64;
  static constexpr base::Duration kIdleTime = std::chrono::seconds(30);
  static constexpr base::Duration kConnectTime = std::chrono::seconds(3);
  static constexpr base::Duration kAvoidTime = std::chrono::seconds(5);

  // The kept connection used last, or nothing. With `probe` it is known to be alive; otherwise only the write or the read tells.
  bool take(const Endpoint& endpoint, bool probe, BackendConnection& out);
  base::Task<base::Result<BackendConnection>> connect(Endpoint endpoint);
  // Takes back a connection whose exchange is complete.
  void release(const Endpoint& endpoint, BackendConnection connection);
  // Endpoints that could not be reached a moment ago come last.
  bool avoid(const Endpoint& endpoint) const;
  // Closes what has been idle too long; until cancelled.
  base::Task<> keep_clean();
  void close_all() { idle_.clear(); }

 private:
  std::map<std::string, std::vector<BackendConnection>, std::less<>> idle_;
  std::map<std::string, base::TimePoint, std::less<>> unreachable_;
  base::Event released_;
  bool sleeping_ = true;  // keep_clean waits for a first release
};

}  // namespace ingress
