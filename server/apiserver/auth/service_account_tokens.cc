#include "server/apiserver/auth/service_account_tokens.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/time.h"
#include "server/apiserver/registry/attributes.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

int64_t seconds(std::chrono::system_clock::time_point t) { return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count(); }

std::string_view text(const base::json::object& o, std::string_view name) {
  const base::json::value* v = o.if_contains(name);
  return v && v->is_string() ? std::string_view(v->get_string()) : std::string_view();
}

}  // namespace

ServiceAccountTokens::ServiceAccountTokens(const datastore::Store& store, JwtKeys keys, std::string issuer)
    : store_(store), keys_(std::move(keys)), issuer_(std::move(issuer)) {}

Result<std::pair<std::string, std::chrono::system_clock::time_point>> ServiceAccountTokens::issue(const TokenGrant& grant) const {
  auto now = base::WallClock::now();
  auto expiry = now + grant.lifetime;
  base::json::array audiences;
  for (const std::string& a : grant.audiences) audiences.emplace_back(a);
  if (audiences.empty()) audiences.emplace_back(issuer_);
  base::json::object k8s{{"namespace", grant.ns}, {"serviceaccount", base::json::object{{"name", grant.service_account}, {"uid", grant.uid}}}};
  if (grant.bound.kind == "Pod") {
    k8s["pod"] = base::json::object{{"name", grant.bound.name}, {"uid", grant.bound.uid}};
    if (!grant.node_name.empty()) k8s["node"] = base::json::object{{"name", grant.node_name}, {"uid", grant.node_uid}};
  } else if (grant.bound.kind == "Secret") {
    k8s["secret"] = base::json::object{{"name", grant.bound.name}, {"uid", grant.bound.uid}};
  } else if (grant.bound.kind == "Node") {
    k8s["node"] = base::json::object{{"name", grant.bound.name}, {"uid", grant.bound.uid}};
  }
  base::json::object claims{{"aud", std::move(audiences)},
                            {"exp", seconds(expiry)},
                            {"iat", seconds(now)},
                            {"iss", issuer_},
                            {"jti", base::uuid4()},
                            {"kubernetes.io", std::move(k8s)},
                            {"nbf", seconds(now)},
                            {"sub", fmt::format("system:serviceaccount:{}:{}", grant.ns, grant.service_account)}};
  TRY(std::string token, keys_.sign(claims));
  return std::pair(std::move(token), expiry);
}

Result<base::json::object> ServiceAccountTokens::claims_of(const std::string& token) const {
  std::string digest = base::sha256(token);
  {
    std::scoped_lock lock(mutex_);
    if (auto it = checked_.find(digest); it != checked_.end()) return *it->second;
  }
  TRY(base::json::object claims, keys_.verify(token));
  std::scoped_lock lock(mutex_);
  constexpr size_t most = 4096;
  if (checked_.size() >= most) checked_.clear();
  checked_[digest] = std::make_shared<const base::json::object>(claims);
  return claims;
}

Result<ServiceAccountTokens::Verified> ServiceAccountTokens::verify(const std::string& token, const std::vector<std::string>& wanted) const {
  TRY(base::json::object claims, claims_of(token));
  base::json::value all(std::move(claims));
  if (base::get_string(all, "iss") != issuer_) return base::unauthorized("token of another issuer");
  int64_t now = seconds(base::WallClock::now());
  if (base::get_int(all, "exp") <= now) return base::unauthorized("token has expired");
  if (base::get_int(all, "nbf") > now + 60) return base::unauthorized("token is not valid yet");

  Verified out;
  if (const base::json::array* aud = base::find_array(all, "aud"))
    for (const base::json::value& a : *aud) {
      if (!a.is_string()) continue;
      std::string one(a.get_string());
      bool accepted = wanted.empty() ? one == issuer_ : std::find(wanted.begin(), wanted.end(), one) != wanted.end();
      if (accepted) out.audiences.push_back(std::move(one));
    }
  if (out.audiences.empty()) return base::unauthorized("token is for another audience");

  const base::json::value* k8s_value = all.as_object().if_contains("kubernetes.io");
  const base::json::object* k8s = k8s_value ? k8s_value->if_object() : nullptr;
  const base::json::value* account_value = k8s ? k8s->if_contains("serviceaccount") : nullptr;
  const base::json::object* account = account_value ? account_value->if_object() : nullptr;
  if (!account) return base::unauthorized("token names no service account");
  std::string ns(text(*k8s, "namespace")), name(text(*account, "name"));
  // A bound object must exist and be the same one; a pod being deleted keeps its token until it is gone.
  auto alive = [&](std::string_view resource, std::string_view in, const base::json::object& ref) {
    datastore::RecordPtr r = store_.get(object_key("", resource, in, text(ref, "name")));
    return r && attributes_of(*r).uid == text(ref, "uid");
  };
  if (!alive("serviceaccounts", ns, *account)) return base::unauthorized("service account has been deleted");
  out.user.uid = text(*account, "uid");
  out.user.name = fmt::format("system:serviceaccount:{}:{}", ns, name);
  out.user.groups = {"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"};
  for (auto [kind, resource, scoped] : {std::tuple("pod", "pods", true), std::tuple("secret", "secrets", true), std::tuple("node", "nodes", false)}) {
    const base::json::value* v = k8s->if_contains(kind);
    const base::json::object* ref = v ? v->if_object() : nullptr;
    if (!ref) continue;
    bool informative = std::string_view(kind) == "node" && k8s->contains("pod");
    if (!informative && !alive(resource, scoped ? std::string_view(ns) : std::string_view(), *ref))
      return base::unauthorized(fmt::format("the {} this token is bound to has been deleted", kind));
    if (std::string_view(kind) == "secret") continue;
    out.user.extra[fmt::format("authentication.kubernetes.io/{}-name", kind)] = {std::string(text(*ref, "name"))};
    out.user.extra[fmt::format("authentication.kubernetes.io/{}-uid", kind)] = {std::string(text(*ref, "uid"))};
  }
  out.user.extra["authentication.kubernetes.io/credential-id"] = {"JTI=" + std::string(base::get_string(all, "jti"))};
  return out;
}

}  // namespace server
