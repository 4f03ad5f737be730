// What the load generator sends: requests of each mode, and objects as a cluster at work has them.
#pragma once

#include <string>
#include <vector>

#include "base/http/client.h"

namespace bench {

struct Settings {
  std::string mode = "create", server, ca, cert, key, path, accept = "application/json";
  std::vector<int> pids;
  int clients = 1, watchers = 0, spread = 1;
  double seconds = 5, rate = 0;  // rate: operations per second of all clients; 0: as many as possible
  size_t size = 1024, count = 0;  // count: operations of all clients together; 0: until the time is up
};

// A pod as a Deployment's controller makes it, bound to one of 100 nodes; `i` tells pods apart.
std::string pod(size_t i, const std::string& node);
// What the kubelet writes when the pod runs; `turn` varies it.
std::string pod_status(size_t i, size_t turn);

// What a client sends once before its operations: what they work on. An empty method: nothing.
base::http::ClientRequest preparation(const Settings& s, const std::string& run, int client);
// The n-th operation of a client.
base::http::ClientRequest operation(const Settings& s, const std::string& run, int client, size_t n);

}  // namespace bench
