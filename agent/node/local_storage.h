// Local storage that pods take: what lies in their emptyDir volumes, writable layers, logs, termination messages and hosts files, and which
// limit it exceeds.
#pragma once

#include <optional>
#include <string>

#include "agent/pods/worker.h"

namespace agent {

// Bytes on the disk below a directory, which may be hostile: links are not followed, other file systems not entered. Blocking.
uint64_t disk_usage(const std::string& directory);

// Whether the pod has a limit that is to be watched. Pure.
bool limits_storage(const api::core::Pod& pod);
// All that a pod takes. Blocking.
uint64_t storage_usage(const PodView& view, const std::string& pods_dir);
// The limit that is exceeded, as a sentence for the status. Blocking.
std::optional<std::string> exceeded_storage(const PodView& view, const std::string& pods_dir);

}  // namespace agent
