// Where objects are in the store: /registry/<group, "core" for the core group>/<resource>/[<namespace>/]<name>.
#pragma once

#include <string>
#include <string_view>

namespace server {

inline std::string collection_prefix(std::string_view group, std::string_view resource, std::string_view ns = {}) {
  std::string out;
  out.reserve(32 + group.size() + resource.size() + ns.size());
  out.append("/registry/").append(group.empty() ? std::string_view("core") : group).append("/").append(resource).append("/");
  if (!ns.empty()) out.append(ns).append("/");
  return out;
}

inline std::string object_key(std::string_view group, std::string_view resource, std::string_view ns, std::string_view name) {
  return collection_prefix(group, resource, ns).append(name);
}

inline std::string_view name_in_key(std::string_view key) { return key.substr(key.rfind('/') + 1); }

// Of a key of a namespaced resource.
inline std::string_view namespace_in_key(std::string_view key) {
  size_t end = key.rfind('/');
  size_t begin = key.rfind('/', end - 1);
  return key.substr(begin + 1, end - begin - 1);
}

// Group and resource, as stored ("core", "pods").
inline std::pair<std::string_view, std::string_view> resource_in_key(std::string_view key) {
  key.remove_prefix(std::string_view("/registry/").size());
  size_t slash = key.find('/');
  std::string_view group = key.substr(0, slash);
  key.remove_prefix(slash + 1);
  return {group, key.substr(0, key.find('/'))};
}

}  // namespace server
