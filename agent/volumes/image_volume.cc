#include "agent/volumes/image_volume.h"

#include <sys/mount.h>
#include <unistd.h>

#include "agent/volumes/host_path.h"
#include "base/files.h"

namespace agent {

base::Result<> mount_image(const std::string& path, const std::vector<std::string>& layers) {
  CHECK_OK(base::make_dirs(path, 0755));
  if (is_mount_point(path)) return {};
  // Overlayfs wants two directories at least when nothing can be written: an empty one below does not show.
  const std::string empty = path + ".empty";
  CHECK_OK(base::make_dirs(empty, 0755));
  std::string options = "lowerdir=";
  for (const auto& l : layers) options += l + ":";
  options += empty;
  if (options.size() + 16 >= static_cast<size_t>(::sysconf(_SC_PAGESIZE)))
    return base::internal("the image has too many layers for a volume");
  if (::mount("overlay", path.c_str(), "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()) != 0)
    return base::errno_error("mount the image at " + path);
  return {};
}

}  // namespace agent
