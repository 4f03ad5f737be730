#include "server/apiserver/auth/jwt.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/log.h"

namespace server {

Result<Jwt> parse_jwt(std::string_view text) {
  constexpr size_t longest = 16 * 1024;
  auto malformed = [] { return base::unauthorized("malformed token"); };
  size_t first = text.find('.'), last = text.rfind('.');
  if (text.size() > longest || first == text.npos || first == last || text.find('.', first + 1) != last) return malformed();
  auto header_text = base::base64url_decode(text.substr(0, first));
  auto claims_text = base::base64url_decode(text.substr(first + 1, last - first - 1));
  auto signature = base::base64url_decode(text.substr(last + 1));
  if (!header_text || !claims_text || !signature) return malformed();
  auto header = base::parse_json(*header_text, 8);
  auto claims = base::parse_json(*claims_text, 16);
  if (!header || !header->is_object() || !claims || !claims->is_object()) return malformed();
  // Extensions that must be understood (RFC 7515, 4.1.11): none are.
  if (header->get_object().contains("crit")) return malformed();
  Jwt out;
  out.text = text;
  out.signed_bytes = last;
  out.algorithm = base::get_string(*header, "alg");
  out.key_id = base::get_string(*header, "kid");
  out.signature = std::move(*signature);
  out.claims = std::move(*claims);
  return out;
}

Result<JwtKeys> JwtKeys::of_pem(const std::string& private_key, const std::vector<std::string>& public_keys) {
  JwtKeys out;
  TRY(out.private_key_, pki::read_private_pem(private_key));
  out.keys_.push_back(out.private_key_);
  for (const std::string& pem : public_keys) {
    auto key = pki::read_public_pem(pem);
    if (!key) base::log::warn("auth", "an older public key of service accounts is left out: {}", key.error().message);
    else if (!out.has(key->id)) out.keys_.push_back(std::move(*key));
  }
  return out;
}

Result<std::string> JwtKeys::sign(const base::json::object& claims) const {
  base::json::object header{{"alg", private_key_.algorithm}, {"kid", private_key_.id}};
  std::string text = base::base64url_encode(base::to_text(header)) + "." + base::base64url_encode(base::to_text(claims));
  TRY(std::string signature, pki::sign_jws(private_key_, text));
  return text + "." + base::base64url_encode(signature);
}

bool JwtKeys::has(std::string_view id) const {
  return std::any_of(keys_.begin(), keys_.end(), [&](const pki::JwsKey& k) { return k.id == id; });
}

bool JwtKeys::verify(const Jwt& token) const {
  std::string_view data = std::string_view(token.text).substr(0, token.signed_bytes);
  const bool named = has(token.key_id);
  return std::any_of(keys_.begin(), keys_.end(), [&](const pki::JwsKey& k) {
    return (!named || k.id == token.key_id) && pki::verify_jws(k, token.algorithm, data, token.signature);
  });
}

std::string JwtKeys::jwks() const {
  base::json::array keys;
  for (const pki::JwsKey& key : keys_)
    if (auto jwk = pki::jwk_of(key)) keys.push_back(std::move(*jwk));
  return base::to_text(base::json::object{{"keys", std::move(keys)}});
}

std::vector<std::string> JwtKeys::algorithms() const {
  std::vector<std::string> out;
  for (const pki::JwsKey& key : keys_)
    if (std::find(out.begin(), out.end(), key.algorithm) == out.end()) out.push_back(key.algorithm);
  return out;
}

}  // namespace server
