// Compact JSON Web Tokens (RFC 7515, 7519): taken apart, verified against a set of keys, signed with the cluster's own. Only what asymmetric keys
// sign is accepted; no header but "alg" and "kid" is heeded.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "server/apiserver/pki/signature.h"

namespace server {

using base::Result;

// A token taken apart. Nothing in it is verified.
struct Jwt {
  std::string text;
  size_t signed_bytes = 0;  // of text: header and claims as they were signed
  std::string algorithm, key_id, signature;
  base::json::value claims;
  std::string_view issuer() const { return base::get_string(claims, "iss"); }
};
// 401 for what is not a token.
Result<Jwt> parse_jwt(std::string_view text);

class JwtKeys {
 public:
  JwtKeys() = default;
  explicit JwtKeys(std::vector<pki::JwsKey> accepted) : keys_(std::move(accepted)) {}
  // The private key signs; its public half and those of public_keys are accepted. A public key that cannot be read is logged and left out.
  static Result<JwtKeys> of_pem(const std::string& private_key, const std::vector<std::string>& public_keys);

  Result<std::string> sign(const base::json::object& claims) const;
  // Whether one of the keys signed it: the one the token names, any when it names none of them. Times and audiences are the caller's.
  bool verify(const Jwt& token) const;
  bool has(std::string_view id) const;
  bool empty() const { return keys_.empty(); }
  // JSON Web Key Set of the public keys, and the algorithms they sign with.
  std::string jwks() const;
  std::vector<std::string> algorithms() const;

 private:
  pki::JwsKey private_key_;
  std::vector<pki::JwsKey> keys_;
};

}  // namespace server
