#include "runtime/images/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace runtime {

using base::Fd;
using base::Result;

namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";

base::Failure refuse(const std::string& name, std::string_view why) {
  std::string printable = name.substr(0, 200);
  for (char& c : printable) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return base::fail(422, "ImageInvalid", fmt::format("the archive entry \"{}\" is refused: {}", printable, why));
}

base::Failure system_error(const std::string& name, std::string_view what, int err = errno) {
  if (err == ENOSPC || err == EDQUOT) return base::fail(507, "InsufficientStorage", "the disk is full");
  if (err == EMFILE || err == ENFILE || err == ENOMEM || err == EIO || err == EROFS) return base::errno_error(what, err);
  return refuse(name, fmt::format("{}: {}", what, ::strerror(err)));
}

// "/./a//b/" -> "a/b"; no "..", no NUL, bounded.
Result<std::string> clean(const std::string& name, size_t limit) {
  if (name.size() > limit) return refuse(name, "the name is too long");
  std::string result;
  size_t depth = 0;
  for (size_t at = 0; at < name.size();) {
    size_t slash = std::min(name.find('/', at), name.size());
    std::string_view part = std::string_view(name).substr(at, slash - at);
    at = slash + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") return refuse(name, "it leaves its directory");
    if (part.size() > 255) return refuse(name, "the name is too long");
    if (++depth > 512) return refuse(name, "it is too deep");
    if (!result.empty()) result += '/';
    result += part;
  }
  return result;
}

int resolve(int root, const char* path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (int attempt = 0;; ++attempt) {
    long fd = ::syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN || attempt == 64) return static_cast<int>(fd);
  }
}

// The tree below an entry of a directory; never follows links or crosses mounts.
bool remove_tree(int parent, const char* leaf) {
  if (::unlinkat(parent, leaf, 0) == 0 || errno == ENOENT) return true;
  if (errno != EISDIR && errno != EPERM) return false;
  Fd directory(::openat(parent, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) return false;
  int copy = ::dup(directory.get());
  DIR* stream = ::fdopendir(copy);
  if (!stream) return false;
  bool good = true;
  while (dirent* entry = ::readdir(stream)) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") good = remove_tree(directory.get(), entry->d_name) && good;
  }
  ::closedir(stream);
  return good && ::unlinkat(parent, leaf, AT_REMOVEDIR) == 0;
}

class Unpacker {
 public:
  Unpacker(ByteSource& tar, int root, const UnpackLimits& limits, bool plain) : tar_(tar), root_(root), limits_(limits), plain_(plain) {}

  Result<UnpackResult> run() {
    archive_.reset(archive_read_new());
    archive_read_support_filter_none(archive_.get());
    archive_read_support_format_tar(archive_.get());
    archive_read_support_format_empty(archive_.get());
    if (archive_read_open(archive_.get(), this, nullptr, on_read, nullptr) != ARCHIVE_OK) return archive_failure();
    for (;;) {
      archive_entry* entry = nullptr;
      int rc = archive_read_next_header(archive_.get(), &entry);
      if (rc == ARCHIVE_EOF) break;
      if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) return archive_failure();
      if (++result_.entries > limits_.entries)
        return base::fail(422, "ImageInvalid", fmt::format("the layer has more than {} entries", limits_.entries));
      CHECK_OK(take(entry));
    }
    CHECK_OK(finish_directories());
    // What follows the end of the archive belongs to the digest of the layer.
    std::vector<char> rest(64 * 1024);
    for (uint64_t trailing = 0;;) {
      TRY(size_t n, tar_.read(rest));
      if (n == 0) break;
      if ((trailing += n) > limits_.bytes) return base::fail(422, "ImageInvalid", "the layer is too large");
    }
    std::ranges::sort(result_.opaque);
    result_.opaque.erase(std::ranges::unique(result_.opaque).begin(), result_.opaque.end());
    return std::move(result_);
  }

 private:
  struct FreeArchive {
    void operator()(struct archive* a) const { archive_read_free(a); }
  };

  static la_ssize_t on_read(struct archive* a, void* self, const void** buffer) {
    auto* u = static_cast<Unpacker*>(self);
    auto n = u->tar_.read(u->buffer_);
    if (!n) {
      u->source_error_ = n.error();
      archive_set_error(a, EIO, "%s", n.error().message.c_str());
      return -1;
    }
    *buffer = u->buffer_.data();
    return static_cast<la_ssize_t>(*n);
  }

  base::Failure archive_failure() {
    if (source_error_) return base::Failure(*source_error_);
    const char* why = archive_error_string(archive_.get());
    return base::fail(422, "ImageInvalid", fmt::format("the layer is not a valid tar archive: {}", why ? why : "unknown error"));
  }

  Result<> take(archive_entry* entry) {
    const char* raw = archive_entry_pathname(entry);
    if (!raw) return refuse("", "it has no readable name");
    TRY(std::string name, clean(raw, limits_.path_bytes));
    bool directory = archive_entry_filetype(entry) == AE_IFDIR;
    if (name.empty()) {
      if (!directory) return refuse(raw, "it would replace the root");
      Fd root(::openat(root_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!root) return system_error(name, "open");
      CHECK_OK(own(root.get(), entry, name));
      remember_time("", entry);
      return {};
    }
    size_t slash = name.rfind('/');
    std::string folder = slash == std::string::npos ? "" : name.substr(0, slash);
    std::string leaf = name.substr(slash == std::string::npos ? 0 : slash + 1);
    TRY(int parent, open_folder(folder, name));
    if (!plain_ && leaf.starts_with(kWhiteout)) return whiteout(parent, folder, leaf, name);
    if (const char* target = archive_entry_hardlink(entry)) return hard_link(parent, leaf, target, name);
    switch (archive_entry_filetype(entry)) {
      case AE_IFDIR: return make_directory(parent, leaf, entry, name);
      case AE_IFREG: return make_file(parent, leaf, entry, name);
      case AE_IFLNK: return make_symlink(parent, leaf, entry, name);
      case AE_IFCHR:
      case AE_IFBLK:
      case AE_IFIFO: return plain_ ? refuse(name, "a device in an archive of images") : make_node(parent, leaf, entry, name);
      default: return refuse(name, "an unknown kind of entry");
    }
  }

  // A descriptor of the directory, which is made where it is absent; the last one is kept.
  Result<int> open_folder(const std::string& folder, const std::string& name) {
    if (folder.empty()) return root_;
    if (folder_ && folder == folder_name_) return folder_.get();
    Fd fd(resolve(root_, folder.c_str(), O_PATH | O_DIRECTORY));
    for (size_t at = 0; !fd && errno == ENOENT && at != std::string::npos;) {
      // From the top: make what is absent, by a descriptor of what is above it.
      at = folder.find('/', at + 1);
      std::string part = folder.substr(0, at);
      Fd there(resolve(root_, part.c_str(), O_PATH | O_DIRECTORY));
      if (!there) {
        if (errno != ENOENT) break;
        size_t slash = part.rfind('/');
        std::string above = slash == std::string::npos ? "." : part.substr(0, slash);
        Fd up(resolve(root_, above.c_str(), O_PATH | O_DIRECTORY));
        if (!up) return system_error(name, "open its directory");
        const char* leaf = part.c_str() + (slash == std::string::npos ? 0 : slash + 1);
        if (::mkdirat(up.get(), leaf, 0755) != 0) return system_error(name, "make its directory");
      }
      if (at == std::string::npos) fd = Fd(resolve(root_, folder.c_str(), O_PATH | O_DIRECTORY));
      else errno = ENOENT;
    }
    if (!fd) return system_error(name, "open its directory");
    folder_ = std::move(fd);
    folder_name_ = folder;
    return folder_.get();
  }

  // Removes what stands in the way. True when it was a whiteout of this layer.
  Result<bool> make_room(int parent, const std::string& leaf, const std::string& name) {
    struct stat s;
    if (::fstatat(parent, leaf.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return false;
      return system_error(name, "stat");
    }
    if (!remove_tree(parent, leaf.c_str())) return system_error(name, "replace");
    folder_.reset();  // it may have been inside
    if (parent != root_) {
      // The parent's descriptor was the cached one.
      size_t slash = name.rfind('/');
      TRY([[maybe_unused]] int again, open_folder(name.substr(0, slash), name));
    }
    return S_ISCHR(s.st_mode) && s.st_rdev == 0;
  }

  int parent_again(const std::string& name) { return name.find('/') == std::string::npos ? root_ : folder_.get(); }

  Result<> whiteout(int parent, const std::string& folder, const std::string& leaf, const std::string& name) {
    if (leaf == kOpaque) {
      result_.opaque.push_back(folder);
      return {};
    }
    if (leaf.starts_with(".wh..wh.")) return {};  // bookkeeping of aufs
    std::string hidden = leaf.substr(kWhiteout.size());
    if (hidden.empty() || hidden == "." || hidden == "..") return refuse(name, "a whiteout of nothing");
    struct stat s;
    if (::fstatat(parent, hidden.c_str(), &s, AT_SYMLINK_NOFOLLOW) == 0) {
      // It hides what is below, not what this layer brings itself.
      if (S_ISDIR(s.st_mode)) result_.opaque.push_back(folder.empty() ? hidden : folder + "/" + hidden);
      return {};
    }
    if (::mknodat(parent, hidden.c_str(), S_IFCHR, 0) != 0) return system_error(name, "make a whiteout");
    return {};
  }

  Result<> hard_link(int parent, const std::string& leaf, const char* target, const std::string& name) {
    TRY(std::string source_name, clean(target, limits_.path_bytes));
    if (source_name.empty()) return refuse(name, "a hard link to the root");
    if (source_name == name) return {};
    Fd source(resolve(root_, source_name.c_str(), O_PATH | O_NOFOLLOW));
    if (!source) return system_error(name, fmt::format("hard link to \"{}\"", source_name));
    struct stat s;
    if (::fstat(source.get(), &s) != 0) return system_error(name, "stat");
    if (!S_ISREG(s.st_mode) && !S_ISLNK(s.st_mode) && !S_ISFIFO(s.st_mode)) return refuse(name, "a hard link to what is not a file");
    TRY([[maybe_unused]] bool hidden, make_room(parent, leaf, name));
    if (::linkat(source.get(), "", parent_again(name), leaf.c_str(), AT_EMPTY_PATH) != 0) return system_error(name, "link");
    return {};  // attributes are those of the first name
  }

  Result<> make_directory(int parent, const std::string& leaf, archive_entry* entry, const std::string& name) {
    struct stat s;
    bool exists = ::fstatat(parent, leaf.c_str(), &s, AT_SYMLINK_NOFOLLOW) == 0;
    if (!exists || !S_ISDIR(s.st_mode)) {
      TRY(bool hidden, make_room(parent, leaf, name));
      parent = parent_again(name);
      if (::mkdirat(parent, leaf.c_str(), 0755) != 0) return system_error(name, "make the directory");
      if (hidden) result_.opaque.push_back(name);
    }
    Fd fd(::openat(parent, leaf.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return system_error(name, "open");
    CHECK_OK(own(fd.get(), entry, name));
    remember_time(name, entry);
    return {};
  }

  Result<> make_file(int parent, const std::string& leaf, archive_entry* entry, const std::string& name) {
    TRY([[maybe_unused]] bool hidden, make_room(parent, leaf, name));
    Fd fd(::openat(parent_again(name), leaf.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return system_error(name, "create");
    int64_t size = archive_entry_size(entry);
    if (size < 0 || static_cast<uint64_t>(size) > limits_.bytes - result_.bytes) return too_large();
    int64_t end = 0;
    for (;;) {
      const void* data = nullptr;
      size_t n = 0;
      int64_t offset = 0;
      int rc = archive_read_data_block(archive_.get(), &data, &n, &offset);
      if (rc == ARCHIVE_EOF) break;
      if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) return archive_failure();
      if (offset < 0 || offset > size || static_cast<int64_t>(n) > size - offset) return refuse(name, "it is longer than it says");
      result_.bytes += n;
      if (result_.bytes > limits_.bytes) return too_large();
      const char* at = static_cast<const char*>(data);
      for (size_t done = 0; done < n;) {
        ssize_t w = ::pwrite(fd.get(), at + done, n - done, offset + static_cast<int64_t>(done));
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return system_error(name, "write");
        done += static_cast<size_t>(w);
      }
      end = std::max(end, offset + static_cast<int64_t>(n));
    }
    if (end < size && ::ftruncate(fd.get(), size) != 0) return system_error(name, "resize");
    CHECK_OK(own(fd.get(), entry, name));
    timespec times[2];
    times_of(entry, times);
    if (::futimens(fd.get(), times) != 0) return system_error(name, "set the time");
    return {};
  }

  Result<> make_symlink(int parent, const std::string& leaf, archive_entry* entry, const std::string& name) {
    const char* target = archive_entry_symlink(entry);
    if (!target || !*target || std::strlen(target) > 4095) return refuse(name, "a symbolic link without a usable target");
    TRY([[maybe_unused]] bool hidden, make_room(parent, leaf, name));
    parent = parent_again(name);
    if (::symlinkat(target, parent, leaf.c_str()) != 0) return system_error(name, "make the symbolic link");
    return finish_by_name(parent, leaf, entry, name);
  }

  Result<> make_node(int parent, const std::string& leaf, archive_entry* entry, const std::string& name) {
    mode_t kind = archive_entry_filetype(entry);
    dev_t device = kind == AE_IFIFO ? 0 : makedev(archive_entry_rdevmajor(entry), archive_entry_rdevminor(entry));
    TRY([[maybe_unused]] bool hidden, make_room(parent, leaf, name));
    parent = parent_again(name);
    if (::mknodat(parent, leaf.c_str(), kind | 0600, device) != 0) {
      if (errno == EPERM) return {};  // not allowed where this node runs; containers have a /dev of their own
      return system_error(name, "make the device");
    }
    CHECK_OK(finish_by_name(parent, leaf, entry, name));
    if (::fchmodat(parent, leaf.c_str(), archive_entry_perm(entry) & 07777, 0) != 0) return system_error(name, "set the mode");
    return {};
  }

  // For what cannot be opened without effect. The name was made a moment ago in a directory nobody else can reach.
  Result<> finish_by_name(int parent, const std::string& leaf, archive_entry* entry, const std::string& name) {
    TRY(auto owner, owner_of(entry, name));
    if (::fchownat(parent, leaf.c_str(), owner.first, owner.second, AT_SYMLINK_NOFOLLOW) != 0) return system_error(name, "set the owner");
    timespec times[2];
    times_of(entry, times);
    if (::utimensat(parent, leaf.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return system_error(name, "set the time");
    return {};
  }

  Result<std::pair<uid_t, gid_t>> owner_of(archive_entry* entry, const std::string& name) {
    int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);
    if (uid < 0 || gid < 0 || uid >= 0xffffffff || gid >= 0xffffffff) return refuse(name, "its owner is out of range");
    return std::pair(static_cast<uid_t>(uid), static_cast<gid_t>(gid));
  }

  // Owner, mode (after the owner, which clears setuid) and extended attributes of an open file or directory.
  Result<> own(int fd, archive_entry* entry, const std::string& name) {
    TRY(auto owner, owner_of(entry, name));
    if (::fchown(fd, owner.first, owner.second) != 0) return system_error(name, "set the owner");
    if (::fchmod(fd, archive_entry_perm(entry) & 07777) != 0) return system_error(name, "set the mode");
    uint64_t total = 0;
    const char* key;
    const void* value;
    size_t size;
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &key, &value, &size) == ARCHIVE_OK) {
      std::string_view k = key ? key : "";
      // Others belong to the host (trusted, security labels) or to the overlay itself.
      bool allowed = k == "security.capability" || (k.starts_with("user.") && !k.starts_with("user.overlay."));
      if (!allowed) continue;
      if ((total += k.size() + size) > limits_.xattr_bytes) return refuse(name, "its extended attributes are too large");
      if (::fsetxattr(fd, key, value, size, 0) == 0 || errno == ENOTSUP) continue;
      // ENOSPC is also what a file system says whose inodes hold no more.
      if (errno == ENOSPC || errno == E2BIG || errno == ERANGE)
        return refuse(name, "its extended attributes are too large for the file system");
      return system_error(name, fmt::format("set the attribute {}", k.substr(0, 64)));
    }
    return {};
  }

  static void times_of(archive_entry* entry, timespec times[2]) {
    times[1] = {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)};
    if (!archive_entry_mtime_is_set(entry)) times[1] = {0, 0};
    times[0] = times[1];
  }

  void remember_time(const std::string& name, archive_entry* entry) {
    timespec times[2];
    times_of(entry, times);
    directory_times_[name] = times[1];
  }

  // Times of directories change while they are filled: set last.
  Result<> finish_directories() {
    folder_.reset();
    for (const auto& [name, time] : directory_times_) {
      Fd fd(resolve(root_, name.empty() ? "." : name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      if (!fd) continue;  // replaced by something else
      timespec times[2] = {time, time};
      ::futimens(fd.get(), times);
    }
    for (const std::string& name : result_.opaque) {
      TRY([[maybe_unused]] int made, open_folder(name, name));
    }
    return {};
  }

  base::Failure too_large() const {
    return base::fail(422, "ImageInvalid", fmt::format("the layer is larger than {} bytes", limits_.bytes));
  }

  ByteSource& tar_;
  const int root_;
  const UnpackLimits limits_;
  const bool plain_;
  std::vector<char> buffer_ = std::vector<char>(128 * 1024);
  std::unique_ptr<struct archive, FreeArchive> archive_;
  std::optional<base::Error> source_error_;
  UnpackResult result_;
  Fd folder_;
  std::string folder_name_;
  std::map<std::string, timespec> directory_times_;
};

}  // namespace

Result<UnpackResult> unpack(ByteSource& tar, int root, const UnpackLimits& limits, bool plain) {
  return Unpacker(tar, root, limits, plain).run();
}

Result<Fd> open_in_root(int root, const std::string& path, int flags) {
  Fd fd(resolve(root, path.empty() ? "." : path.c_str(), flags));
  if (!fd) return base::errno_error("open " + path);
  return fd;
}

Result<> mark_opaque(int root, const std::vector<std::string>& directories) {
  for (const std::string& name : directories) {
    TRY(Fd fd, open_in_root(root, name, O_RDONLY | O_DIRECTORY));
    if (::fsetxattr(fd.get(), "trusted.overlay.opaque", "y", 1, 0) != 0) return base::errno_error("mark " + name + " opaque");
  }
  return {};
}

}  // namespace runtime
