// The API server: registry over the store, admission, authorisation, HTTPS front, cluster PKI, tunnel to the nodes.
//
// Order of life: make the store with server::indexer(), construct, start(), use, stop(), stop the store. start() makes the PKI under
// <data-dir>/server/tls, writes the objects every cluster has, and listens. All methods are safe from any thread after start().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/client.h"
#include "base/http/server.h"
#include "datastore/keyring.h"
#include "datastore/store.h"
#include "server/apiserver/audit/auditor.h"
#include "server/apiserver/identity.h"

namespace server {

using base::Result;
using base::Task;

// Kubernetes' --oidc-* flags.
struct OidcOptions {
  std::string issuer_url, client_id;           // empty issuer: no provider
  std::string username_claim = "sub";
  std::string username_prefix;                 // empty: "<issuer>#" unless the claim is email; "-": none
  std::string groups_claim, groups_prefix;
  std::vector<std::string> required_claims;    // key=value
  std::vector<std::string> signing_algs = {"RS256"};
  std::string ca_file;                         // PEM; empty: the host's roots
};

struct ApiServerOptions {
  std::string data_dir = "/var/lib/appliance";
  std::string bind_address = "0.0.0.0";
  uint16_t port = 6443;                      // 0: any free one (tests)
  std::string advertise_address;  // IP in the `kubernetes` endpoints and in what nodes are told; required unless bind_address is one
  std::string node_name;                     // also a name in the certificate
  std::vector<std::string> tls_san;          // more names and addresses for the server certificate
  std::string cluster_cidr = "10.42.0.0/16";
  std::string service_cidr = "10.43.0.0/16";
  std::string cluster_dns = "10.43.0.10";
  std::string cluster_domain = "cluster.local";
  int node_cidr_mask = 24;
  std::string token, agent_token;            // given secrets; empty: made on first start (agent_token: the same as token)
  std::vector<std::string>
      service_account_issuers;  // the first issues tokens, all are accepted; empty: https://kubernetes.default.svc.<cluster_domain>
  std::vector<std::string> api_audiences;            // empty: the issuers
  std::string service_account_jwks_uri;              // in the discovery document; empty: below the issuer
  OidcOptions oidc;
  uint16_t node_port_first = 30000, node_port_last = 32767;
  std::function<std::string(size_t)> name_suffix;  // what makes generated names unique; empty: at random
  unsigned max_requests = 600;               // requests that run at a time, shared out by priority (seats of API Priority and Fairness)
  audit::AuditOptions audit{.policy_file = {}, .log = {.path = "off"}};
  std::shared_ptr<datastore::Keyring> keyring;  // the store's, for its status; may be null
  std::string event_rate_limit = "server=500:5000,namespace=100:2000";  // admission/event_rate_limit.cc
  std::function<void(std::string& out)> more_metrics;  // appended to /metrics, from any thread until stop()
  bool owner_references_permission = false;  // admission/owner_references.cc
  bool log_requests = false;                 // slow ones are always logged
  base::Duration shutdown_delay{};           // not ready, but served, before the server stops
  base::Duration shutdown_grace = std::chrono::seconds(5);  // for requests under way
  bool listen = true;                        // false: only in process (tests)
};

// A stream on which the agent of a node serves its HTTP API (docs/design/tunnel.md).
using NodeDialer = std::function<Task<Result<std::unique_ptr<base::http::Stream>>>()>;

class ApiServer {
 public:
  // Both must outlive the server.
  ApiServer(base::Runtime& runtime, datastore::Store& store, ApiServerOptions options);
  ~ApiServer();

  Task<Result<>> start();
  // The host's address has changed: the certificate, the `kubernetes` service and what joining nodes are told follow.
  void advertise(std::string address);
  // /readyz fails from now on; everything is still served.
  void begin_shutdown();
  // Ends watches, lets requests finish, closes the port. The store stays open.
  Task<> stop();
  uint16_t port() const;

  // Straight to the registry: the same authorisation, admission and audit as over HTTPS, without it. May outlive nothing of this object.
  // manager: the field manager of what it writes; empty: the name of the user, what follows its last colon.
  std::shared_ptr<api::Client> client(UserInfo identity, std::string manager = {});
  // For controllers: acts as the ServiceAccount kube-system/<account>, or as the controller manager itself when there is none.
  std::shared_ptr<api::Client> controller_client(std::string account);

  // Admin kubeconfig (system:masters certificate) for https://<host>:<port>; empty host: 127.0.0.1.
  std::string kubeconfig(const std::string& host = {}) const;
  const std::string& ca_pem() const;
  // A token without end for a Secret of type kubernetes.io/service-account-token.
  Result<std::string> secret_token(const std::string& ns, const std::string& account, const std::string& account_uid,
                                   const std::string& secret) const;
  // Full form with the CA's hash (docs/design/join.md).
  std::string server_token() const;
  std::string agent_token() const;

  // The agent in this process: its API is reached through `dial` instead of a tunnel. A null dial detaches.
  void attach_node(const std::string& name, NodeDialer dial);

  // The handler behind the port, for tests without a socket.
  base::http::Handler handler();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// What the store attaches to each record it loads from disk, so that lists and watches filter without decoding.
datastore::Indexer indexer();
// By what the store finds the watchers of a change.
datastore::Tag tag();

}  // namespace server
