// Users of an OpenID Connect provider: ID tokens verified with the keys the provider publishes (OpenID Connect Core 1.0, Discovery 1.0), and mapped to
// user and groups as the options say, which are Kubernetes' --oidc-* flags. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/http/client.h"
#include "base/io.h"
#include "server/apiserver/apiserver.h"
#include "server/apiserver/auth/jwt.h"

namespace server {

// What a token's claims say of its user; pure. 401 when they do not hold at `now`.
Result<UserInfo> oidc_user(const OidcOptions& options, const base::json::value& claims, int64_t now);

class OidcProvider {
 public:
  // 400 for options that make no sense. Nothing is asked of the provider yet.
  static Result<std::unique_ptr<OidcProvider>> make(OidcOptions options);

  // Fetches the provider's keys until cancelled: once now, and again when a token names a key that is not known. Start it once.
  Task<> follow();
  bool issued(const Jwt& token) const { return token.issuer() == options_.issuer_url; }
  // Waits a few seconds for keys that are being fetched.
  Task<Result<UserInfo>> verify(Jwt token) const;

 private:
  OidcProvider(OidcOptions options, base::http::TlsContextPtr tls);
  Task<Result<JwtKeys>> fetch() const;
  Task<Result<base::json::value>> document(std::string url) const;
  std::shared_ptr<const JwtKeys> keys() const;

  const OidcOptions options_;
  mutable base::http::Client client_;
  mutable base::Event wanted_;   // a token with an unknown key has come
  mutable base::Event fetched_;  // an attempt has ended
  mutable std::mutex mutex_;     // guards keys_
  std::shared_ptr<const JwtKeys> keys_;
};

}  // namespace server
