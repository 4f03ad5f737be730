// What is particular to a kind on top of the generic path. Every hook does nothing unless a kind overrides it.
//
// Hooks are plain functions over values, called on the writer's strand, maybe several times for one request (the write is retried after a conflict).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/kind.h"
#include "datastore/store.h"
#include "server/apiserver/registry/call.h"
#include "server/apiserver/registry/resources.h"

namespace server {

using base::Result;

// One attempt to write one object.
struct WriteAttempt {
  const ResourceInfo& resource;
  const datastore::Store& store;
  Call& call;
  std::string ns, name, subresource;
  std::vector<datastore::Write> also;  // out: written in the same transaction; a failed precondition of one of them repeats the attempt
  int number = 0;                      // of this attempt
};

struct DeleteRequest {
  std::optional<int64_t> grace_seconds;
  std::string propagation;  // "", Background, Foreground, Orphan
  std::string uid, resource_version;
  bool orphan_dependents_set = false, orphan_dependents = false;
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  // After defaulting, before validation.
  virtual Result<> prepare_create(WriteAttempt&, base::json::object&) const { return {}; }
  virtual Result<> prepare_update(WriteAttempt&, base::json::object& /*now*/, const base::json::object& /*before*/) const { return {}; }
  // Rules that need to know more than the schema's validation does.
  virtual void validate_create(const WriteAttempt&, const base::json::object&, std::vector<base::Cause>&) const {}
  virtual void validate_update(const WriteAttempt&, const base::json::object& /*now*/, const base::json::object& /*before*/,
                               std::vector<base::Cause>&) const {}
  // May refuse, and may add writes (release of what was allocated) for the moment the object goes.
  virtual Result<> allow_delete(WriteAttempt&, const base::json::object&) const { return {}; }
  virtual void on_gone(WriteAttempt&, const base::json::object&) const {}
  // Seconds an object lives on after deletion, or nullopt: at once.
  virtual std::optional<int64_t> grace(const base::json::object&, const DeleteRequest&) const { return std::nullopt; }
  // Whether a deleted object without finalizers may go now (a Namespace has finalizers in its spec too).
  virtual bool may_go(const base::json::object&) const { return true; }
  // A client's status on create is dropped unless this says otherwise.
  virtual bool keeps_status_on_create() const { return false; }
  virtual bool may_update_without_version() const { return true; }
  // An update of an absent object makes it (Lease, and kinds kubelets write).
  virtual bool creates_on_update() const { return false; }
};

}  // namespace server
