// Directories of the host as volumes. Blocking.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace agent {

// hostPath types of the API: "", DirectoryOrCreate, Directory, FileOrCreate, File, Socket, CharDevice, BlockDevice. Makes what ...OrCreate
// asks for (and an absent directory for "", as container runtimes do).
base::Result<> check_host_path(const std::string& path, const std::string& type);

// fsGroup: the directory and what is below it belong to the group, which may read and write.
base::Result<> give_to_group(const std::string& path, uint32_t gid);

// Whether something is mounted there.
bool is_mount_point(const std::string& path);
// Detaches every mount below the directory.
void unmount_below(const std::string& directory);

}  // namespace agent
