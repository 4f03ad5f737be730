// What the store keeps beside an object's bytes, so that lists and watches filter, and admission looks things up, without decoding.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "datastore/store.h"

namespace server {

struct Attributes {
  std::vector<std::pair<std::string, std::string>> labels;       // sorted by name
  std::vector<std::pair<std::string_view, std::string>> fields;  // selectable fields that are not empty; names are static
  std::string uid;
  uint32_t revision_offset = 0;  // of the first digit of metadata.resourceVersion in the value
  bool deleting = false;         // metadata.deletionTimestamp is set

  std::string_view field(std::string_view name) const {
    for (const auto& [n, v] : fields)
      if (n == name) return v;
    return {};
  }
};

// `group` as in keys ("core").
std::shared_ptr<const Attributes> make_attributes(std::string_view group, std::string_view resource, const base::json::value& object,
                                                  size_t revision_offset);
// From a stored value.
std::shared_ptr<const Attributes> read_attributes(std::string_view key, std::string_view value);

// What pods are told apart by when hundreds of nodes watch them, each its own: the name of the node (see datastore::Narrow).
inline constexpr std::string_view tag_field = "spec.nodeName";
std::string_view tag_of(const datastore::Record& record);

inline const Attributes& attributes_of(const datastore::Record& record) { return *static_cast<const Attributes*>(record.attributes.get()); }

}  // namespace server
