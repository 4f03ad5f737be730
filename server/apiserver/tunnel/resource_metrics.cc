#include "server/apiserver/tunnel/resource_metrics.h"

#include <fmt/format.h>

#include "base/time.h"
#include "server/apiserver/registry/keys.h"

namespace server {

using base::json::array;
using base::json::object;
using base::json::value;
using namespace std::chrono_literals;

namespace {

// Nanocores between two cumulative readings, as a Quantity.
std::string cpu_text(int64_t now, int64_t before, std::chrono::milliseconds window) {
  if (now <= before || window.count() <= 0) return "0";
  return fmt::format("{}n", (now - before) * 1000 / window.count());
}

object usage_of(const value& now, const value& before, std::chrono::milliseconds window) {
  int64_t bytes = base::get_int(now, "memory.workingSetBytes");
  return {{"cpu", cpu_text(base::get_int(now, "cpu.usageCoreNanoSeconds"), base::get_int(before, "cpu.usageCoreNanoSeconds"), window)},
          {"memory", fmt::format("{}Ki", bytes / 1024)}};
}

const value* find_pod(const value& summary, std::string_view uid) {
  if (const array* pods = base::find_array(summary, "pods"))
    for (const value& p : *pods)
      if (base::get_string(p, "podRef.uid") == uid) return &p;
  return nullptr;
}

const value* find_container(const value& pod, std::string_view name) {
  if (const array* containers = base::find_array(pod, "containers"))
    for (const value& c : *containers)
      if (base::get_string(c, "name") == name) return &c;
  return nullptr;
}

object labels_of(const datastore::Record& record) {
  object out;
  for (const auto& [name, v] : attributes_of(record).labels) out[name] = v;
  return out;
}

std::string window_text(std::chrono::milliseconds w) { return fmt::format("{:.3f}s", static_cast<double>(w.count()) / 1000); }

}  // namespace

Task<Result<ResourceMetrics::Sample>> ResourceMetrics::sample(std::string node) {
  auto stream = co_await streams_.open(node);
  if (!stream) co_return std::unexpected(std::move(stream).error());
  base::http::ClientRequest request;
  request.url = "http://node/stats/summary";
  request.timeout = 10s;
  auto response = co_await base::http::send_on(std::move(*stream), std::move(request));
  if (!response) co_return std::unexpected(std::move(response).error());
  auto text = co_await (*response)->body();
  if (!text) co_return std::unexpected(std::move(text).error());
  if ((*response)->status != 200) co_return base::unavailable(fmt::format("node {} has no statistics", node));
  CO_TRY(value summary, base::parse_json(*text));
  co_return Sample{base::WallClock::now(), std::move(summary)};
}

Task<Result<ResourceMetrics::Usage>> ResourceMetrics::usage(std::string node) {
  CO_TRY(Sample now, co_await sample(node));
  Sample before;
  {
    std::scoped_lock lock(mutex_);
    if (auto it = last_.find(node); it != last_.end()) before = it->second;
  }
  auto age = now.at - before.at;
  if (age > 2min || before.summary.is_null()) {
    co_await base::sleep_for(1s);
    before = std::move(now);
    CO_TRY(now, co_await sample(node));
    age = now.at - before.at;
  }
  auto window = std::chrono::duration_cast<std::chrono::milliseconds>(age);
  if (window >= 10s || before.summary.is_null()) {
    std::scoped_lock lock(mutex_);
    last_[node] = now;
  } else {
    std::scoped_lock lock(mutex_);
    last_.try_emplace(node, before);
  }
  co_return Usage{now.at, window, std::move(now.summary), std::move(before.summary)};
}

Task<Result<value>> ResourceMetrics::node_metrics(std::string node) {
  RecordPtr record = registry_.store().get(object_key("", "nodes", {}, node));
  if (!record) co_return base::not_found("nodes.metrics.k8s.io", node);
  CO_TRY(Usage u, co_await usage(node));
  static const value none = object{};
  const value* now = base::find(u.now, "node");
  const value* before = base::find(u.before, "node");
  co_return value(object{{"kind", "NodeMetrics"},
                         {"apiVersion", "metrics.k8s.io/v1beta1"},
                         {"metadata", object{{"name", node}, {"creationTimestamp", base::rfc3339(u.at)}, {"labels", labels_of(*record)}}},
                         {"timestamp", base::rfc3339(u.at)},
                         {"window", window_text(u.window)},
                         {"usage", usage_of(now ? *now : none, before ? *before : none, u.window)}});
}

Task<Result<std::vector<value>>> ResourceMetrics::pod_metrics(std::string node, std::string ns, std::string name) {
  CO_TRY(Usage u, co_await usage(node));
  std::vector<value> out;
  const array* pods = base::find_array(u.now, "pods");
  static const array nothing;
  for (const value& pod : pods ? *pods : nothing) {
    std::string pod_ns(base::get_string(pod, "podRef.namespace")), pod_name(base::get_string(pod, "podRef.name"));
    if ((!ns.empty() && pod_ns != ns) || (!name.empty() && pod_name != name)) continue;
    RecordPtr record = registry_.store().get(object_key("", "pods", pod_ns, pod_name));
    const value* before = find_pod(u.before, base::get_string(pod, "podRef.uid"));
    const array* now = base::find_array(pod, "containers");
    if (!record || !before || !now) continue;  // too young
    array containers;
    for (const value& c : *now)
      if (const value* earlier = find_container(*before, base::get_string(c, "name")))
        containers.push_back(object{{"name", base::get_string(c, "name")}, {"usage", usage_of(c, *earlier, u.window)}});
    if (containers.empty()) continue;
    out.push_back(object{
        {"kind", "PodMetrics"},
        {"apiVersion", "metrics.k8s.io/v1beta1"},
        {"metadata",
         object{{"name", pod_name}, {"namespace", pod_ns}, {"creationTimestamp", base::rfc3339(u.at)}, {"labels", labels_of(*record)}}},
        {"timestamp", base::rfc3339(u.at)},
        {"window", window_text(u.window)},
        {"containers", std::move(containers)}});
  }
  co_return out;
}

Task<Result<std::vector<value>>> ResourceMetrics::gather(const ResourceInfo* r, std::string ns, std::string name, Selection selection) {
  std::vector<value> items;
  auto nodes = co_await registry_.store().list(collection_prefix("", "nodes"));
  if (!nodes) co_return std::unexpected(std::move(nodes).error());
  for (const RecordPtr& record : nodes->records) {
    std::string node(name_in_key(record->key));
    if (r->resource == "nodes") {
      if (!name.empty() && node != name) continue;
      if (!selection.matches(*record, false)) continue;
      if (auto one = co_await node_metrics(node)) items.push_back(std::move(*one));
      continue;
    }
    auto some = co_await pod_metrics(node, ns, name);
    if (!some) continue;  // a node that is down has no figures
    for (value& v : *some) {
      RecordPtr pod =
          registry_.store().get(object_key("", "pods", base::get_string(v, "metadata.namespace"), base::get_string(v, "metadata.name")));
      if (pod && selection.matches(*pod, true)) items.push_back(std::move(v));
    }
  }
  co_return items;
}

Task<> ResourceMetrics::handle(Exchange& x) {
  const RequestInfo& i = x.info;
  const ResourceInfo* r = registry_.resources().find(i.group, i.version, i.resource);
  if (!r || !i.subresource.empty() || (i.verb != "get" && i.verb != "list"))
    co_return co_await send_error(
        x, base::fail(r ? 405 : 404, r ? "MethodNotAllowed" : "NotFound", "the server does not allow this method on the requested resource")
               .error());
  auto selection = parse_selection(*r, x.request.query.get("labelSelector"), {});
  if (!selection) co_return co_await send_error(x, selection.error());
  auto found = co_await gather(r, i.ns, i.name, std::move(*selection));
  if (!found) co_return co_await send_error(x, found.error());
  array items(std::make_move_iterator(found->begin()), std::make_move_iterator(found->end()));
  if (i.verb == "get") {
    if (items.empty()) co_return co_await send_error(x, base::not_found(r->qualified, i.name).error());
    co_return co_await send_reply(x, {200, base::make_bytes(base::to_text(items[0])), r});
  }
  value list = object{{"kind", r->kind->list_kind}, {"apiVersion", r->api_version}, {"metadata", object{}}, {"items", std::move(items)}};
  co_await send_reply(x, {200, base::make_bytes(base::to_text(list)), r});
}

}  // namespace server
