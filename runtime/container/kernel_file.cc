#include "runtime/container/kernel_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace runtime {

using base::Fd;

base::Result<std::string> read_kernel(const std::string& path, int dir) {
  Fd fd(::openat(dir, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return base::errno_error("open " + path);
  std::string out;
  char chunk[4096];
  for (;;) {
    ssize_t n = ::read(fd.get(), chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::errno_error("read " + path);
    if (n == 0) return out;
    out.append(chunk, static_cast<size_t>(n));
    if (out.size() > (16u << 20)) return base::internal(path + " is too large");
  }
}

int try_write_kernel(const std::string& path, std::string_view text, int dir) {
  Fd fd(::openat(dir, path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno;
  for (;;) {
    if (::write(fd.get(), text.data(), text.size()) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

base::Result<> write_kernel(const std::string& path, std::string_view text, int dir) {
  int err = try_write_kernel(path, text, dir);
  if (err != 0) return base::errno_error("write \"" + std::string(text) + "\" to " + path, err);
  return {};
}

uint64_t keyed_number(std::string_view text, std::string_view key, uint64_t otherwise) {
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    std::string_view line = text.substr(at, end == std::string_view::npos ? end : end - at);
    if (line.size() > key.size() + 1 && line.starts_with(key) && line[key.size()] == ' ') {
      return std::strtoull(std::string(line.substr(key.size() + 1)).c_str(), nullptr, 10);
    }
    if (end == std::string_view::npos) break;
    at = end + 1;
  }
  return otherwise;
}

base::Result<Fd> open_procfs() {
  Fd fd(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return base::errno_error("open /proc");
  struct statfs s;
  if (::fstatfs(fd.get(), &s) != 0) return base::errno_error("statfs /proc");
  if (s.f_type != PROC_SUPER_MAGIC) return base::internal("/proc is not the proc file system");
  return fd;
}

}  // namespace runtime
