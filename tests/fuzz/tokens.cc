// JSON Web Tokens and the continue tokens of lists.
#include "base/bytes.h"
#include "fuzz.h"
#include "server/apiserver/auth/jwt.h"
#include "server/apiserver/registry/continue_token.h"

namespace {

constexpr const char* key =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n"
    "q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n"
    "-----END PUBLIC KEY-----\n";

// The right key and the wrong signature.
const std::string& unsigned_token() {
  static const std::string text = base::base64url_encode("{\"alg\":\"ES256\",\"kid\":\"" + base::base64url_encode(base::sha256(key)) + "\"}") + "." +
                                  base::base64url_encode(R"({"sub":"system:serviceaccount:a:b"})") + "." + base::base64url_encode(std::string(64, 'x'));
  return text;
}

const std::string& continuation() {
  static const std::string text = server::encode_continue({12, std::string("a/b\0", 4)});
  return text;
}

}  // namespace

const std::vector<std::string_view> fuzz::seeds = {unsigned_token(), continuation()};

void fuzz::one(std::string_view input) {
  static const server::JwtKeys keys("", {key});
  require(!keys.verify(input));
  if (auto t = server::decode_continue(input)) {
    auto again = server::decode_continue(server::encode_continue(*t));
    require(again && again->revision == t->revision && again->start == t->start);
  }
}
