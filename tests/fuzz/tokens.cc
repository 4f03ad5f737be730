// JSON Web Tokens, JSON Web Keys and the continue tokens of lists.
#include "base/bytes.h"
#include "fuzz.h"
#include "server/apiserver/auth/jwt.h"
#include "server/apiserver/registry/continue_token.h"

namespace {

const server::pki::JwsKey& key() {
  static const server::pki::JwsKey key = server::pki::read_public_pem("-----BEGIN PUBLIC KEY-----\n"
                                                                      "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n"
                                                                      "q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n"
                                                                      "-----END PUBLIC KEY-----\n")
                                             .value();
  return key;
}

// The right key and the wrong signature.
const std::string& unsigned_token() {
  static const std::string text = base::base64url_encode("{\"alg\":\"ES256\",\"kid\":\"" + key().id + "\"}") + "." +
                                  base::base64url_encode(R"({"sub":"system:serviceaccount:a:b"})") + "." +
                                  base::base64url_encode(std::string(64, 'x'));
  return text;
}

const std::string& continuation() {
  static const std::string text = server::encode_continue({12, std::string("a/b\0", 4)});
  return text;
}

const std::string& jwk() {
  static const std::string text = base::to_text(server::pki::jwk_of(key()).value());
  return text;
}

}  // namespace

const std::vector<std::string_view> fuzz::seeds = {unsigned_token(), continuation(), jwk(),
                                                   R"({"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256"})"};

void fuzz::one(std::string_view input) {
  static const server::JwtKeys keys(std::vector{key()});
  if (auto token = server::parse_jwt(input)) require(!keys.verify(*token));
  if (auto t = server::decode_continue(input)) {
    auto again = server::decode_continue(server::encode_continue(*t));
    require(again && again->revision == t->revision && again->start == t->start);
  }
  if (auto v = base::parse_json(input, 8)) {
    auto read = server::pki::read_jwk(*v);
    if (read) (void)server::pki::jwk_of(*read);
  }
}
