// A local, current, indexed copy of the objects of one resource, fed by list and watch. client-go's informer and lister in one.
//
// Reads are safe from any thread and hand out immutable objects. Handlers run on the informer's strand, in order, after the cache has changed;
// they must be short (enqueue a key). A broken watch is resumed, an expired one listed again, without a gap being visible to handlers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "api/client.h"
#include "api/types/meta_v1.h"
#include "base/io.h"

namespace api {

class InformerBase {
 public:
  using Object = std::shared_ptr<const void>;
  struct Type {
    Resource resource;
    std::function<Result<Object>(std::string_view json)> decode;
    const meta::ObjectMeta& (*metadata)(const void*);
  };
  InformerBase(Client& client, Type type, std::string ns, ListOptions selectors);
  ~InformerBase();

  // Lists, then watches until cancelled. Spawned by Informers.
  Task<> run();
  bool synced() const;
  Task<> wait_synced();

 protected:
  Object find(const std::string& key) const;
  std::vector<Object> all(const std::string& ns) const;
  std::vector<Object> indexed(const std::string& index, const std::string& value) const;
  void index_by(std::string index, std::function<std::vector<std::string>(const void*)> f);
  void handle(std::function<void(const Object& before, const Object& after)> f);

 private:
  struct Index {
    std::function<std::vector<std::string>(const void*)> values;
    std::map<std::string, std::map<std::string_view, Object>> entries;  // by value and key; the keys are those of objects_
  };
  Task<Result<std::string>> list_once();
  Task<Result<>> watch_from(std::string& resource_version);
  void put(std::string key, Object after);

  Client& client_;
  const Type type_;
  const std::string ns_;
  const ListOptions selectors_;
  mutable std::shared_mutex mutex_;  // guards what follows
  std::map<std::string, Object> objects_;
  std::map<std::string, Index> indexes_;
  bool synced_ = false;
  std::vector<std::function<void(const Object&, const Object&)>> handlers_;
  base::Event changed_;
};

template <class T>
class Informer final : public InformerBase {
 public:
  using Ptr = std::shared_ptr<const T>;
  // trim: takes from every object what nobody here reads.
  Informer(Client& client, std::string ns, ListOptions selectors, void (*trim)(T&) = nullptr)
      : InformerBase(client,
                     {resource_of<T>(),
                      [trim](std::string_view json) -> Result<Object> {
                        auto o = decode<T>(json);
                        if (!o) return std::unexpected(std::move(o).error());
                        o->metadata.managedFields = {};  // a seventh of a pod, and nobody's business here
                        if (trim) trim(*o);
                        return std::make_shared<const T>(std::move(*o));
                      },
                      [](const void* o) -> const meta::ObjectMeta& { return static_cast<const T*>(o)->metadata; }},
                     std::move(ns), std::move(selectors)) {}

  // Null when absent.
  Ptr get(const ObjectKey& key) const { return cast(find(key.text())); }
  Ptr get(std::string_view ns, std::string_view name) const { return get(ObjectKey{std::string(ns), std::string(name)}); }
  // Of one namespace, or of all when empty; by key.
  std::vector<Ptr> list(const std::string& ns = {}) const { return cast(all(ns)); }
  // Objects for which the index function gave this value. The index must have been added before start.
  std::vector<Ptr> by_index(const std::string& index, const std::string& value) const { return cast(indexed(index, value)); }
  void add_index(std::string index, std::function<std::vector<std::string>(const T&)> f) {
    index_by(std::move(index), [f = std::move(f)](const void* o) { return f(*static_cast<const T*>(o)); });
  }
  // before is null for an addition, after for a deletion. Objects already known are announced as additions, on the strand.
  void on_change(std::function<void(const Ptr& before, const Ptr& after)> f) {
    handle([f = std::move(f)](const Object& before, const Object& after) { f(cast(before), cast(after)); });
  }

 private:
  static Ptr cast(const Object& o) { return std::static_pointer_cast<const T>(o); }
  static std::vector<Ptr> cast(const std::vector<Object>& in) {
    std::vector<Ptr> out;
    out.reserve(in.size());
    for (const Object& o : in) out.push_back(cast(o));
    return out;
  }
};

// The informers of one process or component: one per type, namespace and selectors; made on first use, before or after start().
class Informers {
 public:
  Informers(base::Runtime& runtime, Client& client) : client_(client), tasks_(runtime) {}

  // trim counts when this call makes the informer.
  template <class T>
  Informer<T>& get(std::string ns = {}, ListOptions selectors = {}, void (*trim)(T&) = nullptr) {
    auto key = std::string(T::kind_info().group) + "/" + std::string(T::kind_info().kind) + "?" + ns + "?" + selectors.label_selector +
               "?" + selectors.field_selector;
    std::scoped_lock lock(mutex_);
    auto& slot = informers_[key];
    if (!slot) {
      slot = std::make_shared<Informer<T>>(client_, std::move(ns), std::move(selectors), trim);
      if (started_) run(slot, key);
    }
    return static_cast<Informer<T>&>(*slot);
  }
  // Begins to list and watch; on_change and add_index come before it, or before the informer's first use.
  void start();
  Task<> wait_synced();
  Task<> stop();

 private:
  void run(std::shared_ptr<InformerBase> informer, const std::string& name);
  Client& client_;
  base::Tasks tasks_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<InformerBase>> informers_;
  bool started_ = false;
};

}  // namespace api
