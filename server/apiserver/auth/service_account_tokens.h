// ServiceAccount tokens: issued by TokenRequest, bound to audience, expiry and optionally a Pod, Secret or Node; checked against the live objects each time.
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
  std::vector<std::string> audiences;
  std::chrono::seconds lifetime = std::chrono::hours(1);
  BoundObject bound;
  std::string node_name, node_uid;  // where the bound pod runs
};

class ServiceAccountTokens {
 public:
  ServiceAccountTokens(const datastore::Store& store, JwtKeys keys, std::string issuer);
  // The token and its expiry.
  Result<std::pair<std::string, std::chrono::system_clock::time_point>> issue(const TokenGrant& grant) const;

  struct Verified {
    UserInfo user;
    std::vector<std::string> audiences;  // those of the token that were accepted
  };
  // 401 when signature, time, audience or a bound object does not hold. `audiences` empty: the API server's own.
  Result<Verified> verify(const std::string& token, const std::vector<std::string>& audiences = {}) const;
  // Whether the text looks like one of ours, so that other authenticators need not try.
  static bool looks_like(std::string_view token) { return token.starts_with("eyJ"); }
  const std::string& issuer() const { return issuer_; }
  std::string jwks() const { return keys_.jwks(); }

 private:
  Result<base::json::object> claims_of(const std::string& token) const;
  const datastore::Store& store_;
  const JwtKeys keys_;
  const std::string issuer_;
  // Claims of tokens whose signature was checked, by digest; bounded, dropped whole when full.
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<const base::json::object>> checked_;
};

}  // namespace server
