// Who sent this request: a verified client certificate, a bearer token, or nobody in particular; then impersonation.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/http/server.h"
#include "server/apiserver/auth/authorizer.h"
#include "server/apiserver/auth/service_account_tokens.h"

namespace server {

using base::Result;
using base::Task;
using UserPtr = std::shared_ptr<const UserInfo>;

class Authenticator {
 public:
  Authenticator(const ServiceAccountTokens& tokens, const datastore::Store& store) : tokens_(tokens), store_(store) {}
  // 401 for credentials that do not hold; system:anonymous without any.
  Result<UserPtr> identify(base::http::Request& request) const;
  // The user named by Impersonate-* headers, when there are some and `user` may.
  Task<Result<UserPtr>> impersonate(UserPtr user, const base::http::Headers& headers, const Authorizer& authorizer) const;
  // A bearer token alone, for TokenReview.
  Result<ServiceAccountTokens::Verified> verify_token(const std::string& token, const std::vector<std::string>& audiences) const;

 private:
  UserPtr of_certificate(const std::string& der) const;
  Result<ServiceAccountTokens::Verified> bootstrap_token(const std::string& token) const;
  const ServiceAccountTokens& tokens_;
  const datastore::Store& store_;
  // Users of certificates seen, by DER; bounded, dropped whole when full.
  mutable std::mutex mutex_;
  mutable std::map<std::string, UserPtr> certificates_;
};

}  // namespace server
