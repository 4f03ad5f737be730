// The generic path of every kind: reads, lists, watches and writes of objects with Kubernetes' semantics over the store.
//
// Objects are stored as canonical JSON text (apiVersion and kind first, then metadata) that carries its own resourceVersion; reads hand out these bytes.
// Thread-safe. Nothing here authorises: callers have.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/client.h"
#include "api/selector.h"
#include "base/bytes.h"
#include "datastore/store.h"
#include "server/apiserver/registry/admission.h"
#include "server/apiserver/registry/attributes.h"
#include "server/apiserver/registry/resources.h"

namespace server {

using base::Bytes;
using base::Task;
using datastore::RecordPtr;
using datastore::Revision;

// A resource, and where in it.
struct Target {
  const ResourceInfo* resource = nullptr;
  std::string ns, name, subresource;
};

struct Selection {
  api::LabelSelector labels;
  api::FieldSelector fields;
  bool everything = true;
  bool matches(const datastore::Record& record, bool namespaced) const;
  // The one key below the collection that can match, when a name is demanded; else empty.
  std::string key(const ResourceInfo& resource, const std::string& ns) const;
};
// 400 on bad syntax or a field that cannot be selected by.
Result<Selection> parse_selection(const ResourceInfo& resource, std::string_view labels, std::string_view fields);

struct ListRequest {
  Selection selection;
  size_t limit = 0;
  std::string continue_token, resource_version, version_match;  // as in the query
  std::optional<bool> initial_events;                           // for watches only: refused
};
struct ListAnswer {
  std::vector<RecordPtr> records;
  Revision revision = 0;
  std::string continue_token;
  size_t remaining = 0;  // with a continue token and without selectors
};

struct WatchRequest {
  Selection selection;
  std::string resource_version, version_match;
  bool bookmarks = false;
  std::optional<bool> initial_events;
};
struct WatchItem {
  enum class Type { added, modified, deleted, bookmark } type = Type::added;
  RecordPtr record;             // its value is sent, with `revision` in place of its own when deleted
  Revision revision = 0;
  bool initial_events_end = false;  // of a bookmark
};
class WatchSession {
 public:
  // Items that are there, or come until the deadline; empty when none came. An error (410) ends the watch.
  Task<Result<std::vector<WatchItem>>> next(base::TimePoint deadline);
  Revision progress() const { return progress_; }
  bool bookmarks() const { return bookmarks_; }

 private:
  friend class Registry;
  std::vector<WatchItem> initial_;
  std::unique_ptr<datastore::Watcher> watcher_;
  Selection selection_;
  Revision progress_ = 0;
  bool bookmarks_ = false;
  bool namespaced_ = false;
};

// 422 for combinations of options that mean nothing.
Result<> check_list_options(const ListRequest& request);
Result<> check_watch_options(const WatchRequest& request);

struct DeleteAnswer {
  RecordPtr record;   // the object as it was, or as it is now when it lives on
  bool gone = false;
};

class Registry {
 public:
  Registry(datastore::Store& store, const Resources& resources, AdmissionChain& admission)
      : store_(store), resources_(resources), admission_(admission) {}

  // 404 when absent.
  Result<RecordPtr> get(const Target& target) const;
  Task<Result<ListAnswer>> list(const ResourceInfo* resource, std::string ns, ListRequest request) const;
  Task<Result<std::unique_ptr<WatchSession>>> watch(const ResourceInfo* resource, std::string ns, WatchRequest request);

  // `object` is decoded JSON of the resource's own version, not yet pruned.
  Task<Result<RecordPtr>> create(Target target, Call& call, base::json::value object);

  // Gives the new object for the live one (in the resource's own version); called again after a conflict.
  using Change = std::function<Result<base::json::value>(const base::json::value& live)>;
  struct UpdateOptions {
    std::string uid, resource_version;   // preconditions besides what the new object says
    bool from_apply = false;             // managedFields are already kept
    bool replace = false;                // PUT: an object without resourceVersion is checked for being allowed so
    bool system = false;                 // status and spec may change together (finalize, binding and the like)
    std::string manager_subresource;
  };
  // The object after the change. The last finalizer's removal deletes it.
  Task<Result<RecordPtr>> update(Target target, Call& call, UpdateOptions options, Change change);
  Task<Result<DeleteAnswer>> remove(Target target, Call& call, DeleteRequest request);

  // Decoded live object in the resource's version.
  Result<base::json::value> decode(const ResourceInfo& resource, const datastore::Record& record,
                                   base::json::storage_ptr storage = {}) const;
  // Text of a record in the resource's version: the stored bytes for most.
  Bytes present(const ResourceInfo& resource, const RecordPtr& record) const;

  // What makes names of generateName unique; tests force collisions.
  void set_name_suffix(std::function<std::string(size_t)> make) { name_suffix_ = std::move(make); }

  datastore::Store& store() const { return store_; }
  const Resources& resources() const { return resources_; }

 private:
  Task<Result<>> run_admission(Admit admit, bool mutating);

  datastore::Store& store_;
  const Resources& resources_;
  AdmissionChain& admission_;
  std::function<std::string(size_t)> name_suffix_ = base::random_suffix;
};

// The object a request body holds, checked to be of the resource's kind and in the target's namespace and name; fields unknown to the type are
// removed, and refused or warned of as the call says. `problems`: what decoding found, for the same end; they are told in the order of
// the text where it is given.
Result<> adopt(const Target& target, Call& call, base::json::value& object, std::vector<std::string> problems,
               std::string_view json_text = {});

}  // namespace server
