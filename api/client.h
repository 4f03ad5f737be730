// The one interface through which components read and write the cluster: in-process against the registry, or remote over HTTPS.
// Objects travel as JSON bytes (with apiVersion and kind); the typed templates at the end decode and encode them.
// Thread-safe. Errors are the Status the API answered with.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/codec.h"
#include "api/kind.h"
#include "base/bytes.h"
#include "base/io.h"

namespace api {

using base::Bytes;
using base::Result;
using base::Task;

struct ListOptions {
  std::string label_selector, field_selector;
  std::string resource_version;
  size_t limit = 0;
  std::string continue_token;
};

struct ListPage {
  std::vector<Bytes> items;  // each complete, with apiVersion and kind
  std::string resource_version;
  std::string continue_token;  // non-empty: more pages
};

struct WatchOptions {
  std::string label_selector, field_selector;
  std::string resource_version;  // events after it
};

struct WatchEvent {
  enum class Type { added, modified, deleted, bookmark } type = Type::added;
  Bytes object;
};

// An open watch. An error (410 Expired, connection lost) or nullopt (ended) is final.
class Watch {
 public:
  virtual ~Watch() = default;
  virtual Task<Result<std::optional<WatchEvent>>> next() = 0;
};

struct WriteOptions {
  std::string subresource;    // "status", "scale", "binding", "eviction", "token", ...
  std::string field_manager;  // default: the client's name
  bool dry_run = false;
  bool force = false;         // apply: take over conflicting fields
};

enum class PatchType { json, merge, strategic, apply };

struct DeleteOptions {
  std::optional<int64_t> grace_period_seconds;
  std::string propagation_policy;       // "", "Background", "Foreground", "Orphan"
  std::string uid, resource_version;    // preconditions; empty: none
};

class Client {
 public:
  virtual ~Client() = default;
  virtual Task<Result<Bytes>> get(Resource resource, ObjectKey key, std::string subresource = {}) = 0;
  virtual Task<Result<ListPage>> list(Resource resource, std::string ns, ListOptions options) = 0;
  virtual Task<Result<std::unique_ptr<Watch>>> watch(Resource resource, std::string ns, WatchOptions options) = 0;
  // key.name is needed for subresources only (binding, eviction, token); otherwise the body names the object.
  virtual Task<Result<Bytes>> create(Resource resource, ObjectKey key, std::string body, WriteOptions options = {}) = 0;
  virtual Task<Result<Bytes>> update(Resource resource, ObjectKey key, std::string body, WriteOptions options = {}) = 0;
  virtual Task<Result<Bytes>> patch(Resource resource, ObjectKey key, PatchType type, std::string body, WriteOptions options = {}) = 0;
  virtual Task<Result<Bytes>> remove(Resource resource, ObjectKey key, DeleteOptions options = {}) = 0;
};

// Typed forms.
template <class T>
Task<Result<T>> get(Client& client, ObjectKey key) {
  auto r = co_await client.get(resource_of<T>(), std::move(key));
  if (!r) co_return std::unexpected(std::move(r).error());
  co_return decode<T>(**r);
}

template <class T>
Task<Result<T>> create(Client& client, T object, WriteOptions options = {}) {
  ObjectKey key{object.metadata.namespace_, object.metadata.name};
  auto r = co_await client.create(resource_of<T>(), std::move(key), encode(object), std::move(options));
  if (!r) co_return std::unexpected(std::move(r).error());
  co_return decode<T>(**r);
}

template <class T>
Task<Result<T>> update(Client& client, T object, WriteOptions options = {}) {
  ObjectKey key{object.metadata.namespace_, object.metadata.name};
  auto r = co_await client.update(resource_of<T>(), std::move(key), encode(object), std::move(options));
  if (!r) co_return std::unexpected(std::move(r).error());
  co_return decode<T>(**r);
}

template <class T>
Task<Result<T>> update_status(Client& client, T object) {
  WriteOptions options;
  options.subresource = "status";
  return update(client, std::move(object), std::move(options));
}

template <class T>
Task<Result<T>> patch(Client& client, ObjectKey key, PatchType type, std::string body, WriteOptions options = {}) {
  auto r = co_await client.patch(resource_of<T>(), std::move(key), type, std::move(body), std::move(options));
  if (!r) co_return std::unexpected(std::move(r).error());
  co_return decode<T>(**r);
}

template <class T>
Task<Result<>> remove(Client& client, ObjectKey key, DeleteOptions options = {}) {
  auto r = co_await client.remove(resource_of<T>(), std::move(key), std::move(options));
  if (!r) co_return std::unexpected(std::move(r).error());
  co_return Result<>{};
}

template <class T>
Task<Result<std::vector<T>>> list(Client& client, std::string ns = {}, ListOptions options = {}) {
  std::vector<T> out;
  for (;;) {
    auto page = co_await client.list(resource_of<T>(), ns, options);
    if (!page) co_return std::unexpected(std::move(page).error());
    for (const Bytes& b : page->items) {
      auto o = decode<T>(*b);
      if (!o) co_return std::unexpected(std::move(o).error());
      out.push_back(std::move(*o));
    }
    if (page->continue_token.empty()) co_return out;
    options.continue_token = page->continue_token;
  }
}

}  // namespace api
