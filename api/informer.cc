#include "api/informer.h"

#include "base/log.h"

namespace api {

InformerBase::InformerBase(Client& client, Type type, std::string ns, ListOptions selectors)
    : client_(client), type_(std::move(type)), ns_(std::move(ns)), selectors_(std::move(selectors)) {}

InformerBase::~InformerBase() = default;

bool InformerBase::synced() const {
  std::shared_lock lock(mutex_);
  return synced_;
}

Task<> InformerBase::wait_synced() {
  for (;;) {
    uint64_t seen = changed_.version();
    if (synced()) co_return;
    co_await changed_.wait(seen);
  }
}

InformerBase::Object InformerBase::find(const std::string& key) const {
  std::shared_lock lock(mutex_);
  auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : it->second;
}

std::vector<InformerBase::Object> InformerBase::all(const std::string& ns) const {
  std::shared_lock lock(mutex_);
  std::vector<Object> out;
  std::string prefix = ns.empty() ? ns : ns + "/";
  for (auto it = objects_.lower_bound(prefix); it != objects_.end() && it->first.starts_with(prefix); ++it) out.push_back(it->second);
  return out;
}

std::vector<InformerBase::Object> InformerBase::indexed(const std::string& index, const std::string& value) const {
  std::shared_lock lock(mutex_);
  std::vector<Object> out;
  auto i = indexes_.find(index);
  if (i == indexes_.end()) return out;
  auto e = i->second.entries.find(value);
  if (e == i->second.entries.end()) return out;
  for (auto& [key, object] : e->second) out.push_back(object);
  return out;
}

void InformerBase::index_by(std::string index, std::function<std::vector<std::string>(const void*)> f) {
  std::unique_lock lock(mutex_);
  Index& i = indexes_[std::move(index)];
  i.values = std::move(f);
  i.entries.clear();
  for (auto& [key, object] : objects_) {
    for (auto& v : i.values(object.get())) i.entries[v][key] = object;
  }
}

void InformerBase::handle(std::function<void(const Object&, const Object&)> f) {
  std::vector<Object> known;
  {
    std::unique_lock lock(mutex_);
    handlers_.push_back(f);
    for (auto& [key, object] : objects_) known.push_back(object);
  }
  for (auto& o : known) f(nullptr, o);
}

void InformerBase::put(std::string key, Object after) {
  Object before;
  std::vector<std::function<void(const Object&, const Object&)>> handlers;
  {
    std::unique_lock lock(mutex_);
    auto it = objects_.find(key);
    if (it != objects_.end()) before = it->second;
    if (!before && !after) return;
    if (after) {
      it = objects_.insert_or_assign(it, std::move(key), after);
    }
    const std::string_view known = it->first;
    for (auto& [name, index] : indexes_) {
      if (before) {
        for (auto& v : index.values(before.get())) {
          auto e = index.entries.find(v);
          if (e == index.entries.end()) continue;
          e->second.erase(known);
          if (e->second.empty()) index.entries.erase(e);
        }
      }
      if (after) {
        for (auto& v : index.values(after.get())) index.entries[v][known] = after;
      }
    }
    if (!after) objects_.erase(it);
    handlers = handlers_;
  }
  for (auto& h : handlers) h(before, after);
}

namespace {

std::string key_of(const meta::ObjectMeta& m) { return ObjectKey{m.namespace_, m.name}.text(); }

}  // namespace

Task<Result<std::string>> InformerBase::list_once() {
  std::map<std::string, Object> fresh;
  std::string revision;
  ListOptions options = selectors_;
  options.limit = 500;
  for (;;) {
    auto page = co_await client_.list(type_.resource, ns_, options);
    if (!page) co_return std::unexpected(std::move(page).error());
    for (const Bytes& b : page->items) {
      auto o = type_.decode(*b);
      if (!o) co_return std::unexpected(std::move(o).error());
      std::string key = key_of(type_.metadata(o->get()));
      fresh.emplace(std::move(key), std::move(*o));
    }
    revision = page->resource_version;
    if (page->continue_token.empty()) break;
    options.continue_token = page->continue_token;
  }
  std::vector<std::string> gone;
  std::vector<std::string> same;
  {
    std::shared_lock lock(mutex_);
    for (auto& [key, object] : objects_) {
      auto it = fresh.find(key);
      if (it == fresh.end()) gone.push_back(key);
      else if (type_.metadata(it->second.get()).resourceVersion == type_.metadata(object.get()).resourceVersion) same.push_back(key);
    }
  }
  for (auto& key : same) fresh.erase(key);
  for (auto& key : gone) put(std::move(key), nullptr);
  for (auto& [key, object] : fresh) put(key, object);
  {
    std::unique_lock lock(mutex_);
    synced_ = true;
  }
  changed_.notify();
  co_return revision;
}

Task<Result<>> InformerBase::watch_from(std::string& revision) {
  WatchOptions options{selectors_.label_selector, selectors_.field_selector, revision};
  auto watch = co_await client_.watch(type_.resource, ns_, options);
  if (!watch) co_return std::unexpected(std::move(watch).error());
  for (;;) {
    auto event = co_await (*watch)->next();
    if (!event) co_return std::unexpected(std::move(event).error());
    if (!*event) co_return Result<>{};
    auto object = type_.decode(*(*event)->object);
    if (!object) co_return std::unexpected(std::move(object).error());
    const auto& m = type_.metadata(object->get());
    revision = m.resourceVersion;
    if ((*event)->type == WatchEvent::Type::bookmark) continue;
    std::string key = key_of(m);
    put(std::move(key), (*event)->type == WatchEvent::Type::deleted ? nullptr : std::move(*object));
  }
}

Task<> InformerBase::run() {
  base::Duration delay = std::chrono::milliseconds(50);
  auto back_off = [&](const base::Error& e) {
    if (synced()) base::log::debug("informer", "{}: {}", type_.resource.resource, e.message);
    else base::log::warn("informer", "{}: {}", type_.resource.resource, e.message);
    auto d = delay;
    delay = std::min<base::Duration>(delay * 2, std::chrono::seconds(5));
    return base::sleep_for(d);
  };
  std::string revision;
  for (;;) {
    if (revision.empty()) {
      auto listed = co_await list_once();
      if (!listed) {
        co_await back_off(listed.error());
        continue;
      }
      revision = *listed;
    }
    auto started = base::Clock::now();
    auto ended = co_await watch_from(revision);
    if (base::Clock::now() - started > std::chrono::seconds(5)) delay = std::chrono::milliseconds(50);
    if (ended) continue;
    if (base::is_expired(ended.error())) {
      revision.clear();
      continue;
    }
    co_await back_off(ended.error());
  }
}

void Informers::run(std::shared_ptr<InformerBase> informer, const std::string& name) {
  // The task owns the informer: a cancelled run() may outlive the map entry.
  tasks_.spawn("informer " + name, [](std::shared_ptr<InformerBase> i) -> Task<> { co_await i->run(); }(std::move(informer)));
}

void Informers::start() {
  std::scoped_lock lock(mutex_);
  if (std::exchange(started_, true)) return;
  for (auto& [name, informer] : informers_) run(informer, name);
}

Task<> Informers::wait_synced() {
  std::vector<std::shared_ptr<InformerBase>> all;
  {
    std::scoped_lock lock(mutex_);
    for (auto& [name, informer] : informers_) all.push_back(informer);
  }
  for (auto& informer : all) co_await informer->wait_synced();
}

Task<> Informers::stop() { co_await tasks_.stop(); }

}  // namespace api
