#include "server/apiserver/auth/bootstrap_tokens.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/time.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

bool of_alphabet(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

// system:bootstrappers:<lower-case letters, digits, colons, dashes; neither colon nor dash last>
bool is_bootstrap_group(std::string_view group) {
  constexpr std::string_view prefix = "system:bootstrappers:";
  if (!group.starts_with(prefix)) return false;
  group.remove_prefix(prefix.size());
  return !group.empty() && group.size() <= 256 && of_alphabet(group.substr(group.size() - 1)) &&
         std::all_of(group.begin(), group.end(), [](char c) { return c == ':' || c == '-' || of_alphabet({&c, 1}); });
}

}  // namespace

std::string secret_entry(const base::json::value& secret, std::string_view name) {
  const base::json::object* data = base::find_object(secret, "data");
  const base::json::value* v = data ? data->if_contains(name) : nullptr;
  auto decoded = base::base64_decode(v && v->is_string() ? std::string_view(v->get_string()) : std::string_view());
  return decoded ? std::move(*decoded) : std::string();
}

bool secret_expired(const base::json::value& secret) {
  std::string expiry = secret_entry(secret, "expiration");
  if (expiry.empty()) return false;
  auto t = base::parse_rfc3339(expiry);
  return !t || *t <= base::WallClock::now();
}

bool is_bootstrap_token(std::string_view token) {
  return token.size() == 23 && token[6] == '.' && of_alphabet(token.substr(0, 6)) && of_alphabet(token.substr(7));
}

base::Result<UserInfo> bootstrap_user(const datastore::Store& store, std::string_view token) {
  auto refused = [] { return base::unauthorized("invalid bearer token"); };
  const std::string id(token.substr(0, 6));
  datastore::RecordPtr record = store.get(object_key("", "secrets", "kube-system", "bootstrap-token-" + id));
  if (!record) return refused();
  TRY(base::json::value secret, base::parse_json(*record->value, 256));
  if (base::get_string(secret, "type") != "bootstrap.kubernetes.io/token" || base::find(secret, "metadata.deletionTimestamp"))
    return refused();
  std::string wanted = secret_entry(secret, "token-secret");
  if (wanted.empty() || !base::equal_constant_time(wanted, token.substr(7)) || secret_entry(secret, "token-id") != id) return refused();
  if (secret_expired(secret) || secret_entry(secret, "usage-bootstrap-authentication") != "true") return refused();
  UserInfo out;
  out.name = "system:bootstrap:" + id;
  out.groups = {"system:bootstrappers"};
  std::string more = secret_entry(secret, "auth-extra-groups");
  for (std::string_view rest = more; !rest.empty();) {
    size_t comma = rest.find(',');
    std::string_view group = rest.substr(0, comma);
    rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
    if (!is_bootstrap_group(group)) return refused();
    out.groups.emplace_back(group);
  }
  out.groups.push_back("system:authenticated");
  return out;
}

}  // namespace server
