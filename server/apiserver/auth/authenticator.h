// Who sent this request: a verified client certificate, a bearer token, or nobody in particular; then impersonation.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/http/server.h"
#include "base/time.h"
#include "server/apiserver/auth/authorizer.h"
#include "server/apiserver/auth/oidc.h"
#include "server/apiserver/auth/service_account_tokens.h"

namespace server {

using base::Result;
using base::Task;
using UserPtr = std::shared_ptr<const UserInfo>;

class Authenticator {
 public:
  // provider: null where there is none.
  Authenticator(const ServiceAccountTokens& tokens, const datastore::Store& store, const OidcProvider* provider)
      : tokens_(tokens), store_(store), provider_(provider) {}
  // 401 for credentials that do not hold; system:anonymous without any. What this process can tell by itself.
  Result<UserPtr> identify(base::http::Request& request) const;
  // After a 401: asks the provider of identities, where there is one and the token is its own.
  Task<Result<UserPtr>> identify_elsewhere(base::http::Request& request) const;
  bool has_provider() const { return provider_ != nullptr; }
  // The user named by Impersonate-* headers, when there are some and `user` may.
  Task<Result<UserPtr>> impersonate(UserPtr user, const base::http::Headers& headers, const Authorizer& authorizer) const;
  // A bearer token alone, for TokenReview. `audiences` empty: those of the API server.
  Task<Result<VerifiedToken>> verify_token(std::string token, std::vector<std::string> audiences) const;

 private:
  UserPtr of_certificate(const std::string& der) const;
  Result<VerifiedToken> verify_own(const std::string& token, const std::vector<std::string>& audiences) const;
  Result<std::vector<std::string>> own_audiences(const std::vector<std::string>& wanted) const;
  const ServiceAccountTokens& tokens_;
  const datastore::Store& store_;
  const OidcProvider* const provider_;
  // Users of certificates seen, by DER; bounded, dropped whole when full.
  struct Known {
    UserPtr user;
    base::WallTime until;
  };
  mutable std::mutex mutex_;
  mutable std::map<std::string, Known> certificates_;
};

}  // namespace server
