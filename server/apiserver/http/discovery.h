// Discovery: /api, /apis and below, in the legacy form and the aggregated one (apidiscovery.k8s.io/v2). Made once from the table of resources.
#pragma once

#include <map>
#include <string>

#include "server/apiserver/registry/resources.h"

namespace server {

class Discovery {
 public:
  // address: what clients reach the server by ("192.0.2.1:6443").
  Discovery(const Resources& resources, const std::string& address);
  // Null when the path is none of discovery's. `parts` as in RequestInfo.
  const std::string* document(const std::vector<std::string>& parts) const;
  // For "/api" or "/apis".
  const std::string& aggregated(bool core) const { return core ? aggregated_core_ : aggregated_groups_; }
  const std::string& aggregated_etag(bool core) const { return core ? etag_core_ : etag_groups_; }

 private:
  std::map<std::string, std::string> documents_;  // by path without leading slash
  std::string aggregated_core_, aggregated_groups_, etag_core_, etag_groups_;
};

}  // namespace server
