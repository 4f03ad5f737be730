#include "server/apiserver/http/discovery.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/bytes.h"
#include "server/apiserver/http/compression.h"

namespace server {

using base::json::array;
using base::json::object;

namespace {

array strings(const std::vector<std::string>& in) {
  array out;
  for (const std::string& s : in) out.emplace_back(s);
  return out;
}

// Order in which clients look a short or ambiguous name up.
const std::vector<std::string>& group_order() {
  static const std::vector<std::string> order = {"",
                                                 "apiregistration.k8s.io",
                                                 "apps",
                                                 "events.k8s.io",
                                                 "authentication.k8s.io",
                                                 "authorization.k8s.io",
                                                 "autoscaling",
                                                 "batch",
                                                 "certificates.k8s.io",
                                                 "networking.k8s.io",
                                                 "policy",
                                                 "rbac.authorization.k8s.io",
                                                 "storage.k8s.io",
                                                 "admissionregistration.k8s.io",
                                                 "apiextensions.k8s.io",
                                                 "scheduling.k8s.io",
                                                 "coordination.k8s.io",
                                                 "node.k8s.io",
                                                 "discovery.k8s.io",
                                                 "resource.k8s.io",
                                                 "flowcontrol.apiserver.k8s.io"};
  return order;
}

struct Subresource {
  std::string name, group, version, kind;
  std::vector<std::string> verbs;
};

Subresource describe(const ResourceInfo& r, const std::string& name) {
  const std::vector<std::string> modify = {"get", "patch", "update"};
  if (name == "scale") return {name, "autoscaling", "v1", "Scale", modify};
  if (name == "binding") return {name, "", "v1", "Binding", {"create"}};
  if (name == "eviction") return {name, "policy", "v1", "Eviction", {"create"}};
  if (name == "token") return {name, "authentication.k8s.io", "v1", "TokenRequest", {"create"}};
  if (name == "finalize") return {name, r.group, r.version, r.kind->kind, {"update"}};
  if (name == "log") return {name, r.group, r.version, r.kind->kind, {"get"}};
  if (name == "exec") return {name, "", "v1", "PodExecOptions", {"create", "get"}};
  if (name == "attach") return {name, "", "v1", "PodAttachOptions", {"create", "get"}};
  if (name == "portforward") return {name, "", "v1", "PodPortForwardOptions", {"create", "get"}};
  if (name == "proxy") {
    std::string kind = r.resource == "nodes" ? "NodeProxyOptions" : r.resource == "services" ? "ServiceProxyOptions" : "PodProxyOptions";
    return {name, "", "v1", kind, {"create", "delete", "get", "patch", "update"}};
  }
  return {name, r.group, r.version, r.kind->kind, modify};
}

object resource_entry(const ResourceInfo& r) {
  object out{{"name", r.resource}, {"singularName", r.kind->singular}, {"namespaced", r.namespaced}, {"kind", r.kind->kind}, {"verbs", strings(r.verbs)}};
  if (!r.kind->short_names.empty()) out["shortNames"] = strings(r.kind->short_names);
  if (!r.kind->categories.empty()) out["categories"] = strings(r.kind->categories);
  if (!r.is_virtual)
    out["storageVersionHash"] =
        base::base64_encode(base::sha256(fmt::format("{}/{}/{}", r.stored->group, r.stored->version, r.kind->kind)).substr(0, 8));
  return out;
}

object kind_entry(std::string_view group, std::string_view version, std::string_view kind) {
  return {{"group", group}, {"version", version}, {"kind", kind}};
}

object aggregated_entry(const ResourceInfo& r) {
  object out{{"resource", r.resource},
             {"responseKind", kind_entry(r.group, r.version, r.kind->kind)},
             {"scope", r.namespaced ? "Namespaced" : "Cluster"},
             {"singularResource", r.kind->singular},
             {"verbs", strings(r.verbs)}};
  if (!r.kind->short_names.empty()) out["shortNames"] = strings(r.kind->short_names);
  if (!r.kind->categories.empty()) out["categories"] = strings(r.kind->categories);
  array subs;
  for (const std::string& name : r.subresources) {
    Subresource s = describe(r, name);
    subs.push_back(object{{"subresource", s.name}, {"responseKind", kind_entry(s.group, s.version, s.kind)}, {"verbs", strings(s.verbs)}});
  }
  if (!subs.empty()) out["subresources"] = std::move(subs);
  return out;
}

}  // namespace

Discovery::Discovery(const Resources& resources, const AdvertisedAddress& address) : address_(address) {
  // Groups in order; versions as the table has them, a higher number first.
  std::vector<std::string> groups = group_order();
  std::map<std::string, std::map<std::string, std::vector<const ResourceInfo*>, std::greater<>>> rows;
  for (const ResourceInfo& r : resources.all()) {
    rows[r.group][r.version].push_back(&r);
    if (std::find(groups.begin(), groups.end(), r.group) == groups.end()) groups.push_back(r.group);
  }
  array group_list, aggregated_core, aggregated_groups;
  for (const std::string& group : groups) {
    auto found = rows.find(group);
    if (found == rows.end()) continue;
    array versions, aggregated_versions;
    for (auto& [version, list] : found->second) {
      const std::string group_version = group.empty() ? version : group + "/" + version;
      versions.push_back(object{{"groupVersion", group_version}, {"version", version}});
      std::sort(list.begin(), list.end(), [](const ResourceInfo* a, const ResourceInfo* b) { return a->resource < b->resource; });
      array entries, aggregated;
      for (const ResourceInfo* r : list) {
        entries.push_back(resource_entry(*r));
        for (const std::string& name : r->subresources) {
          Subresource s = describe(*r, name);
          object entry{{"name", r->resource + "/" + s.name}, {"singularName", ""}, {"namespaced", r->namespaced}};
          if (s.group != r->group || s.version != r->version) {
            entry["group"] = s.group;
            entry["version"] = s.version;
          }
          entry["kind"] = s.kind;
          entry["verbs"] = strings(s.verbs);
          entries.push_back(std::move(entry));
        }
        aggregated.push_back(aggregated_entry(*r));
      }
      documents_[(group.empty() ? "api/" : "apis/") + group_version] = base::to_text(
          object{{"kind", "APIResourceList"}, {"apiVersion", "v1"}, {"groupVersion", group_version}, {"resources", std::move(entries)}});
      aggregated_versions.push_back(object{{"version", version}, {"resources", std::move(aggregated)}, {"freshness", "Current"}});
    }
    object aggregated_group{
        {"metadata", group.empty() ? object{{"creationTimestamp", nullptr}} : object{{"name", group}, {"creationTimestamp", nullptr}}},
        {"versions", std::move(aggregated_versions)}};
    if (group.empty()) {
      aggregated_core.push_back(std::move(aggregated_group));
      continue;
    }
    aggregated_groups.push_back(std::move(aggregated_group));
    object entry{{"name", group}, {"versions", versions}, {"preferredVersion", versions.front()}};
    group_list.push_back(entry);
    object document{{"kind", "APIGroup"}, {"apiVersion", "v1"}};
    for (auto& [name, v] : entry) document[name] = v;
    documents_["apis/" + group] = base::to_text(document);
  }
  documents_["apis"] = base::to_text(object{{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", std::move(group_list)}});
  auto whole = [](array items) {
    return base::to_text(object{
        {"kind", "APIGroupDiscoveryList"}, {"apiVersion", "apidiscovery.k8s.io/v2"}, {"metadata", object{}}, {"items", std::move(items)}});
  };
  aggregated_core_ = whole(std::move(aggregated_core));
  aggregated_groups_ = whole(std::move(aggregated_groups));
  etag_core_ = fmt::format("\"{}\"", base::sha256_hex(aggregated_core_).substr(0, 32));
  etag_groups_ = fmt::format("\"{}\"", base::sha256_hex(aggregated_groups_).substr(0, 32));
}

Task<> Discovery::aggregated(Exchange& x, std::string_view version) const {
  const bool core = x.info.parts[0] == "api";
  const std::string& text = core ? aggregated_core_ : aggregated_groups_;
  const bool beta = version != "v2";
  std::string etag = core ? etag_core_ : etag_groups_;
  if (beta) etag.insert(1, "b");
  x.response.headers.set("Etag", etag);
  x.response.headers.set("Vary", "Accept");
  x.response.headers.set("Cache-Control", "public");
  x.response.headers.set("Content-Type", fmt::format("application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", version));
  if (x.request.headers.get("If-None-Match") == etag) {
    x.response.status = 304;
    co_await x.response.send(std::string_view());
    co_return;
  }
  if (!beta) {
    co_await send_body(x, text);
    co_return;
  }
  // The two versions differ in their names only.
  constexpr std::string_view mark = "apidiscovery.k8s.io/v2";
  size_t at = text.find(mark) + mark.size();
  std::string_view parts[] = {std::string_view(text).substr(0, at), "beta1", std::string_view(text).substr(at)};
  co_await send_body(x, std::span<const std::string_view>(parts));
}

Task<> Discovery::handle(Exchange& x) const {
  if (x.info.parts.size() == 1)
    if (std::string_view version = aggregated_version(x.request); !version.empty()) co_return co_await aggregated(x, version);
  std::string path;
  for (const std::string& p : x.info.parts) path += (path.empty() ? "" : "/") + p;
  if (path == "api") {
    array addresses{object{{"clientCIDR", "0.0.0.0/0"}, {"serverAddress", address_.host_and_port()}}};
    const object versions{{"kind", "APIVersions"}, {"versions", array{"v1"}}, {"serverAddressByClientCIDRs", std::move(addresses)}};
    co_return co_await send_reply(x, Reply{200, base::make_bytes(base::to_text(versions)), nullptr});
  }
  auto it = documents_.find(path);
  if (it == documents_.end())
    co_return co_await send_error(x, base::fail(404, "NotFound", "the server could not find the requested resource").error());
  x.output.shape = OutputForm::Shape::whole;
  co_await send_reply(x, Reply{200, base::make_bytes(it->second), nullptr});
}

}  // namespace server
