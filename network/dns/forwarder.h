// Asks upstream servers. (RFC 5452: every question from a fresh port with a random id; identical ones are asked once.)
//
// Belongs to the thread of its poller. Bounds: kMaxQuestions different questions under way, kMaxWaiters per question; above, the answer is
// failure at once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "network/dns/cache.h"
#include "network/dns/poller.h"
#include "network/dns/server.h"

namespace network::dns {

struct UpstreamQuestion {
  std::string name;  // lower case wire form
  uint16_t type = 0;
  bool dnssec_ok = false, checking_disabled = false;
  std::string key() const {
    return name + static_cast<char>(type >> 8) + static_cast<char>(type) + static_cast<char>(dnssec_ok | checking_disabled << 1);
  }
};

class Forwarder {
 public:
  // The answer, or null for failure. Age in seconds.
  using Done = std::function<void(std::shared_ptr<const Answer> answer, uint32_t age)>;
  Forwarder(Poller& poller, size_t cache_entries);
  ~Forwarder();
  void set_upstreams(std::vector<Upstream> upstreams);
  // Calls `done` before it returns when the answer is in the cache (true).
  bool ask(const UpstreamQuestion& question, Done done);

  static constexpr size_t kMaxQuestions = 4096, kMaxWaiters = 256;

 private:
  struct Pending;
  struct Server {
    Upstream where;
    Poller::Clock::time_point suspect_until{};  // did not answer lately: asked last
  };
  void try_next(Pending& p);
  void send_udp(Pending& p);
  void start_tcp(Pending& p);
  void on_udp(Pending& p);
  void on_tcp(Pending& p, uint32_t events);
  void failed_try(Pending& p);
  void take(Pending& p, std::shared_ptr<Answer> answer);
  void finish(Pending& p, std::shared_ptr<const Answer> answer);
  void close(Pending& p);

  Poller& poller_;
  Cache cache_;
  std::vector<Server> servers_;
  std::unordered_map<std::string, std::unique_ptr<Pending>> pending_;
};

}  // namespace network::dns
