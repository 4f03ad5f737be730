#include "server/apiserver/http/own_state.h"

#include <set>

#include <fmt/format.h>

#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

object component(std::string_view name) {
  return {{"metadata", object{{"name", name}}},
          {"conditions", array{object{{"type", "Healthy"}, {"status", "True"}, {"message", "ok"}}}}};
}

// Scheduler, controllers and store run in the process that answers: who can ask finds them alive.
std::vector<object> components() { return {component("controller-manager"), component("etcd-0"), component("scheduler")}; }

// How groups are ordered among each other: the core group first, those of the project before others.
int64_t group_priority(std::string_view group) {
  if (group.empty()) return 18000;
  if (group == "apps") return 17800;
  if (group == "events.k8s.io") return 17750;
  if (group == "authentication.k8s.io") return 17700;
  if (group == "authorization.k8s.io") return 17600;
  if (group == "autoscaling") return 17500;
  if (group == "batch") return 17400;
  if (group == "certificates.k8s.io") return 17300;
  if (group == "networking.k8s.io") return 17200;
  if (group == "policy") return 17100;
  if (group == "rbac.authorization.k8s.io") return 17000;
  if (group == "storage.k8s.io") return 16800;
  if (group == "apiextensions.k8s.io" || group == "admissionregistration.k8s.io") return 16700;
  return 16600;
}

// Since when the cluster is there.
std::string born(const Registry& registry) {
  RecordPtr record = registry.store().get(object_key("", "namespaces", {}, "kube-system"));
  if (!record) return {};
  auto v = base::parse_json(*record->value, 256);
  return v ? std::string(base::get_string(*v, "metadata.creationTimestamp")) : std::string();
}

std::vector<object> api_services(const Registry& registry) {
  std::set<std::pair<std::string, std::string>> seen;
  std::vector<object> out;
  const std::string since = born(registry);
  for (const ResourceInfo& r : registry.resources().all()) {
    if (r.group == "apiregistration.k8s.io" || !seen.emplace(r.group, r.version).second) continue;
    // v2 before v1 before v1beta1.
    int64_t version = r.version.find("alpha") != std::string::npos  ? 1
                      : r.version.find("beta") != std::string::npos ? 9
                                                                    : 15 * (r.version[1] - '0');
    object meta{{"name", fmt::format("{}.{}", r.version, r.group)},
                {"labels", object{{"kube-aggregator.kubernetes.io/automanaged", "onstart"}}}};
    object condition{{"type", "Available"}, {"status", "True"}, {"reason", "Local"}, {"message", "Local APIServices are always available"}};
    if (!since.empty()) {
      meta["creationTimestamp"] = since;
      condition["lastTransitionTime"] = since;
    }
    object spec{{"version", r.version}, {"groupPriorityMinimum", group_priority(r.group)}, {"versionPriority", version}};
    if (!r.group.empty()) spec["group"] = r.group;
    out.push_back(
        object{{"metadata", std::move(meta)}, {"spec", std::move(spec)}, {"status", object{{"conditions", array{std::move(condition)}}}}});
  }
  return out;
}

}  // namespace

bool is_own_state(const RequestInfo& i) {
  return i.is_resource &&
         ((i.group.empty() && i.resource == "componentstatuses") || (i.group == "apiregistration.k8s.io" && i.resource == "apiservices"));
}

Task<> serve_own_state(Exchange& x, const Registry& registry) {
  const RequestInfo& i = x.info;
  const ResourceInfo* r = registry.resources().find(i.group, i.version, i.resource);
  if (!r || !i.subresource.empty() || (i.verb != "get" && i.verb != "list"))
    co_return co_await send_error(x, base::fail(r ? 405 : 404, r ? "MethodNotAllowed" : "NotFound",
                                                r ? "the server does not allow this method on the requested resource"
                                                  : "the server could not find the requested resource").error());
  auto selection = parse_selection(*r, x.request.query.get("labelSelector"), x.request.query.get("fieldSelector"));
  if (!selection) co_return co_await send_error(x, selection.error());
  array items;
  for (object& o : r->resource == "apiservices" ? api_services(registry) : components()) {
    object& meta = metadata_of(o);
    if (i.verb == "get" && text_of(meta, "name") != i.name) continue;
    static const object none;
    const value* labels = meta.if_contains("labels");
    if (i.verb == "list" && !selection->labels.matches(labels ? labels->get_object() : none)) continue;
    object whole{{"kind", r->kind->kind}, {"apiVersion", r->api_version}};
    for (auto& [name, v] : o) whole[name] = std::move(v);
    items.push_back(std::move(whole));
  }
  if (i.verb == "get") {
    if (items.empty()) co_return co_await send_error(x, base::not_found(r->qualified, i.name).error());
    co_return co_await send_reply(x, {200, base::make_bytes(base::to_text(items[0])), r});
  }
  object meta{{"resourceVersion", std::to_string(registry.store().revision())}};
  value list =
      object{{"kind", r->kind->list_kind}, {"apiVersion", r->api_version}, {"metadata", std::move(meta)}, {"items", std::move(items)}};
  co_await send_reply(x, {200, base::make_bytes(base::to_text(list)), r});
}

}  // namespace server
