#include "server/apiserver/auth/service_account_tokens.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/time.h"
#include "server/apiserver/registry/attributes.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

// Of tokens kept in Secrets.
constexpr std::string_view kept_issuer = "kubernetes/serviceaccount";
// Clocks differ by as much, and what was bound to an object outlives its deletion by it.
constexpr int64_t leeway = 60;

int64_t seconds(base::WallTime t) { return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count(); }

std::string_view text(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v && v->is_string() ? std::string_view(v->get_string()) : std::string_view();
}

object reference(std::string_view name, std::string_view uid) {
  object out{{"name", name}};
  if (!uid.empty()) out["uid"] = uid;
  return out;
}

const object* member(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v ? v->if_object() : nullptr;
}

UserInfo account_user(std::string_view ns, std::string_view name, std::string_view uid) {
  UserInfo out;
  out.name = fmt::format("system:serviceaccount:{}:{}", ns, name);
  out.uid = uid;
  out.groups = {"system:serviceaccounts", fmt::format("system:serviceaccounts:{}", ns), "system:authenticated"};
  return out;
}

bool contains(const std::vector<std::string>& list, std::string_view wanted) {
  return std::find(list.begin(), list.end(), wanted) != list.end();
}

}  // namespace

ServiceAccountTokens::ServiceAccountTokens(const datastore::Store& store, JwtKeys keys, ServiceAccountTokenOptions options)
    : store_(store), options_(std::move(options)), keys_(std::make_shared<const JwtKeys>(std::move(keys))) {
  if (options_.audiences.empty()) options_.audiences = options_.issuers;
}

void ServiceAccountTokens::use(JwtKeys keys) {
  std::scoped_lock lock(mutex_);
  keys_ = std::make_shared<const JwtKeys>(std::move(keys));
  checked_.clear();
}

std::shared_ptr<const JwtKeys> ServiceAccountTokens::keys() const {
  std::scoped_lock lock(mutex_);
  return keys_;
}

Result<ServiceAccountTokens::Issued> ServiceAccountTokens::issue(const TokenGrant& grant) const {
  auto now = base::WallClock::now();
  Issued out;
  out.expiry = now + grant.lifetime;
  const std::string id = base::uuid4();
  out.id = "JTI=" + id;
  array audiences;
  for (const std::string& a : grant.audiences.empty() ? options_.audiences : grant.audiences) audiences.emplace_back(a);
  object k8s{{"namespace", grant.ns}, {"serviceaccount", reference(grant.service_account, grant.uid)}};
  const BoundObject& bound = grant.bound;
  if (bound.kind == "Pod") {
    k8s["pod"] = reference(bound.name, bound.uid);
    if (!grant.node_name.empty()) k8s["node"] = reference(grant.node_name, grant.node_uid);
  } else if (bound.kind == "Secret") {
    k8s["secret"] = reference(bound.name, bound.uid);
  } else if (bound.kind == "Node") {
    k8s["node"] = reference(bound.name, bound.uid);
  }
  if (grant.warn_after.count() > 0) k8s["warnafter"] = seconds(now + grant.warn_after);
  object claims{{"aud", std::move(audiences)},
                {"exp", seconds(out.expiry)},
                {"iat", seconds(now)},
                {"iss", issuer()},
                {"jti", id},
                {"kubernetes.io", std::move(k8s)},
                {"nbf", seconds(now)},
                {"sub", fmt::format("system:serviceaccount:{}:{}", grant.ns, grant.service_account)}};
  TRY(out.token, keys()->sign(claims));
  return out;
}

Result<std::string> ServiceAccountTokens::issue_for_secret(const std::string& ns, const std::string& account,
                                                           const std::string& account_uid, const std::string& secret) const {
  return keys()->sign(object{{"iss", kept_issuer},
                             {"kubernetes.io/serviceaccount/namespace", ns},
                             {"kubernetes.io/serviceaccount/secret.name", secret},
                             {"kubernetes.io/serviceaccount/service-account.name", account},
                             {"kubernetes.io/serviceaccount/service-account.uid", account_uid},
                             {"sub", fmt::format("system:serviceaccount:{}:{}", ns, account)}});
}

bool ServiceAccountTokens::ours(const Jwt& token) const {
  return token.issuer() == kept_issuer || contains(options_.issuers, token.issuer());
}

Result<ServiceAccountTokens::ClaimsPtr> ServiceAccountTokens::claims_of(const std::string& token) const {
  std::string digest = base::sha256(token);
  std::shared_ptr<const JwtKeys> keys;
  {
    std::scoped_lock lock(mutex_);
    if (auto it = checked_.find(digest); it != checked_.end()) return it->second;
    keys = keys_;
  }
  TRY(Jwt parsed, parse_jwt(token));
  if (!ours(parsed)) return base::unauthorized("token of another issuer");
  if (!keys->verify(parsed)) return base::unauthorized("invalid token signature");
  auto claims = std::make_shared<const value>(std::move(parsed.claims));
  std::scoped_lock lock(mutex_);
  constexpr size_t most = 4096;
  if (checked_.size() >= most) checked_.clear();
  if (keys == keys_) checked_[digest] = claims;
  return claims;
}

Result<VerifiedToken> ServiceAccountTokens::verify(const std::string& token, const std::vector<std::string>& audiences) const {
  TRY(ClaimsPtr claims, claims_of(token));
  const std::vector<std::string>& wanted = audiences.empty() ? options_.audiences : audiences;
  if (base::get_string(*claims, "iss") == kept_issuer) return verify_kept(*claims, token, wanted);
  return verify_bound(*claims, wanted);
}

bool ServiceAccountTokens::alive(std::string_view resource, std::string_view ns, std::string_view name, std::string_view uid) const {
  datastore::RecordPtr r = store_.get(object_key("", resource, ns, name));
  if (!r || attributes_of(*r).uid != uid) return false;
  if (r->value->find("\"deletionTimestamp\":\"") == std::string::npos) return true;
  auto live = base::parse_json(*r->value, 256);
  std::string_view deleted = live ? base::get_string(*live, "metadata.deletionTimestamp") : std::string_view();
  if (deleted.empty()) return true;
  auto at = base::parse_rfc3339(deleted);
  return at && seconds(*at) + leeway > seconds(base::WallClock::now());
}

Result<VerifiedToken> ServiceAccountTokens::verify_bound(const value& claims, const std::vector<std::string>& wanted) const {
  const object& all = claims.get_object();
  const int64_t now = seconds(base::WallClock::now());
  if (base::get_int(claims, "exp") <= now) return base::unauthorized("service account token has expired");
  if (base::get_int(claims, "nbf") > now + leeway) return base::unauthorized("service account token is not valid yet");

  VerifiedToken out;
  if (const array* aud = base::find_array(claims, "aud"))
    for (const value& a : *aud)
      if (a.is_string() && contains(wanted, a.get_string())) out.audiences.emplace_back(a.get_string());
  if (out.audiences.empty()) return base::unauthorized("token audiences do not include the one that is asked for");

  const object* k8s = member(all, "kubernetes.io");
  const object* account = k8s ? member(*k8s, "serviceaccount") : nullptr;
  if (!account) return base::unauthorized("token names no service account");
  std::string_view ns = text(*k8s, "namespace");
  auto ended = [] { return base::unauthorized("service account token has been invalidated"); };
  if (!alive("serviceaccounts", ns, text(*account, "name"), text(*account, "uid"))) return ended();
  out.user = account_user(ns, text(*account, "name"), text(*account, "uid"));
  const object *pod = member(*k8s, "pod"), *secret = member(*k8s, "secret"), *node = member(*k8s, "node");
  if (secret && !alive("secrets", ns, text(*secret, "name"), text(*secret, "uid"))) return ended();
  if (pod && !alive("pods", ns, text(*pod, "name"), text(*pod, "uid"))) return ended();
  // Beside a pod the node only says where the pod runs.
  if (node && !pod && !alive("nodes", {}, text(*node, "name"), text(*node, "uid"))) return ended();
  auto tell = [&](std::string_view kind, const object* ref) {
    if (!ref) return;
    out.user.extra[fmt::format("authentication.kubernetes.io/{}-name", kind)] = {std::string(text(*ref, "name"))};
    if (std::string_view uid = text(*ref, "uid"); !uid.empty())
      out.user.extra[fmt::format("authentication.kubernetes.io/{}-uid", kind)] = {std::string(uid)};
  };
  tell("pod", pod);
  tell("node", node);
  if (std::string_view id = text(all, "jti"); !id.empty())
    out.user.extra["authentication.kubernetes.io/credential-id"] = {fmt::format("JTI={}", id)};
  return out;
}

Result<VerifiedToken> ServiceAccountTokens::verify_kept(const value& claims, const std::string& token,
                                                        const std::vector<std::string>& wanted) const {
  const object& all = claims.get_object();
  auto claim = [&](std::string_view name) { return text(all, fmt::format("kubernetes.io/serviceaccount/{}", name)); };
  std::string_view ns = claim("namespace"), name = claim("service-account.name"), uid = claim("service-account.uid"),
                   secret = claim("secret.name");
  VerifiedToken out;
  // Made without an audience, it is for the API server alone.
  for (const std::string& a : options_.audiences)
    if (contains(wanted, a)) out.audiences.push_back(a);
  if (out.audiences.empty()) return base::unauthorized("token audiences do not include the one that is asked for");
  auto ended = [] { return base::unauthorized("service account token has been invalidated"); };
  datastore::RecordPtr record = store_.get(object_key("", "secrets", ns, secret));
  if (!record || !alive("secrets", ns, secret, attributes_of(*record).uid)) return ended();
  auto live = base::parse_json(*record->value, 256);
  auto held = live ? base::base64_decode(base::get_string(*live, "data.token")) : Result<std::string>(std::string());
  if (!held || !base::equal_constant_time(*held, token)) return ended();
  if (!alive("serviceaccounts", ns, name, uid)) return ended();
  out.user = account_user(ns, name, uid);
  return out;
}

std::string ServiceAccountTokens::jwks() const { return keys()->jwks(); }

std::string ServiceAccountTokens::discovery() const {
  array algorithms;
  for (const std::string& a : keys()->algorithms()) algorithms.emplace_back(a);
  return base::to_text(object{{"issuer", issuer()},
                              {"jwks_uri", options_.jwks_uri.empty() ? issuer() + "/openid/v1/jwks" : options_.jwks_uri},
                              {"response_types_supported", array{"id_token"}},
                              {"subject_types_supported", array{"public"}},
                              {"id_token_signing_alg_values_supported", std::move(algorithms)}});
}

}  // namespace server
