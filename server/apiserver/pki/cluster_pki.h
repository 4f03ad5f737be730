// The cluster's own certificates and keys under <data-dir>/server/tls (0700, files 0600): made on first start, renewed while running.
//
//   ca.crt ca.key            cluster CA, 10 years; signs servers, clients and nodes
//   server.crt server.key    the API server, 365 days; names and addresses from the options only
//   admin.crt admin.key      CN=system:admin, O=system:masters, 365 days
//   service-account.key      signs ServiceAccount tokens; service-account.*.pub are older keys still accepted
#pragma once

#include <string>
#include <vector>

#include "server/apiserver/pki/certificate.h"

namespace server::pki {

struct ClusterPki {
  KeyPair ca, server, admin;
  std::string service_account_key;                  // private, PEM
  std::vector<std::string> service_account_public;  // accepted public keys, the current one first
};

struct ServerNames {
  std::vector<std::string> dns, ip;
};

// Loads what is there, makes what is missing, renews what has less than a third of its life left or whose names differ. Blocking.
Result<ClusterPki> load_or_make(const std::string& directory, const ServerNames& names);

// A client certificate of the cluster.
Result<KeyPair> client_pair(const KeyPair& ca, const Subject& subject, std::chrono::seconds validity = std::chrono::hours(24 * 365));

}  // namespace server::pki
