// serviceaccounts/token: a token for a ServiceAccount, bound to an object that must exist.
#include <algorithm>

#include <fmt/format.h>

#include "base/time.h"
#include "server/apiserver/operations/operations.h"
#include "server/apiserver/registry/keys.h"

namespace server {

using base::json::array;
using base::json::object;
using base::json::value;

namespace {

constexpr int64_t shortest = 600, longest = int64_t{1} << 32;
constexpr int64_t year = 365 * 24 * 3600;
// What the ServiceAccount admission asks for. Old clients read their token once: such a token lives on, and says when it should have been renewed.
constexpr int64_t pod_token_seconds = 3607;

std::vector<std::string> texts(const value& v, std::string_view path) {
  std::vector<std::string> out;
  if (const array* list = base::find_array(v, path))
    for (const value& one : *list)
      if (one.is_string()) out.emplace_back(one.get_string());
  return out;
}

// Whether a volume of the pod asks for a token of this audience.
bool names_audience(const value& pod, std::string_view audience) {
  if (const array* volumes = base::find_array(pod, "spec.volumes"))
    for (const value& v : *volumes)
      if (const array* sources = base::find_array(v, "projected.sources"))
        for (const value& s : *sources)
          if (base::find_object(s, "serviceAccountToken") && base::get_string(s, "serviceAccountToken.audience") == audience) return true;
  return false;
}

}  // namespace

// Fills in what the request is bound to; the pod, when it is one.
Result<value> Operations::bind_token(const Target& t, const value& request, TokenGrant& grant) const {
  const std::string kind(base::get_string(request, "spec.boundObjectRef.kind")),
      name(base::get_string(request, "spec.boundObjectRef.name"));
  const std::string uid(base::get_string(request, "spec.boundObjectRef.uid")),
      version(base::get_string(request, "spec.boundObjectRef.apiVersion"));
  const char* resource = kind == "Pod" ? "pods" : kind == "Secret" ? "secrets" : kind == "Node" ? "nodes" : nullptr;
  if (!resource || (!version.empty() && version != "v1"))
    return base::bad_request(fmt::format("cannot bind token for serviceaccount \"{}\" to object type {}, Kind={}", t.name, version, kind));
  RecordPtr bound = registry_.store().get(object_key("", resource, kind == "Node" ? std::string() : t.ns, name));
  if (!bound) return base::not_found(resource, name);
  value pod;
  if (kind == "Pod") {
    TRY(pod, base::parse_json(*bound->value, 256));
    std::string_view account = base::get_string(pod, "spec.serviceAccountName");
    if (account != t.name)
      return base::bad_request(
          fmt::format("cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.", t.name));
    grant.node_name = base::get_string(pod, "spec.nodeName");
    if (RecordPtr node = registry_.store().get(object_key("", "nodes", {}, grant.node_name))) grant.node_uid = attributes_of(*node).uid;
  }
  const std::string& has = attributes_of(*bound).uid;
  if (!uid.empty() && uid != has)
    return base::conflict(kind, name,
                          fmt::format("the UID in the bound object reference ({}) does not match the UID in record. The object might have "
                                      "been deleted and then recreated",
                                      uid));
  grant.bound = {kind, name, has};
  return pod;
}

// A node's own requests are bound to its pods and to audiences these ask for (NodeRestriction).
Task<Result<>> Operations::check_node_token(std::string node, TokenGrant grant, value pod, Call& call) const {
  auto refused = [&](std::string why) { return base::forbidden("serviceaccounts", grant.service_account, why); };
  if (grant.bound.kind != "Pod") co_return refused("node requested token not bound to a pod");
  if (grant.node_name != node) co_return refused(fmt::format("node {} requested token bound to a pod scheduled on a different node", node));
  if (grant.audiences.size() > 1) co_return refused("node may only request 0 or 1 audiences");
  const std::string audience = grant.audiences.empty() ? std::string() : grant.audiences[0];
  const auto& own = tokens_.audiences();
  if (audience.empty() || std::find(own.begin(), own.end(), audience) != own.end() || names_audience(pod, audience)) co_return Result<>{};
  Access ask;
  ask.verb = "request-serviceaccounts-token-audience";
  ask.resource = audience;
  ask.ns = grant.ns;
  ask.name = grant.service_account;
  Decision d = co_await authorizer_.decide(*call.user, ask);
  if (d.allowed) co_return Result<>{};
  co_return refused(fmt::format("audience \"{}\" not found in pod spec volume", audience));
}

Task<Result<Reply>> Operations::request_token(Target t, Call& call, value request) {
  if (std::string_view kind = base::get_string(request, "kind", "TokenRequest"); kind != "TokenRequest")
    co_return base::bad_request(fmt::format("the request holds a {}, a TokenRequest is expected", kind));
  CO_TRY(RecordPtr account, registry_.get(Target{t.resource, t.ns, t.name, {}}));
  TokenGrant grant;
  grant.ns = t.ns;
  grant.service_account = t.name;
  grant.uid = attributes_of(*account).uid;
  grant.audiences = texts(request, "spec.audiences");
  const int64_t seconds = base::get_int(request, "spec.expirationSeconds", 3600);
  auto out_of_bounds = [&](std::string_view why) {
    return base::invalid("TokenRequest.authentication.k8s.io", "", {invalid_value("spec.expirationSeconds", value(seconds), why)});
  };
  if (seconds < shortest) co_return out_of_bounds("may not specify a duration less than 10 minutes");
  if (seconds > longest) co_return out_of_bounds("may not specify a duration larger than 2^32 seconds");
  value pod;
  const object* reference = base::find_object(request, "spec.boundObjectRef");
  if (reference) {
    CO_TRY(pod, bind_token(t, request, grant));
  }
  if (auto node = node_of(*call.user)) CO_CHECK_OK(co_await check_node_token(*node, grant, pod, call));
  const auto& own = tokens_.audiences();
  if (grant.audiences.empty()) grant.audiences = own;
  const bool for_us = std::all_of(grant.audiences.begin(), grant.audiences.end(),
                                  [&](const std::string& a) { return std::find(own.begin(), own.end(), a) != own.end(); });
  grant.lifetime = std::chrono::seconds(seconds);
  if (grant.bound.kind == "Pod" && seconds == pod_token_seconds && for_us) {
    grant.warn_after = grant.lifetime;
    grant.lifetime = std::chrono::seconds(year);
  }
  const auto now = base::WallClock::now();
  object spec{
      {"audiences", array(grant.audiences.begin(), grant.audiences.end())}, {"expirationSeconds", seconds}, {"boundObjectRef", nullptr}};
  if (reference) spec["boundObjectRef"] = *reference;
  object meta{{"name", t.name}, {"namespace", t.ns}, {"creationTimestamp", base::rfc3339(now)}};
  if (call.dry_run)
    co_return Reply{201, base::make_bytes(base::to_text(object{{"kind", "TokenRequest"}, {"apiVersion", "authentication.k8s.io/v1"}, {"metadata", meta}, {"spec", spec},
                                                               {"status", object{{"token", ""}, {"expirationTimestamp", nullptr}}}})), nullptr};
  CO_TRY(auto issued, tokens_.issue(grant));
  object status{{"token", issued.token}, {"expirationTimestamp", base::rfc3339(now + std::chrono::seconds(seconds))}};
  object out{{"kind", "TokenRequest"}, {"apiVersion", "authentication.k8s.io/v1"}, {"metadata", std::move(meta)}, {"spec", std::move(spec)}, {"status", std::move(status)}};
  co_return Reply{201, base::make_bytes(base::to_text(out)), nullptr};
}

}  // namespace server
