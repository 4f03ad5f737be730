// metrics.k8s.io: NodeMetrics and PodMetrics from the nodes' /stats/summary, asked for when somebody asks us (`kubectl top`), not all the time.
//
// Rates need two samples: the first question takes them a second apart, later ones compare with the last sample.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/time.h"
#include "server/apiserver/http/exchange.h"
#include "server/apiserver/tunnel/node_streams.h"

namespace server {

class ResourceMetrics {
 public:
  ResourceMetrics(Registry& registry, NodeStreams& streams) : registry_(registry), streams_(streams) {}
  static bool handles(const RequestInfo& info) { return info.is_resource && info.group == "metrics.k8s.io"; }
  Task<> handle(Exchange& x);
  // NodeMetrics or PodMetrics; name empty: of all that are selected.
  Task<Result<std::vector<base::json::value>>> gather(const ResourceInfo* resource, std::string ns, std::string name, Selection selection);

 private:
  struct Sample {
    base::WallTime at;
    base::json::value summary;
  };
  struct Usage {
    base::WallTime at;
    std::chrono::milliseconds window{0};
    base::json::value now, before;
  };
  Task<Result<Sample>> sample(std::string node);
  Task<Result<Usage>> usage(std::string node);
  Task<Result<base::json::value>> node_metrics(std::string node);
  Task<Result<std::vector<base::json::value>>> pod_metrics(std::string node, std::string ns, std::string name);

  Registry& registry_;
  NodeStreams& streams_;
  std::mutex mutex_;                     // guards last_
  std::map<std::string, Sample> last_;  // by node; of nodes that are gone as well, they are few
};

}  // namespace server
