// A directory whose visible files all change at one instant: the scheme users of configMap volumes rely on.
//
//   key -> ..data/key        visible names are links
//   ..data -> ..2026_...     one link is renamed to publish a new set
// Blocking. A crash at any point leaves the old or the new set visible.
#pragma once

#include <optional>
#include <string>

#include "agent/volumes/payload.h"

namespace agent {

// Makes the directory hold exactly these files. True when something changed. With fs_group, files and directories get this group,
// which may read (and write, unless read_only) them.
base::Result<bool> write_atomic_directory(const std::string& directory, const Payload& payload,
                                          std::optional<uint32_t> fs_group = std::nullopt);

}  // namespace agent
