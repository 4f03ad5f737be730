#include "server/apiserver/auth/authenticator.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/bytes.h"
#include "server/apiserver/auth/bootstrap_tokens.h"
#include "server/apiserver/pki/certificate.h"

namespace server {
namespace {

// The token of "Authorization: Bearer", or of the WebSocket subprotocol with which browsers send one.
std::string bearer(const base::http::Headers& headers) {
  std::string_view v = headers.get("Authorization");
  constexpr std::string_view scheme = "Bearer ";
  auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b)); };
  if (v.size() > scheme.size() && std::equal(scheme.begin(), scheme.end(), v.begin(), same)) {
    v.remove_prefix(scheme.size());
    while (v.starts_with(' ')) v.remove_prefix(1);
    return std::string(v.substr(0, v.find(' ')));
  }
  constexpr std::string_view prefix = "base64url.bearer.authorization.k8s.io.";
  for (std::string_view line : headers.all("Sec-WebSocket-Protocol"))
    for (size_t at = 0; (at = line.find(prefix, at)) != line.npos;) {
      at += prefix.size();
      if (auto token = base::base64url_decode(line.substr(at, line.find_first_of(", ", at) - at))) return std::move(*token);
    }
  return {};
}

}  // namespace

UserPtr Authenticator::of_certificate(const std::string& der) const {
  const base::WallTime now = base::WallClock::now();
  {
    std::scoped_lock lock(mutex_);
    if (auto it = certificates_.find(der); it != certificates_.end()) return it->second.until > now ? it->second.user : nullptr;
  }
  auto facts = pki::read_certificate_der(der);
  if (!facts || facts->subject.common_name.empty() || facts->not_after <= now) return nullptr;
  auto user = std::make_shared<UserInfo>();
  user->name = facts->subject.common_name;
  user->groups = facts->subject.organizations;
  user->groups.push_back("system:authenticated");
  user->extra["authentication.kubernetes.io/credential-id"] = {"X509SHA256=" + base::sha256_hex(der)};
  std::scoped_lock lock(mutex_);
  constexpr size_t most = 4096;
  if (certificates_.size() >= most) certificates_.clear();
  certificates_[der] = {user, facts->not_after};
  return user;
}

// Authenticators that know no audiences speak for the API server's.
Result<std::vector<std::string>> Authenticator::own_audiences(const std::vector<std::string>& wanted) const {
  std::vector<std::string> out;
  for (const std::string& a : tokens_.audiences())
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), a) != wanted.end()) out.push_back(a);
  if (out.empty()) return base::unauthorized("token audiences do not include the one that is asked for");
  return out;
}

Result<VerifiedToken> Authenticator::verify_own(const std::string& token, const std::vector<std::string>& audiences) const {
  if (!is_bootstrap_token(token)) return tokens_.verify(token, audiences);
  VerifiedToken out;
  TRY(out.audiences, own_audiences(audiences));
  TRY(out.user, bootstrap_user(store_, token));
  return out;
}

Task<Result<VerifiedToken>> Authenticator::verify_token(std::string token, std::vector<std::string> audiences) const {
  auto own = verify_own(token, audiences);
  if (own || provider_ == nullptr) co_return own;
  auto parsed = parse_jwt(token);
  if (!parsed || !provider_->issued(*parsed)) co_return own;
  VerifiedToken out;
  CO_TRY(out.audiences, own_audiences(audiences));
  CO_TRY(out.user, co_await provider_->verify(std::move(*parsed)));
  co_return out;
}

Result<UserPtr> Authenticator::identify(base::http::Request& request) const {
  bool refused = request.stream().peer_certificate_refused();
  if (const std::string& der = request.stream().peer_certificate(); !der.empty()) {
    if (UserPtr user = of_certificate(der)) return user;
    refused = true;
  }
  std::string token = bearer(request.headers);
  if (!token.empty()) {
    auto verified = verify_own(token, {});
    if (!verified) return base::unauthorized("Unauthorized");
    return std::make_shared<const UserInfo>(std::move(verified->user));
  }
  if (refused) return base::unauthorized("Unauthorized");
  static const UserPtr anonymous = std::make_shared<const UserInfo>(UserInfo::anonymous());
  return anonymous;
}

Task<Result<UserPtr>> Authenticator::identify_elsewhere(base::http::Request& request) const {
  auto verified = co_await verify_token(bearer(request.headers), {});
  if (!verified) co_return base::unauthorized("Unauthorized");
  co_return std::make_shared<const UserInfo>(std::move(verified->user));
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
  // "<namespace>:<name>"; what is not of that form is a user of an odd name.
  const std::string rest = name.starts_with(account_prefix) ? name.substr(account_prefix.size()) : std::string();
  const size_t colon = rest.find(':');
  const bool account = colon != rest.npos && colon > 0 && colon + 1 < rest.size() && rest.find(':', colon + 1) == rest.npos;
  const std::string account_ns = account ? rest.substr(0, colon) : std::string();
  if (account) {
    questions.push_back(ask("", "serviceaccounts", "", account_ns, rest.substr(colon + 1)));
  } else {
    questions.push_back(ask("", "users", "", "", name));
  }
  for (const std::string& g : wanted->groups) questions.push_back(ask("", "groups", "", "", g));
  if (!wanted->uid.empty()) questions.push_back(ask("authentication.k8s.io", "uids", "", "", wanted->uid));
  for (const auto& [key, values] : wanted->extra)
    for (const std::string& v : values) questions.push_back(ask("authentication.k8s.io", "userextras", key, "", v));
  for (Access& q : questions) CO_CHECK_OK(co_await authorizer.check(*user, q));
  if (account && wanted->groups.empty()) wanted->groups = {"system:serviceaccounts", "system:serviceaccounts:" + account_ns};
  // Everybody is one or the other; who asks for the lesser gets it.
  if (!wanted->in_group("system:unauthenticated") && !(name != "system:anonymous" && wanted->in_group("system:authenticated")))
    wanted->groups.push_back(name == "system:anonymous" ? "system:unauthenticated" : "system:authenticated");
  co_return UserPtr(std::move(wanted));
}

}  // namespace server
