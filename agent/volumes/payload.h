// The files of configMap, secret, downwardAPI and projected volumes, as values. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/pods/downward.h"
#include "api/types/core_v1.h"
#include "base/error.h"

namespace agent {

struct VolumeFile {
  std::string data;
  uint32_t mode = 0644;
  std::optional<uint32_t> uid;
  bool operator==(const VolumeFile&) const = default;
};
// By path relative to the volume.
using Payload = std::map<std::string, VolumeFile>;

// Relative, no "..", not empty, does not begin with "..": what may become a path in a volume.
bool is_volume_path(const std::string& path);

// All keys, or the chosen ones. A chosen key that is missing is an error unless optional.
Result<> add_keys(Payload& to, const std::map<std::string, std::string>& data, const std::vector<api::core::KeyToPath>& items,
                  uint32_t mode, bool optional, const std::string& what);
Result<> add_downward(Payload& to, const std::vector<api::core::DownwardAPIVolumeFile>& items, uint32_t mode, const PodFacts& facts);

// data and binaryData together.
std::map<std::string, std::string> config_map_data(const api::core::ConfigMap& map);

}  // namespace agent
