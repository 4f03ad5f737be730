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

Task<Result<Reply>> Operations::request_token(Target t, Call& call, value request) {
  CO_TRY(RecordPtr account, registry_.get(Target{t.resource, t.ns, t.name, {}}));
  TokenGrant grant;
  grant.ns = t.ns;
  grant.service_account = t.name;
  grant.uid = attributes_of(*account).uid;
  if (const array* list = base::find_array(request, "spec.audiences"))
    for (const value& a : *list)
      if (a.is_string()) grant.audiences.emplace_back(a.get_string());
  constexpr int64_t shortest = 600, longest = int64_t{1} << 32;
  int64_t seconds = base::get_int(request, "spec.expirationSeconds", 3600);
  if (seconds < shortest)
    co_return base::invalid("TokenRequest.authentication.k8s.io", "", {invalid_value("spec.expirationSeconds", value(seconds), "may not specify a duration less than 10 minutes")});
  if (seconds > longest)
    co_return base::invalid("TokenRequest.authentication.k8s.io", "", {invalid_value("spec.expirationSeconds", value(seconds), "may not specify a duration larger than 2^32 seconds")});
  constexpr int64_t year = 365 * 24 * 3600;
  grant.lifetime = std::chrono::seconds(std::min(seconds, year));
  std::string kind(base::get_string(request, "spec.boundObjectRef.kind")), name(base::get_string(request, "spec.boundObjectRef.name"));
  std::string uid(base::get_string(request, "spec.boundObjectRef.uid"));
  if (!kind.empty()) {
    const char* resource = kind == "Pod" ? "pods" : kind == "Secret" ? "secrets" : kind == "Node" ? "nodes" : nullptr;
    if (!resource) co_return base::bad_request(fmt::format("cannot bind token for serviceaccount to object kind {}", kind));
    RecordPtr bound = registry_.store().get(object_key("", resource, kind == "Node" ? std::string() : t.ns, name));
    if (!bound) co_return base::not_found(resource, name);
    const std::string& has = attributes_of(*bound).uid;
    if (!uid.empty() && uid != has)
      co_return base::conflict(resource, name, fmt::format("the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated", uid));
    if (kind == "Pod") {
      CO_TRY(value pod, base::parse_json(*bound->value, 256));
      if (base::get_string(pod, "spec.serviceAccountName") != t.name)
        co_return base::bad_request(fmt::format("cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.", t.name));
      grant.node_name = base::get_string(pod, "spec.nodeName");
      if (RecordPtr node = registry_.store().get(object_key("", "nodes", {}, grant.node_name))) grant.node_uid = attributes_of(*node).uid;
    }
    grant.bound = {kind, name, has};
  }
  // A node's own requests are bound to its pods.
  if (auto node = node_of(*call.user); node && (grant.bound.kind != "Pod" || grant.node_name != *node))
    co_return base::forbidden("serviceaccounts", t.name, fmt::format("node {} can only request tokens bound to pods running on it", *node));
  CO_TRY(auto issued, tokens_.issue(grant));
  value out = request;
  object& o = out.as_object();
  o["apiVersion"] = "authentication.k8s.io/v1";
  o["kind"] = "TokenRequest";
  object& meta = metadata_of(o);
  meta["name"] = t.name;
  meta["namespace"] = t.ns;
  meta["creationTimestamp"] = base::now_rfc3339();
  object& spec = base::make_object(out, "spec");
  spec["expirationSeconds"] = grant.lifetime.count();
  array audiences;
  for (const std::string& a : grant.audiences) audiences.emplace_back(a);
  if (audiences.empty()) audiences.emplace_back(tokens_.issuer());
  spec["audiences"] = std::move(audiences);
  o["status"] = object{{"token", issued.first}, {"expirationTimestamp", base::rfc3339(issued.second)}};
  co_return Reply{201, base::make_bytes(base::to_text(out)), nullptr};
}

}  // namespace server
