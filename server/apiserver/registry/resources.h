// The table of what is served: one row per resource and version, derived from the schema, with the kind's strategy.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/kind.h"
#include "api/schema.h"
#include "base/json.h"
#include "server/apiserver/registry/metadata.h"

namespace server {

class Strategy;

// Turns objects of one served version into those of the stored one and back.
struct Conversion {
  void (*to_stored)(base::json::object&) = nullptr;
  void (*from_stored)(base::json::object&) = nullptr;
};

struct ResourceInfo {
  const api::Kind* kind = nullptr;
  std::string group, version, resource;
  std::string qualified;       // "deployments.apps"
  std::string api_version;     // "apps/v1"
  std::string prefix;          // of its keys in the store, ends with '/'
  bool namespaced = false;
  bool is_virtual = false;     // answered, not stored
  bool has_status = false;     // a status subresource
  bool has_generation = false;
  bool generation_counts = false;   // it grows with the desired state
  bool annotations_count = false;   // and with annotations
  bool deletion_returns_object = false;
  bool orphans_by_default = false;  // a deletion without propagation policy leaves dependents
  NameRule name_rule = NameRule::subdomain;
  std::vector<std::string> verbs, subresources;
  const Strategy* strategy = nullptr;      // never null
  const ResourceInfo* stored = nullptr;    // the row under which objects are stored; itself for most
  const Conversion* conversion = nullptr;  // set when stored is another row

  std::string key(std::string_view ns, std::string_view name) const {
    std::string out = stored->prefix;
    if (namespaced) out.append(ns).append("/");
    return out.append(name);
  }
  std::string collection(std::string_view ns) const {
    std::string out = stored->prefix;
    if (!ns.empty()) out.append(ns).append("/");
    return out;
  }
};

class Resources {
 public:
  // strategy_of: never null.
  explicit Resources(const std::function<const Strategy*(std::string_view group, std::string_view resource)>& strategy_of);
  // Null when not served.
  const ResourceInfo* find(std::string_view group, std::string_view version, std::string_view resource) const;
  const ResourceInfo* find(const api::Resource& r) const { return find(r.group, r.version, r.resource); }
  const ResourceInfo* by_kind(std::string_view group, std::string_view version, std::string_view kind) const;
  // By the segments of a stored key ("core", "pods").
  const ResourceInfo* stored(std::string_view group, std::string_view resource) const;
  const std::deque<ResourceInfo>& all() const { return rows_; }

 private:
  std::deque<ResourceInfo> rows_;
  std::map<std::string, const ResourceInfo*, std::less<>> by_name_, by_kind_, by_store_;
};

}  // namespace server
