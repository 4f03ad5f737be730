// Who owns whom, by uid: what the garbage collector remembers of the cluster. Objects without owners are not kept.
// Safe from any thread; pure bookkeeping, no writes.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/types/meta_v1.h"

namespace server::controllers {

class OwnerGraph {
 public:
  // Whether an owner exists, as far as is known.
  enum class Presence : uint8_t { unknown, present, absent };
  struct Dependent {
    std::string key;  // opaque: where to find the object
    std::string uid;
    bool blocks = false;  // its owner's foreground deletion waits for it
    bool ending = false;  // is itself being deleted in the foreground
  };

  // An object was added or changed. Keys that must be looked at: its own when one of its owners is not known to exist, and owners that waited for it
  // and are no longer held up.
  std::vector<std::string> put(const std::string& key, const api::meta::ObjectMeta& m);
  // An object has gone. Keys that must be looked at: its dependents, and owners that waited for it.
  std::vector<std::string> removed(const std::string& key, const std::string& uid);
  // After a new list that replaces a lost watch: objects of this key prefix that are not among the listed ones have gone.
  std::vector<std::string> retain(const std::string& prefix, const std::set<std::string>& listed);

  std::vector<Dependent> dependents(const std::string& owner_uid) const;
  Presence presence(const std::string& uid) const;
  void set_presence(const std::string& uid, Presence p);  // of an owner; ignored for others
  // The owner is being deleted in the foreground: its key is handed out when a dependent goes.
  void waits(const std::string& owner_uid, const std::string& owner_key);
  size_t size() const;
  // Whether any object with this key prefix has owners.
  bool follows(const std::string& prefix) const;

 private:
  struct Owner {
    std::map<std::string, Dependent> dependents;  // by key
    Presence presence = Presence::unknown;
    std::string waiting;  // its key
  };
  void unlink(const std::string& key, std::vector<std::string>* woken);
  bool link(const std::string& key, const api::meta::ObjectMeta& m);

  mutable std::mutex mutex_;
  std::unordered_map<std::string, Owner> owners_;  // by uid; those with dependents
  struct Entry {
    std::string uid;
    std::vector<std::string> owners;
  };
  std::map<std::string, Entry> entries_;              // objects with owners, by key
  std::unordered_map<std::string, size_t> known_;     // uids of entries: objects seen to exist
};

}  // namespace server::controllers
