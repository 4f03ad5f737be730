// Volumes that are images (KEP-4639): their layers, stacked read-only at a directory.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace agent {

// Mounts at `path`, which is made; unmounted by unmount_below(). `layers` are directories, topmost first. Blocking; safe to repeat.
base::Result<> mount_image(const std::string& path, const std::vector<std::string>& layers);

}  // namespace agent
