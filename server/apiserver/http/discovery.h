// Discovery: /api, /apis and below, in the legacy form and the aggregated one (apidiscovery.k8s.io/v2 and v2beta1). Made once from the table of resources.
#pragma once

#include <map>
#include <string>

#include "server/apiserver/advertised_address.h"
#include "server/apiserver/http/exchange.h"

namespace server {

class Discovery {
 public:
  Discovery(const Resources& resources, const AdvertisedAddress& address);
  // Answers below /api and /apis; 404 when the path is none of discovery's.
  Task<> handle(Exchange& x) const;

 private:
  Task<> aggregated(Exchange& x, std::string_view version) const;

  const AdvertisedAddress& address_;
  std::map<std::string, std::string> documents_;  // by path without leading slash
  std::string aggregated_core_, aggregated_groups_, etag_core_, etag_groups_;
};

}  // namespace server
