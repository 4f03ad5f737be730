// The cluster's DNS server: authoritative for the cluster domain and the reverse of its addresses, forwarding with a cache for the rest.
//
// Own threads (no Asio): one for queries, which answers cluster names and cached ones at once, and one for upstream servers. Start, stop
// and set_zone() are safe from any thread. RFC 1034, 1035, 2308, 5452, 6891, 7766.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "network/address.h"
#include "network/dns/zone.h"

namespace network::dns {

struct Upstream {
  Ip ip;
  uint16_t port = 53;
};

// Nameservers of a resolv.conf, without those that are this server. The stub of systemd-resolved (127.0.0.53) leads to the servers behind
// it; other servers on loopback addresses work, because we run on the host. A loop through one of them ends here: identical questions are
// joined. Empty when there is none: other names then get SERVFAIL.
base::Result<std::vector<Upstream>> read_upstreams(const std::string& resolv_conf = "/etc/resolv.conf",
                                                   const std::vector<Ip>& ourselves = {});

struct ServerOptions {
  std::vector<Ip> addresses;               // listened on, UDP and TCP
  uint16_t port = 53;
  std::string domain = "cluster.local";
  std::vector<Upstream> upstreams;
  std::string resolv_conf;  // upstreams are read from it, now and whenever it changes; empty: only set_upstreams() changes them
  std::vector<Cidr> allowed_sources;       // pods, services; addresses of this host are always allowed. Others are not answered
  size_t cache_entries = 10'000;
  uint32_t max_tcp_connections = 128;
  unsigned threads = 1;                    // query threads, each with its own socket (SO_REUSEPORT)
};

struct ServerStats {
  uint64_t queries = 0, cluster = 0, forwarded = 0, cache_hits = 0, refused = 0, malformed = 0, failed = 0;
};

class Server {
 public:
  virtual ~Server() = default;  // stops
  // Binds and starts the threads. The addresses must exist on the host (network::Node puts them on appl0).
  static base::Result<std::unique_ptr<Server>> start(ServerOptions options);
  // From now on queries see this zone. Until the first call the cluster's names get SERVFAIL, so that clients ask again.
  virtual void set_zone(std::shared_ptr<const Zone> zone) = 0;
  virtual void set_upstreams(std::vector<Upstream> upstreams) = 0;
  virtual ServerStats stats() const = 0;
  virtual void stop() = 0;
};

}  // namespace network::dns
