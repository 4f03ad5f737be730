#include "agent/volumes/host_path.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <vector>

#include <fmt/format.h>

#include "base/files.h"

namespace agent {

base::Result<> check_host_path(const std::string& path, const std::string& type) {
  if (!path.starts_with('/')) return base::bad_request(fmt::format("hostPath \"{}\" is not absolute", path));
  struct stat s;
  bool there = ::stat(path.c_str(), &s) == 0;
  if (!there && errno != ENOENT && errno != ENOTDIR) return base::errno_error("stat " + path);
  auto wrong = [&](std::string_view what) {
    return base::fail(500, "FailedMount", fmt::format("hostPath type check failed: {} is not a {}", path, what));
  };
  if (type.empty() || type == "DirectoryOrCreate") {
    if (!there) return base::make_dirs(path, 0755);
    if (!type.empty() && !S_ISDIR(s.st_mode)) return wrong("directory");
    return {};
  }
  if (type == "FileOrCreate") {
    if (there) {
      if (!S_ISREG(s.st_mode)) return wrong("file");
      return {};
    }
    base::Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (!fd) return base::errno_error("create " + path);
    return {};
  }
  if (type == "Directory") {
    if (!there || !S_ISDIR(s.st_mode)) return wrong("directory");
  } else if (type == "File") {
    if (!there || !S_ISREG(s.st_mode)) return wrong("file");
  } else if (type == "Socket") {
    if (!there || !S_ISSOCK(s.st_mode)) return wrong("socket file");
  } else if (type == "CharDevice") {
    if (!there || !S_ISCHR(s.st_mode)) return wrong("character device");
  } else if (type == "BlockDevice") {
    if (!there || !S_ISBLK(s.st_mode)) return wrong("block device");
  } else {
    return base::bad_request(fmt::format("unknown hostPath type \"{}\"", type));
  }
  return {};
}

namespace {

// Works on descriptors, so that links put there by a pod lead nowhere.
base::Result<> give_at(int fd, const std::string& name, uint32_t gid, int depth) {
  struct stat s;
  if (::fstat(fd, &s) != 0) return base::errno_error("stat " + name);
  if (s.st_gid != gid && ::fchown(fd, static_cast<uid_t>(-1), gid) != 0) return base::errno_error("chown " + name);
  mode_t want = s.st_mode | 0660 | (S_ISDIR(s.st_mode) ? 02110 : 0);
  if ((s.st_mode & 07777) != (want & 07777) && ::fchmod(fd, want & 07777) != 0) return base::errno_error("chmod " + name);
  if (!S_ISDIR(s.st_mode) || depth > 64) return {};
  int copy = ::dup(fd);
  DIR* d = ::fdopendir(copy);
  if (!d) {
    ::close(copy);
    return base::errno_error("read " + name);
  }
  base::Result<> result;
  while (dirent* e = ::readdir(d)) {
    std::string child = e->d_name;
    if (child == "." || child == "..") continue;
    base::Fd c(::openat(fd, child.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!c) continue;  // a link, a socket, or gone
    result = give_at(c.get(), name + "/" + child, gid, depth + 1);
    if (!result) break;
  }
  ::closedir(d);
  return result;
}

}  // namespace

base::Result<> give_to_group(const std::string& path, uint32_t gid) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return base::errno_error("open " + path);
  return give_at(fd.get(), path, gid, 0);
}

bool is_mount_point(const std::string& path) {
  struct stat here, parent;
  std::string up = path.substr(0, path.rfind('/'));
  return ::stat(path.c_str(), &here) == 0 && ::stat(up.c_str(), &parent) == 0 && here.st_dev != parent.st_dev;
}

void unmount_below(const std::string& directory) {
  std::ifstream in("/proc/self/mountinfo");
  std::vector<std::string> found;
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string id, parent, dev, root, point;
    words >> id >> parent >> dev >> root >> point;
    // Octal escapes stand for blanks and backslashes; our own paths have none.
    if (point.starts_with(directory + "/")) found.push_back(point);
  }
  std::sort(found.rbegin(), found.rend());
  for (const auto& p : found) ::umount2(p.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
}

}  // namespace agent
