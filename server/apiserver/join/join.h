// POST /v1-appliance/join: a node gets its certificate (docs/design/join.md).
#pragma once

#include <map>
#include <mutex>

#include "server/apiserver/advertised_address.h"
#include "server/apiserver/http/exchange.h"
#include "server/apiserver/join/token.h"
#include "server/apiserver/pki/certificate.h"

namespace server {

struct ClusterFacts {
  const AdvertisedAddress& address;
  std::string cluster_cidr, service_cidr, cluster_dns, cluster_domain, version;
  std::string own_node;  // of this host: nobody joins under its name
};

class Join {
 public:
  Join(Registry& registry, const Authenticator& authenticator, pki::KeyPair ca, JoinTokens tokens, ClusterFacts facts)
      : registry_(registry), authenticator_(authenticator), ca_(std::move(ca)), tokens_(std::move(tokens)), facts_(std::move(facts)) {}
  Task<> handle(Exchange& x);

 private:
  Task<Result<std::string>> answer(Exchange& x);
  // Token or certificate; the node the certificate is of, or empty for a token.
  Result<std::string> authenticate(Exchange& x) const;
  Task<Result<>> claim_name(std::string node, std::string secret);
  bool throttled(const std::string& peer);
  void failed(const std::string& peer);

  Registry& registry_;
  const Authenticator& authenticator_;
  const pki::KeyPair ca_;
  const JoinTokens tokens_;
  const ClusterFacts facts_;
  // Wrong tokens by address, forgotten after a minute; bounded.
  std::mutex mutex_;
  std::map<std::string, std::pair<int, base::TimePoint>> failures_;
};

}  // namespace server
