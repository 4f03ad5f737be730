// An API server of a few hundred lines in memory, for tests of what speaks to api::Client: get, list, watch, create, update, patch and remove with revisions,
// conflicts, generations, finalizers and owner-independent deletion. It knows no types and no admission. Safe from any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/client.h"
#include "base/channel.h"
#include "base/json.h"

namespace testing {

namespace json = base::json;

class FakeClient final : public api::Client {
 public:
  base::Task<api::Result<api::Bytes>> get(api::Resource resource, api::ObjectKey key, std::string subresource = {}) override;
  base::Task<api::Result<api::ListPage>> list(api::Resource resource, std::string ns, api::ListOptions options) override;
  base::Task<api::Result<std::unique_ptr<api::Watch>>> watch(api::Resource resource, std::string ns, api::WatchOptions options) override;
  base::Task<api::Result<api::Bytes>> create(api::Resource resource, api::ObjectKey key, std::string body,
                                             api::WriteOptions options = {}) override;
  base::Task<api::Result<api::Bytes>> update(api::Resource resource, api::ObjectKey key, std::string body,
                                             api::WriteOptions options = {}) override;
  base::Task<api::Result<api::Bytes>> patch(api::Resource resource, api::ObjectKey key, api::PatchType type, std::string body,
                                            api::WriteOptions options = {}) override;
  base::Task<api::Result<api::Bytes>> remove(api::Resource resource, api::ObjectKey key, api::DeleteOptions options = {}) override;

  // Synchronous access for tests.
  template <class T>
  T put(T object) {  // creates or replaces, status included
    api::ObjectKey key{object.metadata.namespace_, object.metadata.name};
    return *api::decode<T>(*store(api::resource_of<T>(), key, api::encode_json(object).as_object()));
  }
  template <class T>
  std::vector<T> all(const std::string& ns = {}) {
    std::vector<T> out;
    for (auto& b : snapshot(api::resource_of<T>(), ns)) out.push_back(*api::decode<T>(std::string_view(b)));
    return out;
  }
  template <class T>
  std::optional<T> find(const std::string& ns, const std::string& name) {
    for (auto& o : all<T>(ns))
      if (o.metadata.name == name) return o;
    return std::nullopt;
  }
  template <class T>
  void erase(const std::string& ns, const std::string& name) {
    drop(api::resource_of<T>(), {ns, name});
  }
  // How many writes of each kind there were: "create pods", "patch pods/status", ...
  std::map<std::string, int> writes();
  int total_writes();
  // Called before each write; an error is its answer.
  void fail_when(std::function<std::optional<base::Error>(const std::string& write)> f);

 private:
  using Objects = std::map<std::string, json::object>;
  struct Watcher {
    std::string resource, ns, name;
    base::Channel<api::WatchEvent> events{100000};
  };
  struct FakeWatch;
  static std::string text(const api::Resource& r) { return r.group + "/" + r.resource; }
  api::Bytes store(const api::Resource& r, const api::ObjectKey& key, json::object o);
  std::vector<std::string> snapshot(const api::Resource& r, const std::string& ns);
  void drop(const api::Resource& r, const api::ObjectKey& key);
  std::optional<base::Error> noted(const std::string& verb, const api::Resource& r, const std::string& subresource);
  // Require mutex_.
  api::Bytes commit(const api::Resource& r, const api::ObjectKey& key, json::object o, bool fresh);
  void announce(const api::Resource& r, const api::ObjectKey& key, api::WatchEvent::Type type, const api::Bytes& bytes);
  api::Result<api::Bytes> replace(const api::Resource& r, const api::ObjectKey& key, json::object now, const api::WriteOptions& options);
  void finish_removal(const api::Resource& r, const api::ObjectKey& key);

  std::mutex mutex_;
  std::map<std::string, Objects> objects_;  // by resource
  std::vector<std::weak_ptr<Watcher>> watchers_;
  uint64_t revision_ = 0, uid_ = 0;
  std::map<std::string, int> writes_;
  std::function<std::optional<base::Error>(const std::string&)> fail_;
};

}  // namespace testing
