#include "server/apiserver/auth/jwt.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "server/apiserver/pki/certificate.h"

namespace server {

JwtKeys::JwtKeys(std::string private_key_pem, std::vector<std::string> public_keys) : private_key_(std::move(private_key_pem)) {
  for (std::string& pem : public_keys) {
    std::string id = base::base64url_encode(base::sha256(pem));
    keys_.push_back({std::move(id), std::move(pem)});
  }
}

Result<std::string> JwtKeys::sign(const base::json::object& claims) const {
  base::json::object header{{"alg", "ES256"}, {"kid", keys_.front().id}};
  std::string text = base::base64url_encode(base::to_text(header)) + "." + base::base64url_encode(base::to_text(claims));
  TRY(std::string signature, pki::sign_es256(private_key_, text));
  return text + "." + base::base64url_encode(signature);
}

Result<base::json::object> JwtKeys::verify(std::string_view token) const {
  constexpr size_t longest = 16 * 1024;
  size_t first = token.find('.');
  size_t last = token.rfind('.');
  if (token.size() > longest || first == std::string_view::npos || first == last || token.find('.', first + 1) != last)
    return base::unauthorized("malformed token");
  auto header_text = base::base64url_decode(token.substr(0, first));
  auto claims_text = base::base64url_decode(token.substr(first + 1, last - first - 1));
  auto signature = base::base64url_decode(token.substr(last + 1));
  if (!header_text || !claims_text || !signature) return base::unauthorized("malformed token");
  auto header = base::parse_json(*header_text, 4);
  if (!header || base::get_string(*header, "alg") != "ES256") return base::unauthorized("token of an unknown algorithm");
  std::string_view id = base::get_string(*header, "kid");
  for (const Key& key : keys_) {
    if (key.id != id) continue;
    if (!pki::verify_es256(key.pem, token.substr(0, last), *signature)) break;
    auto claims = base::parse_json(*claims_text, 16);
    if (!claims || !claims->is_object()) return base::unauthorized("malformed token");
    return std::move(claims->get_object());
  }
  return base::unauthorized("invalid token signature");
}

std::string JwtKeys::jwks() const {
  base::json::array keys;
  for (const Key& key : keys_) {
    auto point = pki::public_point(key.pem);
    if (!point) continue;
    keys.push_back(base::json::object{{"use", "sig"}, {"kty", "EC"}, {"kid", key.id}, {"crv", "P-256"}, {"alg", "ES256"},
                                      {"x", base::base64url_encode(point->x)}, {"y", base::base64url_encode(point->y)}});
  }
  return base::to_text(base::json::object{{"keys", std::move(keys)}});
}

}  // namespace server
