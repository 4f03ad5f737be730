// The cluster's own certificates and keys under <data-dir>/server/tls (0700, files 0600): made on first start, renewed while running.
//
//   ca.crt ca.key            cluster CA, 10 years; signs servers, clients and nodes
//   server.crt server.key    the API server, 365 days; names and addresses from the options only
//   admin.crt admin.key      CN=system:admin, O=system:masters, 365 days
//   service-account.key      signs ServiceAccount tokens (ECDSA, or RSA when brought along); service-account.*.pub are further keys whose tokens are accepted
#pragma once

#include <string>
#include <vector>

#include "server/apiserver/pki/certificate.h"

namespace server::pki {

struct ServiceAccountKeys {
  std::string private_key;               // PEM
  std::vector<std::string> public_keys;  // PEM, of further keys that are accepted
  bool operator==(const ServiceAccountKeys&) const = default;
};

struct ClusterPki {
  KeyPair ca, server, admin;
  ServiceAccountKeys service_account;
};

struct ServerNames {
  std::vector<std::string> dns, ip;
};

// Loads what is there, makes what is missing, renews what has less than a third of its life left or whose names differ. Blocking.
Result<ClusterPki> load_or_make(const std::string& directory, const ServerNames& names);

// The keys as they are in the directory now. Blocking.
Result<ServiceAccountKeys> load_service_account_keys(const std::string& directory);
// A new key to sign with; the present one's public half stays as service-account.<UTC time>-<random>.pub, whose name is the result. Blocking.
Result<std::string> rotate_service_account_key(const std::string& directory);

// A client certificate of the cluster.
Result<KeyPair> client_pair(const KeyPair& ca, const Subject& subject, std::chrono::seconds validity = std::chrono::hours(24 * 365));

}  // namespace server::pki
