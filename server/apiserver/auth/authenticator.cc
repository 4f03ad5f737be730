#include "server/apiserver/auth/authenticator.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/time.h"
#include "server/apiserver/pki/certificate.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

std::string_view bearer(const base::http::Headers& headers) {
  std::string_view v = headers.get("Authorization");
  constexpr std::string_view scheme = "Bearer ";
  if (v.size() <= scheme.size()) return {};
  for (size_t i = 0; i < scheme.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(v[i])) != std::tolower(static_cast<unsigned char>(scheme[i]))) return {};
  v.remove_prefix(scheme.size());
  while (!v.empty() && v.front() == ' ') v.remove_prefix(1);
  return v;
}

}  // namespace

UserPtr Authenticator::of_certificate(const std::string& der) const {
  {
    std::scoped_lock lock(mutex_);
    if (auto it = certificates_.find(der); it != certificates_.end()) return it->second;
  }
  auto facts = pki::read_certificate_der(der);
  if (!facts || facts->subject.common_name.empty()) return nullptr;
  auto user = std::make_shared<UserInfo>();
  user->name = facts->subject.common_name;
  user->groups = facts->subject.organizations;
  user->groups.push_back("system:authenticated");
  user->extra["authentication.kubernetes.io/credential-id"] = {"X509SHA256=" + base::sha256_hex(der)};
  std::scoped_lock lock(mutex_);
  constexpr size_t most = 4096;
  if (certificates_.size() >= most) certificates_.clear();
  certificates_[der] = user;
  return user;
}

Result<ServiceAccountTokens::Verified> Authenticator::bootstrap_token(const std::string& token) const {
  // id.secret of a Secret kube-system/bootstrap-token-<id>.
  std::string id = token.substr(0, 6);
  datastore::RecordPtr record = store_.get(object_key("", "secrets", "kube-system", "bootstrap-token-" + id));
  auto secret = record ? base::parse_json(*record->value) : base::Result<base::json::value>(base::json::value());
  auto field = [&](std::string_view name) {
    const base::json::object* data = secret ? base::find_object(*secret, "data") : nullptr;
    const base::json::value* v = data ? data->if_contains(name) : nullptr;
    auto decoded = base::base64_decode(v && v->is_string() ? std::string_view(v->get_string()) : std::string_view());
    return decoded ? *decoded : std::string();
  };
  std::string wanted = field("token-secret");
  if (wanted.empty() || !base::equal_constant_time(wanted, token.substr(7)) || field("usage-bootstrap-authentication") != "true")
    return base::unauthorized("invalid bearer token");
  if (std::string expiry = field("expiration"); !expiry.empty())
    if (auto t = base::parse_rfc3339(expiry); !t || *t <= base::WallClock::now()) return base::unauthorized("the bootstrap token has expired");
  ServiceAccountTokens::Verified out;
  out.user.name = "system:bootstrap:" + id;
  out.user.groups = {"system:bootstrappers", "system:authenticated"};
  return out;
}

Result<ServiceAccountTokens::Verified> Authenticator::verify_token(const std::string& token, const std::vector<std::string>& audiences) const {
  if (ServiceAccountTokens::looks_like(token)) return tokens_.verify(token, audiences);
  if (token.size() == 23 && token[6] == '.') return bootstrap_token(token);
  return base::unauthorized("invalid bearer token");
}

Result<UserPtr> Authenticator::identify(base::http::Request& request) const {
  if (const std::string& der = request.stream().peer_certificate(); !der.empty())
    if (UserPtr user = of_certificate(der)) return user;
  std::string_view token = bearer(request.headers);
  if (!token.empty()) {
    auto verified = verify_token(std::string(token), {});
    if (!verified) return base::unauthorized("Unauthorized");
    return std::make_shared<const UserInfo>(std::move(verified->user));
  }
  if (request.headers.has("Authorization")) return base::unauthorized("Unauthorized");
  static const UserPtr anonymous = std::make_shared<const UserInfo>(UserInfo::anonymous());
  return anonymous;
}

Task<Result<UserPtr>> Authenticator::impersonate(UserPtr user, const base::http::Headers& headers, const Authorizer& authorizer) const {
  std::string name(headers.get("Impersonate-User"));
  auto wanted = std::make_shared<UserInfo>();
  constexpr std::string_view extra_prefix = "impersonate-extra-";
  bool any = !name.empty();
  for (const auto& [field, text] : headers) {
    std::string lower(field);
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (lower == "impersonate-group") wanted->groups.push_back(text);
    else if (lower == "impersonate-uid") wanted->uid = text;
    else if (lower.starts_with(extra_prefix)) wanted->extra[base::percent_decode(lower.substr(extra_prefix.size()))].push_back(text);
    else continue;
    any = true;
  }
  if (!any) co_return user;
  if (name.empty()) co_return base::bad_request("requested impersonation without impersonating a user");
  wanted->name = name;
  auto ask = [&](std::string group, std::string resource, std::string subresource, std::string ns, std::string object) -> Access {
    Access a;
    a.verb = "impersonate";
    a.group = std::move(group);
    a.version = "v1";
    a.resource = std::move(resource);
    a.subresource = std::move(subresource);
    a.ns = std::move(ns);
    a.name = std::move(object);
    return a;
  };
  constexpr std::string_view account_prefix = "system:serviceaccount:";
  std::vector<Access> questions;
  bool account = name.starts_with(account_prefix);
  std::string account_ns;
  if (account) {
    std::string rest = name.substr(account_prefix.size());
    size_t colon = rest.find(':');
    account_ns = rest.substr(0, colon);
    questions.push_back(ask("", "serviceaccounts", "", account_ns, colon == rest.npos ? std::string() : rest.substr(colon + 1)));
  } else {
    questions.push_back(ask("", "users", "", "", name));
  }
  for (const std::string& g : wanted->groups) questions.push_back(ask("", "groups", "", "", g));
  if (!wanted->uid.empty()) questions.push_back(ask("authentication.k8s.io", "uids", "", "", wanted->uid));
  for (const auto& [key, values] : wanted->extra)
    for (const std::string& v : values) questions.push_back(ask("authentication.k8s.io", "userextras", key, "", v));
  for (Access& q : questions) CO_CHECK_OK(co_await authorizer.check(*user, q));
  if (account && wanted->groups.empty()) wanted->groups = {"system:serviceaccounts", "system:serviceaccounts:" + account_ns};
  if (name == "system:anonymous") {
    if (wanted->groups.empty()) wanted->groups.push_back("system:unauthenticated");
  } else if (!wanted->in_group("system:authenticated")) {
    wanted->groups.push_back("system:authenticated");
  }
  co_return UserPtr(std::move(wanted));
}

}  // namespace server
