#include "server/apiserver/auth/oidc.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/files.h"
#include "base/log.h"
#include "base/time.h"

namespace server {

using namespace std::chrono_literals;
using base::json::array;
using base::json::object;
using base::json::value;

namespace {

constexpr int64_t leeway = 60;
// Between two looks at the provider's keys, however many tokens name unknown ones.
constexpr auto least_pause = 1s;
constexpr auto longest_pause = 60s;
constexpr auto longest_wait = 5s;

// A top-level claim; names may hold dots.
const value* claim(const value& claims, std::string_view name) { return claims.get_object().if_contains(name); }

std::string_view text_claim(const value& claims, std::string_view name) {
  const value* v = claim(claims, name);
  return v && v->is_string() ? std::string_view(v->get_string()) : std::string_view();
}

int64_t number_claim(const value& claims, std::string_view name, int64_t otherwise) {
  const value* v = claim(claims, name);
  if (!v) return otherwise;
  if (v->is_double()) return static_cast<int64_t>(v->get_double());
  return v->is_int64() ? v->get_int64() : v->is_uint64() ? static_cast<int64_t>(v->get_uint64()) : otherwise;
}

// A claim that is one text or a list of them.
Result<std::vector<std::string>> texts_claim(const value& claims, std::string_view name) {
  std::vector<std::string> out;
  const value* v = claim(claims, name);
  if (!v || v->is_null()) return out;
  if (v->is_string()) return std::vector<std::string>{std::string(v->get_string())};
  if (!v->is_array()) return base::unauthorized(fmt::format("oidc: the claim {} is neither a text nor a list of texts", name));
  for (const value& one : v->get_array()) {
    if (!one.is_string()) return base::unauthorized(fmt::format("oidc: the claim {} is not a list of texts", name));
    out.emplace_back(one.get_string());
  }
  return out;
}

}  // namespace

Result<UserInfo> oidc_user(const OidcOptions& o, const value& claims, int64_t now) {
  if (text_claim(claims, "iss") != o.issuer_url) return base::unauthorized("oidc: token of another issuer");
  TRY(std::vector<std::string> audiences, texts_claim(claims, "aud"));
  if (std::find(audiences.begin(), audiences.end(), o.client_id) == audiences.end())
    return base::unauthorized("oidc: token for another audience");
  if (number_claim(claims, "exp", 0) <= now) return base::unauthorized("oidc: token is expired");
  if (number_claim(claims, "nbf", 0) > now + leeway) return base::unauthorized("oidc: token is not valid yet");
  for (const std::string& required : o.required_claims) {
    size_t equals = required.find('=');
    if (text_claim(claims, required.substr(0, equals)) != required.substr(equals + 1))
      return base::unauthorized(fmt::format("oidc: required claim {} is absent or differs", required.substr(0, equals)));
  }
  UserInfo out;
  std::string_view name = text_claim(claims, o.username_claim);
  if (name.empty()) return base::unauthorized(fmt::format("oidc: the claim {} names no user", o.username_claim));
  if (o.username_claim == "email") {
    const value* verified = claim(claims, "email_verified");
    if (verified && !(verified->is_bool() && verified->get_bool())) return base::unauthorized("oidc: email not verified");
  }
  out.name = o.username_prefix + std::string(name);
  if (!o.groups_claim.empty()) {
    TRY(std::vector<std::string> groups, texts_claim(claims, o.groups_claim));
    for (const std::string& g : groups) out.groups.push_back(o.groups_prefix + g);
  }
  if (std::string_view id = text_claim(claims, "jti"); !id.empty())
    out.extra["authentication.kubernetes.io/credential-id"] = {fmt::format("JTI={}", id)};
  out.groups.push_back("system:authenticated");
  return out;
}

Result<std::unique_ptr<OidcProvider>> OidcProvider::make(OidcOptions o) {
  if (!o.issuer_url.starts_with("https://")) return base::bad_request("--oidc-issuer-url: an https:// URL is expected");
  if (o.client_id.empty()) return base::bad_request("--oidc-client-id: it is required with --oidc-issuer-url");
  for (const std::string& a : o.signing_algs)
    if (!pki::is_jws_algorithm(a))
      return base::bad_request(
          fmt::format("--oidc-signing-algs: \"{}\" is none of RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512", a));
  for (const std::string& c : o.required_claims)
    if (c.find('=') == c.npos || c.starts_with("="))
      return base::bad_request(fmt::format("--oidc-required-claim: key=value is expected, not \"{}\"", c));
  // Names of a provider do not meet those of the cluster unless somebody says they may.
  if (o.username_prefix.empty() && o.username_claim != "email") o.username_prefix = o.issuer_url + "#";
  if (o.username_prefix == "-") o.username_prefix.clear();
  base::http::TlsClientOptions tls;
  if (o.ca_file.empty()) {
    tls.system_roots = true;
  } else {
    TRY(tls.ca_pem, base::read_file(o.ca_file, 1u << 20));
  }
  TRY(base::http::TlsContextPtr context, base::http::make_client_context(tls));
  return std::unique_ptr<OidcProvider>(new OidcProvider(std::move(o), std::move(context)));
}

OidcProvider::OidcProvider(OidcOptions options, base::http::TlsContextPtr tls)
    : options_(std::move(options)), client_({.tls = std::move(tls)}) {}

std::shared_ptr<const JwtKeys> OidcProvider::keys() const {
  std::scoped_lock lock(mutex_);
  return keys_;
}

Task<Result<value>> OidcProvider::document(std::string url) const {
  if (!url.starts_with("https://")) co_return base::bad_request("not an https:// URL: " + url);
  base::http::ClientRequest request;
  request.url = url;
  request.headers.set("Accept", "application/json");
  request.timeout = 10s;
  CO_TRY(auto response, co_await client_.send(std::move(request)));
  constexpr size_t most = 1u << 20;
  CO_TRY(std::string text, co_await response->body(most));
  if (response->status != 200) co_return base::unavailable(fmt::format("{} answered {}", url, response->status));
  co_return base::parse_json(text, 16);
}

Task<Result<JwtKeys>> OidcProvider::fetch() const {
  std::string root = options_.issuer_url;
  while (root.ends_with('/')) root.pop_back();
  CO_TRY(value about, co_await document(root + "/.well-known/openid-configuration"));
  if (base::get_string(about, "issuer") != options_.issuer_url)
    co_return base::bad_request(
        fmt::format("the provider calls itself \"{}\", not \"{}\"", base::get_string(about, "issuer"), options_.issuer_url));
  CO_TRY(value set, co_await document(std::string(base::get_string(about, "jwks_uri"))));
  std::vector<pki::JwsKey> keys;
  if (const array* list = base::find_array(set, "keys"))
    for (const value& one : *list)
      if (auto key = pki::read_jwk(one)) keys.push_back(std::move(*key));
  if (keys.empty()) co_return base::bad_request("the provider publishes no key that signs tokens");
  co_return JwtKeys(std::move(keys));
}

Task<> OidcProvider::follow() {
  base::Duration pause = 1s;
  for (;;) {
    uint64_t seen = wanted_.version();
    auto now = co_await fetch();
    if (now) {
      std::scoped_lock lock(mutex_);
      keys_ = std::make_shared<const JwtKeys>(std::move(*now));
    } else {
      base::log::warn("oidc", "the keys of {} cannot be fetched: {}", options_.issuer_url, now.error().message);
    }
    fetched_.notify();
    if (!now) {
      co_await base::sleep_for(pause);
      pause = std::min<base::Duration>(pause * 2, longest_pause);
      continue;
    }
    pause = 1s;
    co_await base::sleep_for(least_pause);
    co_await wanted_.wait(seen);
  }
}

Task<Result<UserInfo>> OidcProvider::verify(Jwt token) const {
  if (std::find(options_.signing_algs.begin(), options_.signing_algs.end(), token.algorithm) == options_.signing_algs.end())
    co_return base::unauthorized(fmt::format("oidc: tokens signed with {} are not accepted", token.algorithm));
  auto known = [&](const std::shared_ptr<const JwtKeys>& k) { return k && (token.key_id.empty() || k->has(token.key_id)); };
  uint64_t seen = fetched_.version();
  std::shared_ptr<const JwtKeys> now = keys();
  if (!known(now)) {
    wanted_.notify();
    co_await fetched_.wait(seen, base::Clock::now() + longest_wait);
    now = keys();
  }
  if (!known(now) || !now->verify(token)) co_return base::unauthorized("oidc: the signature cannot be verified");
  co_return oidc_user(options_, token.claims,
                      std::chrono::duration_cast<std::chrono::seconds>(base::WallClock::now().time_since_epoch()).count());
}

}  // namespace server
