#include "tests/unit/server/fake_client.h"

#include "api/selector.h"
#include "base/bytes.h"
#include "base/time.h"

namespace testing {
namespace {

json::object& meta(json::object& o) {
  auto& m = o["metadata"];
  if (!m.is_object()) m = json::object{};
  return m.as_object();
}
std::string field(json::object& o, const char* name) {
  auto it = meta(o).find(name);
  return it != meta(o).end() && it->value().is_string() ? std::string(it->value().as_string()) : std::string();
}
json::array entries(json::object& o, const char* name) {
  auto it = meta(o).find(name);
  return it != meta(o).end() && it->value().is_array() ? it->value().as_array() : json::array{};
}

void merge(json::value& into, const json::value& from, bool strategic);

void merge_list(json::array& into, const json::array& from) {
  for (const auto& e : from) {
    const char* key = nullptr;
    for (const char* k : {"uid", "type", "name"})
      if (!key && e.is_object() && e.as_object().contains(k)) key = k;
    if (!key) {
      into = from;
      return;
    }
    auto it = std::find_if(into.begin(), into.end(),
                           [&](const json::value& v) { return v.as_object().if_contains(key) && v.at(key) == e.at(key); });
    bool drop = e.as_object().contains("$patch");
    if (it == into.end() && !drop) into.push_back(e);
    else if (it != into.end() && drop) into.erase(it);
    else if (it != into.end()) merge(*it, e, true);
  }
}

void merge(json::value& into, const json::value& from, bool strategic) {
  if (!from.is_object()) {
    if (strategic && from.is_array() && into.is_array()) merge_list(into.as_array(), from.as_array());
    else into = from;
    return;
  }
  if (!into.is_object()) into = json::object{};
  for (const auto& [key, value] : from.as_object()) {
    if (value.is_null()) into.as_object().erase(key);
    else merge(into.as_object()[key], value, strategic);
  }
}

}  // namespace

struct FakeClient::FakeWatch final : api::Watch {
  explicit FakeWatch(std::shared_ptr<Watcher> w) : watcher(std::move(w)) {}
  base::Task<api::Result<std::optional<api::WatchEvent>>> next() override {
    auto e = co_await watcher->events.pop();
    co_return e;
  }
  std::shared_ptr<Watcher> watcher;
};

std::optional<base::Error> FakeClient::noted(const std::string& verb, const api::Resource& r, const std::string& subresource) {
  std::scoped_lock lock(mutex_);
  std::string what = verb + " " + r.resource + (subresource.empty() ? "" : "/" + subresource);
  if (fail_)
    if (auto e = fail_(what)) return e;
  ++writes_[what];
  return std::nullopt;
}

std::map<std::string, int> FakeClient::writes() {
  std::scoped_lock lock(mutex_);
  return writes_;
}
int FakeClient::total_writes() {
  int n = 0;
  for (auto& [what, count] : writes()) n += count;
  return n;
}
void FakeClient::fail_when(std::function<std::optional<base::Error>(const std::string&)> f) {
  std::scoped_lock lock(mutex_);
  fail_ = std::move(f);
}

void FakeClient::announce(const api::Resource& r, const api::ObjectKey& key, api::WatchEvent::Type type, const api::Bytes& bytes) {
  for (auto& weak : watchers_)
    if (auto w = weak.lock(); w && w->resource == text(r) && (w->ns.empty() || w->ns == key.ns) && (w->name.empty() || w->name == key.name))
      w->events.push({type, bytes});
}

api::Bytes FakeClient::commit(const api::Resource& r, const api::ObjectKey& key, json::object o, bool fresh) {
  meta(o)["resourceVersion"] = std::to_string(++revision_);
  auto bytes = base::make_bytes(base::to_text(o));
  objects_[text(r)][key.text()] = std::move(o);
  announce(r, key, fresh ? api::WatchEvent::Type::added : api::WatchEvent::Type::modified, bytes);
  return bytes;
}

api::Bytes FakeClient::store(const api::Resource& r, const api::ObjectKey& key, json::object o) {
  std::scoped_lock lock(mutex_);
  auto& all = objects_[text(r)];
  auto it = all.find(key.text());
  if (field(o, "uid").empty()) meta(o)["uid"] = it == all.end() ? "uid-" + std::to_string(++uid_) : field(it->second, "uid");
  if (field(o, "creationTimestamp").empty()) meta(o)["creationTimestamp"] = base::now_rfc3339();
  if (!meta(o).contains("generation")) meta(o)["generation"] = 1;
  return commit(r, key, std::move(o), it == all.end());
}

std::vector<std::string> FakeClient::snapshot(const api::Resource& r, const std::string& ns) {
  std::scoped_lock lock(mutex_);
  std::vector<std::string> out;
  for (auto& [key, o] : objects_[text(r)])
    if (ns.empty() || key.starts_with(ns + "/")) out.push_back(base::to_text(o));
  return out;
}

void FakeClient::finish_removal(const api::Resource& r, const api::ObjectKey& key) {
  auto& all = objects_[text(r)];
  auto it = all.find(key.text());
  if (it == all.end()) return;
  meta(it->second)["resourceVersion"] = std::to_string(++revision_);
  auto bytes = base::make_bytes(base::to_text(it->second));
  all.erase(it);
  announce(r, key, api::WatchEvent::Type::deleted, bytes);
}

void FakeClient::drop(const api::Resource& r, const api::ObjectKey& key) {
  std::scoped_lock lock(mutex_);
  finish_removal(r, key);
}

base::Task<api::Result<api::Bytes>> FakeClient::get(api::Resource r, api::ObjectKey key, std::string) {
  std::scoped_lock lock(mutex_);
  auto& all = objects_[text(r)];
  auto it = all.find(key.text());
  if (it == all.end()) co_return base::not_found(r.resource, key.name);
  co_return base::make_bytes(base::to_text(it->second));
}

base::Task<api::Result<api::ListPage>> FakeClient::list(api::Resource r, std::string ns, api::ListOptions options) {
  std::string name = api::FieldSelector::parse(options.field_selector)->required_value("metadata.name").value_or("");
  std::scoped_lock lock(mutex_);
  api::ListPage page;
  for (auto& [key, o] : objects_[text(r)])
    if ((ns.empty() || key.starts_with(ns + "/")) && (name.empty() || field(o, "name") == name))
      page.items.push_back(base::make_bytes(base::to_text(o)));
  page.resource_version = std::to_string(revision_);
  co_return page;
}

base::Task<api::Result<std::unique_ptr<api::Watch>>> FakeClient::watch(api::Resource r, std::string ns, api::WatchOptions options) {
  auto w = std::make_shared<Watcher>();
  w->resource = text(r);
  w->ns = ns;
  w->name = api::FieldSelector::parse(options.field_selector)->required_value("metadata.name").value_or("");
  std::scoped_lock lock(mutex_);
  // What changed since the list: announced as modified. (Deletions in between are not remembered: tests do not race them.)
  uint64_t since = std::stoull(options.resource_version);
  for (auto& [key, o] : objects_[text(r)])
    if (std::stoull(field(o, "resourceVersion")) > since && (ns.empty() || key.starts_with(ns + "/")) &&
        (w->name.empty() || field(o, "name") == w->name))
      w->events.push({api::WatchEvent::Type::added, base::make_bytes(base::to_text(o))});
  watchers_.push_back(w);
  co_return std::make_unique<FakeWatch>(std::move(w));
}

base::Task<api::Result<api::Bytes>> FakeClient::create(api::Resource r, api::ObjectKey key, std::string body, api::WriteOptions options) {
  if (auto e = noted("create", r, options.subresource)) co_return std::unexpected(*e);
  json::object o = base::parse_json(body)->as_object();
  std::scoped_lock lock(mutex_);
  auto& all = objects_[text(r)];
  if (options.subresource == "binding") {
    auto it = all.find(key.text());
    if (it == all.end()) co_return base::not_found(r.resource, key.name);
    json::object pod = it->second;
    auto& spec = pod["spec"].as_object();
    if (spec.contains("nodeName")) co_return base::conflict(r.resource, key.name, "already bound");
    spec["nodeName"] = o["target"].as_object()["name"];
    co_return commit(r, key, std::move(pod), false);
  }
  key = {field(o, "namespace"), field(o, "name")};
  if (key.name.empty()) {
    key.name = field(o, "generateName") + base::random_suffix(5);
    meta(o)["name"] = key.name;
  }
  if (all.contains(key.text())) co_return base::already_exists(r.resource, key.name);
  meta(o)["uid"] = "uid-" + std::to_string(++uid_);
  meta(o)["creationTimestamp"] = base::now_rfc3339();
  meta(o)["generation"] = 1;
  co_return commit(r, key, std::move(o), true);
}

// `now` is the whole new object.
api::Result<api::Bytes> FakeClient::replace(const api::Resource& r, const api::ObjectKey& key, json::object now,
                                            const api::WriteOptions& options) {
  auto& all = objects_[text(r)];
  auto it = all.find(key.text());
  if (it == all.end()) return base::not_found(r.resource, key.name);
  json::object& old = it->second;
  std::string revision = field(now, "resourceVersion"), uid = field(now, "uid");
  if (!revision.empty() && revision != field(old, "resourceVersion"))
    return base::conflict(r.resource, key.name, "the object has been modified");
  if (!uid.empty() && uid != field(old, "uid")) return base::conflict(r.resource, key.name, "uid mismatch");
  json::object next = options.subresource == "status" ? old : now;
  if (options.subresource == "status") next["status"] = now["status"], next["metadata"] = now["metadata"];
  else if (old.contains("status")) next["status"] = old["status"];
  else next.erase("status");
  for (const char* kept : {"uid", "creationTimestamp", "generation", "deletionTimestamp"})
    if (auto m = meta(old).find(kept); m != meta(old).end()) meta(next)[kept] = m->value();
  if (next["spec"] != old["spec"]) meta(next)["generation"] = meta(old)["generation"].to_number<int64_t>() + 1;
  meta(next)["resourceVersion"] = field(old, "resourceVersion");
  if (next == old) return base::make_bytes(base::to_text(old));
  api::Bytes bytes = commit(r, key, std::move(next), false);
  json::object& stored = all[key.text()];
  bool finalized = r.resource == "namespaces" ? base::find_array(json::value(stored), "spec.finalizers") == nullptr
                                              : entries(stored, "finalizers").empty();
  if (!field(stored, "deletionTimestamp").empty() && finalized && r.resource != "pods") finish_removal(r, key);
  return bytes;
}

base::Task<api::Result<api::Bytes>> FakeClient::update(api::Resource r, api::ObjectKey key, std::string body, api::WriteOptions options) {
  if (auto e = noted("update", r, options.subresource)) co_return std::unexpected(*e);
  std::scoped_lock lock(mutex_);
  co_return replace(r, key, base::parse_json(body)->as_object(), options);
}

base::Task<api::Result<api::Bytes>> FakeClient::patch(api::Resource r, api::ObjectKey key, api::PatchType type, std::string body,
                                                      api::WriteOptions options) {
  if (auto e = noted("patch", r, options.subresource)) co_return std::unexpected(*e);
  std::scoped_lock lock(mutex_);
  auto& all = objects_[text(r)];
  auto it = all.find(key.text());
  if (it == all.end()) co_return base::not_found(r.resource, key.name);
  json::value patch = *base::parse_json(body), merged = it->second;
  merge(merged, patch, type == api::PatchType::strategic);
  co_return replace(r, key, std::move(merged.as_object()), options);
}

base::Task<api::Result<api::Bytes>> FakeClient::remove(api::Resource r, api::ObjectKey key, api::DeleteOptions options) {
  if (auto e = noted("delete", r, "")) co_return std::unexpected(*e);
  std::scoped_lock lock(mutex_);
  auto& all = objects_[text(r)];
  auto it = all.find(key.text());
  if (it == all.end()) co_return base::not_found(r.resource, key.name);
  json::object o = it->second;
  if (!options.uid.empty() && options.uid != field(o, "uid")) co_return base::conflict(r.resource, key.name, "uid mismatch");
  json::array finalizers = entries(o, "finalizers");
  if (options.propagation_policy == "Foreground") finalizers.emplace_back("foregroundDeletion");
  if (options.propagation_policy == "Orphan") finalizers.emplace_back("orphan");
  // Pods that run end when their node says so; namespaces when they have been finalized.
  bool node_ends =
      r.resource == "pods" && o["spec"].is_object() && o["spec"].as_object().contains("nodeName") && options.grace_period_seconds != 0;
  bool wait = node_ends || !finalizers.empty() || (r.resource == "namespaces" && base::find_array(json::value(o), "spec.finalizers"));
  if (!wait) {
    finish_removal(r, key);
    co_return base::make_bytes("{}");
  }
  if (!finalizers.empty()) meta(o)["finalizers"] = std::move(finalizers);
  if (!meta(o).contains("deletionTimestamp")) meta(o)["deletionTimestamp"] = base::now_rfc3339();
  co_return commit(r, key, std::move(o), false);
}

}  // namespace testing
