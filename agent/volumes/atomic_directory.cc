#include "agent/volumes/atomic_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <set>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/files.h"

namespace agent {

namespace {

std::string first_part(const std::string& path) { return path.substr(0, path.find('/')); }

std::string link_target(const std::string& path) {
  char buffer[512];
  ssize_t n = ::readlink(path.c_str(), buffer, sizeof buffer);
  return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : std::string();
}

std::set<std::string> entries(const std::string& directory) {
  std::set<std::string> out;
  DIR* d = ::opendir(directory.c_str());
  if (!d) return out;
  while (dirent* e = ::readdir(d)) {
    std::string name = e->d_name;
    if (name != "." && name != "..") out.insert(name);
  }
  ::closedir(d);
  return out;
}

bool same(const std::string& set_directory, const Payload& payload, std::optional<uint32_t> fs_group) {
  size_t files = 0;
  // Counts regular files below, so that a vanished key is noticed.
  auto count = [&](auto& self, const std::string& dir) -> void {
    for (const auto& name : entries(dir)) {
      struct stat s;
      std::string p = dir + "/" + name;
      if (::lstat(p.c_str(), &s) != 0) continue;
      if (S_ISDIR(s.st_mode)) self(self, p);
      else ++files;
    }
  };
  count(count, set_directory);
  if (files != payload.size()) return false;
  for (const auto& [path, file] : payload) {
    std::string p = set_directory + "/" + path;
    struct stat s;
    if (::lstat(p.c_str(), &s) != 0 || !S_ISREG(s.st_mode)) return false;
    uint32_t mode = file.mode | (fs_group ? 0440u : 0u);
    if ((s.st_mode & 07777) != mode) return false;
    auto data = base::read_file(p);
    if (!data || *data != file.data) return false;
  }
  return true;
}

base::Result<> write_one(const std::string& path, const VolumeFile& file, std::optional<uint32_t> fs_group) {
  base::Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return base::errno_error("create " + path);
  std::string_view rest = file.data;
  while (!rest.empty()) {
    ssize_t n = ::write(fd.get(), rest.data(), rest.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return base::errno_error("write " + path);
    }
    rest.remove_prefix(static_cast<size_t>(n));
  }
  if (file.uid || fs_group) {
    if (::fchown(fd.get(), file.uid ? *file.uid : static_cast<uid_t>(-1), fs_group ? *fs_group : static_cast<gid_t>(-1)) != 0) {
      return base::errno_error("chown " + path);
    }
  }
  if (::fchmod(fd.get(), file.mode | (fs_group ? 0440u : 0u)) != 0) return base::errno_error("chmod " + path);
  return {};
}

}  // namespace

base::Result<bool> write_atomic_directory(const std::string& directory, const Payload& payload, std::optional<uint32_t> fs_group) {
  CHECK_OK(base::make_dirs(directory, 0755));
  auto own = [&](const std::string& d) {
    ::chmod(d.c_str(), fs_group ? 02755 : 0755);
    if (fs_group && ::chown(d.c_str(), static_cast<uid_t>(-1), *fs_group) == 0) ::chmod(d.c_str(), 02755);
  };
  own(directory);
  const std::string data_link = directory + "/..data";
  const std::string old_set = link_target(data_link);
  if (!old_set.empty() && same(directory + "/" + old_set, payload, fs_group)) return false;

  std::time_t now = std::time(nullptr);
  std::tm tm{};
  ::gmtime_r(&now, &tm);
  std::string set = fmt::format("..{:04}_{:02}_{:02}_{:02}_{:02}_{:02}.{}", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                                tm.tm_min, tm.tm_sec, base::hex_encode(base::random_bytes(5)));
  std::string set_path = directory + "/" + set;
  if (::mkdir(set_path.c_str(), 0755) != 0) return base::errno_error("mkdir " + set_path);
  own(set_path);
  for (const auto& [path, file] : payload) {
    std::string at = set_path;
    for (size_t slash = path.find('/'), from = 0; slash != std::string::npos; from = slash + 1, slash = path.find('/', from)) {
      at += "/" + path.substr(from, slash - from);
      if (::mkdir(at.c_str(), 0755) != 0 && errno != EEXIST) return base::errno_error("mkdir " + at);
      own(at);
    }
    CHECK_OK(write_one(set_path + "/" + path, file, fs_group));
  }
  std::string next = directory + "/..data_tmp";
  ::unlink(next.c_str());
  if (::symlink(set.c_str(), next.c_str()) != 0) return base::errno_error("symlink " + next);
  if (::rename(next.c_str(), data_link.c_str()) != 0) return base::errno_error("rename " + next);

  std::set<std::string> visible;
  for (const auto& [path, file] : payload) visible.insert(first_part(path));
  for (const auto& name : visible) {
    std::string link = directory + "/" + name, target = "..data/" + name;
    if (link_target(link) == target) continue;
    ::unlink(link.c_str());
    if (::symlink(target.c_str(), link.c_str()) != 0) return base::errno_error("symlink " + link);
  }
  for (const auto& name : entries(directory)) {
    if (name == "..data" || name == set) continue;
    if (name.starts_with("..")) {
      CHECK_OK(base::remove_all(directory + "/" + name));
    } else if (!visible.contains(name)) {
      ::unlink((directory + "/" + name).c_str());
    }
  }
  return true;
}

}  // namespace agent
