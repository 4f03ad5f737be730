#include "agent/volumes/objects.h"

#include "api/informer.h"

namespace agent {

namespace {

using api::certificatesv1beta1::ClusterTrustBundle;

// One watch. What it is of only its maker and its reader know.
struct Watched {
  base::Tasks tasks;
  std::shared_ptr<api::InformerBase> informer;
  std::mutex mutex;  // guards listeners
  std::map<uint64_t, std::function<void()>> listeners;
  uint64_t next = 1;

  explicit Watched(base::Runtime& runtime) : tasks(runtime) {}

  void tell() {
    std::map<uint64_t, std::function<void()>> copy;
    {
      std::scoped_lock lock(mutex);
      copy = listeners;
    }
    for (auto& [id, f] : copy) f();
  }
};

struct Listening {
  std::shared_ptr<Watched> watched;
  uint64_t id;
  ~Listening() {
    std::scoped_lock lock(watched->mutex);
    watched->listeners.erase(id);
  }
};

template <class T>
std::string key_of(const std::string& ns, const std::string& name) {
  return std::string(T::kind_info().kind) + "/" + ns + "/" + name;
}

Task<> run(Watched* w) { co_await w->informer->run(); }
Task<> end(std::unique_ptr<Watched> w) { co_await w->tasks.stop(); }

}  // namespace

struct Objects::State : std::enable_shared_from_this<Objects::State> {
  base::Runtime& runtime;
  api::Client& client;
  base::Tasks tasks;
  std::mutex mutex;  // guards what follows
  bool stopping = false;
  std::map<std::string, std::weak_ptr<Watched>> all;

  State(base::Runtime& r, api::Client& c) : runtime(r), client(c), tasks(r) {}

  // All of the namespace when there is no name.
  template <class T>
  Handle watch(const std::string& ns, const std::string& name, std::function<void()> changed) {
    auto fill = [](State& state, Watched* w, const std::string& where, const std::string& object) {
      api::ListOptions o;
      if (!object.empty()) o.field_selector = "metadata.name=" + object;
      auto informer = std::make_shared<api::Informer<T>>(state.client, where, std::move(o));
      informer->on_change([w](const auto&, const auto&) { w->tell(); });
      w->informer = std::move(informer);
    };
    return watch(key_of<T>(ns, name), ns, name, fill, std::move(changed));
  }

  Handle watch(std::string key, const std::string& ns, const std::string& name,
               void (*fill)(State&, Watched*, const std::string&, const std::string&), std::function<void()> changed) {
    std::shared_ptr<Watched> w;
    {
      std::scoped_lock lock(mutex);
      if (stopping) return nullptr;
      w = all[key].lock();
      if (!w) {
        // The last handle ends the watch; that takes a task, because its coroutine has to end first.
        auto weak_state = weak_from_this();
        w = std::shared_ptr<Watched>(new Watched(runtime), [weak_state, key](Watched* raw) {
          auto state = weak_state.lock();
          if (!state) {
            delete raw;
            return;
          }
          {
            std::scoped_lock held(state->mutex);
            if (auto it = state->all.find(key); it != state->all.end() && it->second.expired()) state->all.erase(it);
          }
          state->tasks.spawn("end of a watch", end(std::unique_ptr<Watched>(raw)));
        });
        all[key] = w;
        fill(*this, w.get(), ns, name);
        w->tasks.spawn("watch of " + key, run(w.get()));
      }
    }
    auto handle = std::make_shared<Listening>();
    {
      std::scoped_lock lock(w->mutex);
      handle->id = w->next++;
      w->listeners[handle->id] = std::move(changed);
    }
    handle->watched = std::move(w);
    return handle;
  }

  // Of a watch that knows what there is; null when there is none.
  template <class T>
  std::shared_ptr<api::Informer<T>> watched(const std::string& ns, const std::string& name) {
    std::shared_ptr<Watched> w = find(key_of<T>(ns, name));
    if (!w || !w->informer->synced()) return nullptr;
    return {w, static_cast<api::Informer<T>*>(w->informer.get())};
  }
  std::shared_ptr<Watched> find(const std::string& key) {
    std::scoped_lock lock(mutex);
    auto it = all.find(key);
    return it == all.end() ? nullptr : it->second.lock();
  }

  template <class T>
  Task<Result<std::shared_ptr<const T>>> get(std::string ns, std::string name) {
    if (auto informer = watched<T>(ns, name))
      if (auto o = informer->get(ns, name)) co_return o;
    auto o = co_await api::get<T>(client, api::ObjectKey{ns, name});
    if (!o) co_return std::unexpected(std::move(o).error());
    co_return std::make_shared<const T>(std::move(*o));
  }
};

Objects::Objects(base::Runtime& runtime, api::Client& client) : state_(std::make_shared<State>(runtime, client)) {}
Objects::~Objects() = default;

Task<Result<Objects::ConfigMapPtr>> Objects::config_map(std::string ns, std::string name) {
  return state_->get<api::core::ConfigMap>(std::move(ns), std::move(name));
}
Task<Result<Objects::SecretPtr>> Objects::secret(std::string ns, std::string name) {
  return state_->get<api::core::Secret>(std::move(ns), std::move(name));
}

Task<Result<std::vector<Objects::TrustBundlePtr>>> Objects::trust_bundles() {
  if (auto informer = state_->watched<ClusterTrustBundle>({}, {})) co_return informer->list();
  CO_TRY(auto page, co_await state_->client.list(api::resource_of<ClusterTrustBundle>(), {}, {}));
  std::vector<TrustBundlePtr> out;
  for (const base::Bytes& b : page.items) {
    CO_TRY(auto bundle, api::decode<ClusterTrustBundle>(std::string_view(*b)));
    out.push_back(std::make_shared<const ClusterTrustBundle>(std::move(bundle)));
  }
  co_return out;
}

Objects::Handle Objects::watch_config_map(const std::string& ns, const std::string& name, std::function<void()> changed) {
  return state_->watch<api::core::ConfigMap>(ns, name, std::move(changed));
}
Objects::Handle Objects::watch_secret(const std::string& ns, const std::string& name, std::function<void()> changed) {
  return state_->watch<api::core::Secret>(ns, name, std::move(changed));
}

Objects::Handle Objects::watch_trust_bundles(std::function<void()> changed) {
  return state_->watch<ClusterTrustBundle>({}, {}, std::move(changed));
}

Task<> Objects::stop() {
  {
    std::scoped_lock lock(state_->mutex);
    state_->stopping = true;
  }
  // Watches that are held end with their handles; those being ended are waited for.
  while (state_->tasks.running() > 0) co_await base::sleep_for(std::chrono::milliseconds(1));
  co_await state_->tasks.stop();
}

}  // namespace agent
