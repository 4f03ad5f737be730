#include "agent/volumes/payload.h"

#include <fmt/format.h>

namespace agent {

bool is_volume_path(const std::string& path) {
  if (path.empty() || path[0] == '/' || path.size() > 4096 || path.find('\0') != std::string::npos) return false;
  if (path.starts_with("..")) return false;
  size_t at = 0;
  while (at <= path.size()) {
    size_t end = std::min(path.find('/', at), path.size());
    std::string part = path.substr(at, end - at);
    if (part == ".." || part == "." || part.empty()) return false;
    at = end + 1;
  }
  return true;
}

Result<> add_keys(Payload& to, const std::map<std::string, std::string>& data, const std::vector<api::core::KeyToPath>& items,
                  uint32_t mode, bool optional, const std::string& what) {
  if (items.empty()) {
    for (const auto& [key, value] : data) {
      if (is_volume_path(key)) to[key] = {value, mode, {}};
    }
    return {};
  }
  for (const auto& item : items) {
    auto it = data.find(item.key);
    if (it == data.end()) {
      if (optional) continue;
      return base::fail(400, "FailedMount", fmt::format("{} references non-existent key: {}", what, item.key));
    }
    if (!is_volume_path(item.path)) return base::fail(400, "FailedMount", fmt::format("invalid path {} in {}", item.path, what));
    to[item.path] = {it->second, item.mode ? static_cast<uint32_t>(*item.mode) : mode, {}};
  }
  return {};
}

Result<> add_downward(Payload& to, const std::vector<api::core::DownwardAPIVolumeFile>& items, uint32_t mode, const PodFacts& facts) {
  for (const auto& item : items) {
    if (!is_volume_path(item.path))
      return base::fail(400, "FailedMount", fmt::format("invalid path {} in a downwardAPI volume", item.path));
    std::string value;
    if (item.fieldRef) {
      TRY(value, downward_field(facts, item.fieldRef->fieldPath));
    } else if (item.resourceFieldRef) {
      TRY(value, downward_resource(facts, *item.resourceFieldRef, item.resourceFieldRef->containerName));
    }
    to[item.path] = {std::move(value), item.mode ? static_cast<uint32_t>(*item.mode) : mode, {}};
  }
  return {};
}

std::map<std::string, std::string> config_map_data(const api::core::ConfigMap& map) {
  std::map<std::string, std::string> out = map.data;
  for (const auto& [k, v] : map.binaryData) out[k] = v;
  return out;
}

}  // namespace agent
