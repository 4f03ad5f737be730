// Signatures of JSON Web Signatures (RFC 7515) and their keys: PEM, and JSON Web Keys (RFC 7517, 7518). RSA of 2048 bits and more, and the three NIST curves.
// All functions are pure and thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

struct evp_pkey_st;

namespace server::pki {

using base::Result;

// Immutable.
struct JwsKey {
  std::string id;         // "kid": of the JWK, else the base64url SHA-256 of the DER of the public key
  std::string algorithm;  // of the JWK, else what the key signs with: RS256, ES256, ES384, ES512
  std::shared_ptr<evp_pkey_st> key;
};

Result<JwsKey> read_public_pem(std::string_view pem);
Result<JwsKey> read_private_pem(std::string_view pem);
Result<JwsKey> read_jwk(const base::json::value& jwk);

// The public key as a JWK of use "sig".
Result<base::json::object> jwk_of(const JwsKey& key);

// Whether the name is one this file verifies: RS256 ... PS512, ES256 ... ES512. "none" and shared secrets (HS256) never are.
bool is_jws_algorithm(std::string_view name);

// Signs with a private key and its own algorithm.
Result<std::string> sign_jws(const JwsKey& key, std::string_view data);
// False too when the algorithm is not one for this kind of key.
bool verify_jws(const JwsKey& key, std::string_view algorithm, std::string_view data, std::string_view signature);

}  // namespace server::pki
