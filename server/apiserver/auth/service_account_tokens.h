// ServiceAccount tokens: issued by TokenRequest, bound to audience, expiry and optionally a Pod, Secret or Node; and those kept in Secrets of type
// kubernetes.io/service-account-token. Checked against the live objects each time. Thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "datastore/store.h"
#include "server/apiserver/auth/jwt.h"
#include "server/apiserver/identity.h"

namespace server {

struct BoundObject {
  std::string kind, name, uid;  // Pod, Secret or Node; empty kind: not bound
};

struct TokenGrant {
  std::string ns, service_account, uid;
  std::vector<std::string> audiences;  // empty: the API server's own
  std::chrono::seconds lifetime = std::chrono::hours(1);
  // When a client should have renewed it, where that is before its end; 0: then.
  std::chrono::seconds warn_after{0};
  BoundObject bound;
  std::string node_name, node_uid;  // where the bound pod runs
};

struct VerifiedToken {
  UserInfo user;
  std::vector<std::string> audiences;  // those of the token that were accepted
};

struct ServiceAccountTokenOptions {
  std::vector<std::string> issuers;    // the first issues, all are accepted
  std::vector<std::string> audiences;  // of the API server; empty: the issuers
  std::string jwks_uri;                // in the discovery document; empty: below the issuer
};

class ServiceAccountTokens {
 public:
  ServiceAccountTokens(const datastore::Store& store, JwtKeys keys, ServiceAccountTokenOptions options);
  // From now on the keys that sign and verify.
  void use(JwtKeys keys);

  struct Issued {
    std::string token, id;  // id: "JTI=<jti>"
    std::chrono::system_clock::time_point expiry;
  };
  Result<Issued> issue(const TokenGrant& grant) const;
  // A token without end for a Secret, which must hold it to keep it valid.
  Result<std::string> issue_for_secret(const std::string& ns, const std::string& account, const std::string& account_uid,
                                       const std::string& secret) const;

  // 401 when signature, time, audience or a bound object does not hold. `audiences` empty: the API server's own.
  Result<VerifiedToken> verify(const std::string& token, const std::vector<std::string>& audiences = {}) const;
  // Whether a token says it is one of ours, so that other authenticators need not be asked.
  bool ours(const Jwt& token) const;
  const std::string& issuer() const { return options_.issuers.front(); }
  const std::vector<std::string>& audiences() const { return options_.audiences; }
  std::string jwks() const;
  // OpenID Connect discovery document (OpenID Connect Discovery 1.0, section 3).
  std::string discovery() const;

 private:
  using ClaimsPtr = std::shared_ptr<const base::json::value>;
  Result<ClaimsPtr> claims_of(const std::string& token) const;
  Result<VerifiedToken> verify_bound(const base::json::value& claims, const std::vector<std::string>& audiences) const;
  Result<VerifiedToken> verify_kept(const base::json::value& claims, const std::string& token,
                                    const std::vector<std::string>& audiences) const;
  bool alive(std::string_view resource, std::string_view ns, std::string_view name, std::string_view uid) const;
  std::shared_ptr<const JwtKeys> keys() const;
  const datastore::Store& store_;
  ServiceAccountTokenOptions options_;
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<const JwtKeys> keys_;
  // Claims of tokens whose signature was checked, by digest; bounded, dropped whole when full and when keys change.
  mutable std::map<std::string, ClaimsPtr> checked_;
};

}  // namespace server
