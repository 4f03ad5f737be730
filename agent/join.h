// Joining a cluster (docs/design/join.md): from a token to an identity, kept under <data-dir>/agent/ and renewed while the agent runs.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/http/client.h"
#include "base/http/tls.h"
#include "base/io.h"

namespace agent {

using base::Result;
using base::Task;

// A10<hash>::<role>:<secret> or A10<hash>::<id>.<secret>, or only the secret (nothing pins the CA then).
struct JoinToken {
  std::string ca_hash;  // 64 hex digits, or empty
  std::string secret;   // what goes into the Authorization header: the token as given
};
// 400 with one line that says what is wrong.
Result<JoinToken> parse_join_token(std::string_view text);

// What the server told, and who this node is.
struct Membership {
  std::string node_name;
  base::http::KeyPair identity;
  std::string ca_pem;
  std::vector<std::string> servers;  // URLs
  std::string cluster_cidr, service_cidr, cluster_dns, cluster_domain;
};

struct JoinOptions {
  std::string server_url;  // https://HOST:6443
  std::string token;       // may be empty when the identity is already there
  std::string node_name;
  std::string data_dir;
};

// Reuses the stored identity while its certificate is valid and names this node; else asks the server. Nothing secret is sent before the hash
// of the CA has been checked. One attempt: the caller repeats on 503 and 504.
Task<Result<Membership>> join(JoinOptions options);

// Keeps the certificate fresh: holds the TLS context for API and tunnel, and renews with the present certificate when a third of its life is left.
class IdentityKeeper {
 public:
  static Result<std::shared_ptr<IdentityKeeper>> make(JoinOptions options, Membership membership);
  ~IdentityKeeper();
  base::http::TlsContextPtr tls() const;  // thread-safe
  // Called with each new context, on the task's strand (for base::http::Client::set_tls).
  void on_renewal(std::function<void(base::http::TlsContextPtr)> f);
  // Runs until cancelled.
  Task<> run();

 private:
  IdentityKeeper();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// PEM key (ECDSA P-256) and a signing request for CN=system:node:<name>, O=system:nodes.
struct SigningRequest {
  std::string key_pem, csr_pem;
};
Result<SigningRequest> make_signing_request(const std::string& node_name);
struct CertificateInfo {
  std::string common_name;
  int64_t not_before = 0, not_after = 0;  // Unix seconds
};
Result<CertificateInfo> read_certificate(std::string_view pem);

}  // namespace agent
