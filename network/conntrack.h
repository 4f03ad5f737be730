// Tracked connections, by ctnetlink: removal of UDP flows that would go on to an endpoint that is gone.
#pragma once

#include <vector>

#include "network/address.h"

namespace network {

// Flows a client opened to `frontend` (none: any address) and `port` whose answers come from `endpoint` (none: nobody translated them, they
// went to the frontend itself).
struct StaleFlow {
  Protocol protocol = Protocol::udp;
  Ip frontend;
  uint16_t port = 0;
  Ip endpoint;
  uint16_t endpoint_port = 0;
};

// Deletes them in one pass over the table. Returns how many. Blocking, in proportion to the number of connections.
base::Result<size_t> delete_flows(const std::vector<StaleFlow>& stale);

}  // namespace network
