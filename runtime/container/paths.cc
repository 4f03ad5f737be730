#include "runtime/container/paths.h"

#include <string>
#include <vector>

#include "runtime/container/syscalls.h"

namespace runtime {

using base::Fd;

namespace {

uint64_t resolve_flags(Resolve r) { return RESOLVE_NO_MAGICLINKS | (r == Resolve::in_root ? RESOLVE_IN_ROOT : RESOLVE_BENEATH); }

std::vector<std::string> components(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return parts;
}

std::string relative(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  return path.empty() ? "." : std::string(path);
}

}  // namespace

Fd open_below(int root, std::string_view path, int flags, Resolve resolve) {
  if (path.find('\0') != std::string_view::npos) {
    errno = EINVAL;
    return Fd();
  }
  return sys::openat2(root, relative(path).c_str(), flags, resolve_flags(resolve));
}

namespace {

// The text of the link `name` in dir; empty when it is none.
std::string link_target(int dir, const std::string& name) {
  char text[4096];
  ssize_t n = ::readlinkat(dir, name.c_str(), text, sizeof text);
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : std::string();
}

base::Result<Fd> make_directory(int root, std::string_view path, mode_t mode, Resolve resolve, int links) {
  if (Fd there = open_below(root, path, O_PATH | O_DIRECTORY, resolve)) return there;
  if (errno != ENOENT) return base::errno_error(path);
  Fd current = sys::openat2(root, ".", O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS);
  if (!current) return base::errno_error(path);
  std::string prefix;
  auto parts = components(path);
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string& part = parts[i];
    std::string parent = prefix;
    prefix += (prefix.empty() ? "" : "/") + part;
    // From the root each time: ".." and links inside mean what they mean there.
    Fd next = open_below(root, prefix, O_PATH | O_DIRECTORY, resolve);
    if (!next && errno == ENOENT) {
      int made = ::mkdirat(current.get(), part.c_str(), mode);
      if (made != 0 && errno != EEXIST) return base::errno_error("mkdir " + std::string(path));
      if (std::string to = made != 0 ? link_target(current.get(), part) : ""; !to.empty()) {
        // A link to what is not there yet (/var/run -> /run in an image without /run): that is made instead.
        if (links == 0 || (resolve == Resolve::beneath && to.starts_with('/'))) return base::errno_error(path, ELOOP);
        std::string whole = to.starts_with('/') ? to : parent + "/" + to;
        while (++i < parts.size()) whole += "/" + parts[i];
        return make_directory(root, whole, mode, resolve, links - 1);
      }
      next = sys::openat2(current.get(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    }
    if (!next) return base::errno_error(path);
    current = std::move(next);
  }
  return current;
}

}  // namespace

base::Result<Fd> make_directory_below(int root, std::string_view path, mode_t mode, Resolve resolve) {
  return make_directory(root, path, mode, resolve, 40);
}

base::Result<Fd> make_file_below(int root, std::string_view path, Resolve resolve) {
  if (Fd there = open_below(root, path, O_PATH, resolve)) return there;
  if (errno != ENOENT) return base::errno_error(path);
  auto parts = components(path);
  if (parts.empty() || parts.back() == "..") return base::internal(std::string(path) + ": not a file name");
  std::string parent;
  for (size_t i = 0; i + 1 < parts.size(); ++i) parent += "/" + parts[i];
  TRY(Fd dir, make_directory_below(root, parent.empty() ? "." : std::string_view(parent), 0755, resolve));
  Fd file(::openat(dir.get(), parts.back().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file && errno != EEXIST) return base::errno_error("create " + std::string(path));
  Fd handle = sys::openat2(dir.get(), parts.back().c_str(), O_PATH | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (!handle) return base::errno_error(path);
  return handle;
}

}  // namespace runtime
