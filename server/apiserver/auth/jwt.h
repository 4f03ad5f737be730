// Compact JWTs signed with ES256 (RFC 7515, 7518, 7519). Only what the cluster itself issues is accepted: no other algorithm, no header tricks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace server {

using base::Result;

class JwtKeys {
 public:
  // public_keys: accepted, the first belongs to private_key.
  JwtKeys(std::string private_key_pem, std::vector<std::string> public_keys);
  Result<std::string> sign(const base::json::object& claims) const;
  // Signature and form only; times and audiences are the caller's. 401 otherwise.
  Result<base::json::object> verify(std::string_view token) const;
  // JSON Web Key Set of the public keys.
  std::string jwks() const;

 private:
  struct Key {
    std::string id, pem;
  };
  std::string private_key_;
  std::vector<Key> keys_;
};

}  // namespace server
