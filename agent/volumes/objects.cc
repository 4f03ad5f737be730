#include "agent/volumes/objects.h"

#include "api/informer.h"

namespace agent {

namespace {

template <class T>
struct Watched {
  base::Tasks tasks;
  api::Informer<T> informer;
  std::mutex mutex;  // guards listeners
  std::map<uint64_t, std::function<void()>> listeners;
  uint64_t next = 1;

  Watched(base::Runtime& runtime, api::Client& client, const std::string& ns, const std::string& name)
      : tasks(runtime), informer(client, ns, [&] {
          api::ListOptions o;
          o.field_selector = "metadata.name=" + name;
          return o;
        }()) {}

  void tell() {
    std::map<uint64_t, std::function<void()>> copy;
    {
      std::scoped_lock lock(mutex);
      copy = listeners;
    }
    for (auto& [id, f] : copy) f();
  }
};

}  // namespace

struct Objects::State : std::enable_shared_from_this<Objects::State> {
  base::Runtime& runtime;
  api::Client& client;
  base::Tasks tasks;
  std::mutex mutex;  // guards the maps
  bool stopping = false;
  std::map<std::string, std::weak_ptr<Watched<api::core::ConfigMap>>> config_maps;
  std::map<std::string, std::weak_ptr<Watched<api::core::Secret>>> secrets;

  State(base::Runtime& r, api::Client& c) : runtime(r), client(c), tasks(r) {}

  template <class T>
  auto& map() {
    if constexpr (std::is_same_v<T, api::core::ConfigMap>) return config_maps;
    else return secrets;
  }

  template <class T>
  Handle watch(const std::string& ns, const std::string& name, std::function<void()> changed) {
    std::string key = ns + "/" + name;
    std::shared_ptr<Watched<T>> w;
    {
      std::scoped_lock lock(mutex);
      if (stopping) return nullptr;
      w = map<T>()[key].lock();
      if (!w) {
        // The last handle ends the watch; that takes a task, because its coroutine has to end first.
        auto weak_state = weak_from_this();
        w = std::shared_ptr<Watched<T>>(new Watched<T>(runtime, client, ns, name), [weak_state, key](Watched<T>* raw) {
          auto state = weak_state.lock();
          if (state) {
            std::scoped_lock held(state->mutex);
            auto& all = state->template map<T>();
            if (auto it = all.find(key); it != all.end() && it->second.expired()) all.erase(it);
          }
          auto end = [](std::unique_ptr<Watched<T>> owned) -> Task<> { co_await owned->tasks.stop(); };
          if (state) state->tasks.spawn("end of a watch", end(std::unique_ptr<Watched<T>>(raw)));
          else delete raw;
        });
        map<T>()[key] = w;
        Watched<T>* raw = w.get();
        raw->informer.on_change([raw](const auto&, const auto&) { raw->tell(); });
        raw->tasks.spawn("watch of " + key, [](Watched<T>* self) -> Task<> { co_await self->informer.run(); }(raw));
      }
    }
    uint64_t id;
    {
      std::scoped_lock lock(w->mutex);
      id = w->next++;
      w->listeners[id] = std::move(changed);
    }
    struct Listening {
      std::shared_ptr<Watched<T>> watched;
      uint64_t id;
      ~Listening() {
        std::scoped_lock lock(watched->mutex);
        watched->listeners.erase(id);
      }
    };
    auto handle = std::make_shared<Listening>();
    handle->watched = std::move(w);
    handle->id = id;
    return handle;
  }

  template <class T>
  Task<Result<std::shared_ptr<const T>>> get(std::string ns, std::string name) {
    std::shared_ptr<Watched<T>> w;
    {
      std::scoped_lock lock(mutex);
      auto it = map<T>().find(ns + "/" + name);
      if (it != map<T>().end()) w = it->second.lock();
    }
    if (w && w->informer.synced()) {
      if (auto o = w->informer.get(ns, name)) co_return o;
    }
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

Objects::Handle Objects::watch_config_map(const std::string& ns, const std::string& name, std::function<void()> changed) {
  return state_->watch<api::core::ConfigMap>(ns, name, std::move(changed));
}
Objects::Handle Objects::watch_secret(const std::string& ns, const std::string& name, std::function<void()> changed) {
  return state_->watch<api::core::Secret>(ns, name, std::move(changed));
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
