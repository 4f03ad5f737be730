#include "server/apiserver/join/limited_token.h"

#include "base/bytes.h"
#include "server/apiserver/auth/bootstrap_tokens.h"
#include "server/apiserver/registry/keys.h"

namespace server {

using base::json::object;

std::string make_limited_token() {
  constexpr std::string_view alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  constexpr size_t length = 6 + 1 + 16;
  std::string out;
  while (out.size() < length) {
    if (out.size() == 6) out += '.';
    // Bytes beyond a multiple of the alphabet would favour its beginning.
    auto c = static_cast<unsigned char>(base::random_bytes(1)[0]);
    if (c < 256 / alphabet.size() * alphabet.size()) out += alphabet[c % alphabet.size()];
  }
  return out;
}

object limited_token_secret(std::string_view token, std::optional<base::WallTime> expiry, std::string_view description) {
  std::string id(token.substr(0, 6));
  object data{{"token-id", base::base64_encode(id)},
              {"token-hash", base::base64_encode(base::sha256_hex(token.substr(7)))},
              {"role", base::base64_encode("agent")}};
  if (expiry) data["expiration"] = base::base64_encode(base::rfc3339(*expiry));
  if (!description.empty()) data["description"] = base::base64_encode(description);
  return {{"apiVersion", "v1"},
          {"kind", "Secret"},
          {"metadata", object{{"name", std::string(join_token_prefix) + id}, {"namespace", "kube-system"}}},
          {"type", join_token_type},
          {"data", std::move(data)}};
}

bool limited_token_holds(const datastore::Store& store, std::string_view token) {
  if (!is_bootstrap_token(token)) return false;
  datastore::RecordPtr record =
      store.get(object_key("", "secrets", "kube-system", std::string(join_token_prefix).append(token.substr(0, 6))));
  auto secret = record ? base::parse_json(*record->value, 256) : base::Result<base::json::value>(base::not_found("secrets", ""));
  if (!secret || base::get_string(*secret, "type") != join_token_type || base::find(*secret, "metadata.deletionTimestamp")) return false;
  std::string hash = secret_entry(*secret, "token-hash");
  return !hash.empty() && base::equal_constant_time(hash, base::sha256_hex(token.substr(7))) && !secret_expired(*secret);
}

}  // namespace server
