// Names of kinds and resources, and keys of objects.
#pragma once

#include <string>
#include <string_view>

namespace api {

// Static facts of a generated kind: every generated top-level struct T has `static const KindInfo& kind_info()`.
struct KindInfo {
  std::string_view group;     // "" for core
  std::string_view version;   // "v1"
  std::string_view kind;      // "Pod"
  std::string_view resource;  // "pods"
  bool namespaced = true;
};

// Group, version and plural of a resource, as in a URL.
struct Resource {
  std::string group, version, resource;
  bool operator==(const Resource&) const = default;
};

inline Resource resource_of(const KindInfo& k) { return {std::string(k.group), std::string(k.version), std::string(k.resource)}; }
template <class T>
Resource resource_of() {
  return resource_of(T::kind_info());
}

// Namespace (empty for cluster scope) and name.
struct ObjectKey {
  std::string ns, name;
  bool operator==(const ObjectKey&) const = default;
  auto operator<=>(const ObjectKey&) const = default;
  // "ns/name", or "name" without namespace: the keys of work queues.
  std::string text() const { return ns.empty() ? name : ns + "/" + name; }
  static ObjectKey parse(std::string_view text) {
    size_t slash = text.find('/');
    if (slash == std::string_view::npos) return {{}, std::string(text)};
    return {std::string(text.substr(0, slash)), std::string(text.substr(slash + 1))};
  }
};

}  // namespace api
