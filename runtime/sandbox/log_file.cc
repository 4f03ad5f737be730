#include "runtime/sandbox/log_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <vector>

namespace runtime {

namespace {

constexpr size_t kLongestLine = 16384;

std::string timestamp() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  static time_t last = 0;
  static char seconds[24];
  if (now.tv_sec != last) {
    tm t;
    ::gmtime_r(&now.tv_sec, &t);
    std::strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &t);
    last = now.tv_sec;
  }
  char text[48];
  std::snprintf(text, sizeof text, "%s.%09ldZ ", seconds, now.tv_nsec);
  return text;
}

bool make_parents(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    if (::mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return false;
  }
  return true;
}

}  // namespace

base::Result<> LogFile::open() {
  fd_.reset();
  if (!wanted()) return {};
  if (!make_parents(spec_.path)) return base::errno_error("make the directory of the log " + spec_.path);
  fd_ = base::Fd(::open(spec_.path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0640));
  if (!fd_) return base::errno_error("open the log " + spec_.path);
  struct stat s;
  size_ = ::fstat(fd_.get(), &s) == 0 ? static_cast<uint64_t>(s.st_size) : 0;
  return {};
}

void LogFile::append(std::string_view stream, std::string_view data, std::string& rest) {
  if (!wanted()) return;
  std::string prefix = timestamp(), out;
  prefix += stream;
  auto line = [&](char tag, std::string_view text) {
    out += prefix;
    out += ' ';
    out += tag;
    out += ' ';
    out += rest;
    out += text;
    out += '\n';
    rest.clear();
  };
  while (!data.empty()) {
    size_t end = data.find('\n');
    size_t length = std::min(end == std::string_view::npos ? data.size() : end, kLongestLine - rest.size());
    if (end == length) {
      line('F', data.substr(0, length));
      data.remove_prefix(length + 1);
    } else if (rest.size() + length == kLongestLine) {
      line('P', data.substr(0, length));
      data.remove_prefix(length);
    } else {
      rest += data;
      break;
    }
  }
  if (rest.empty()) rest = std::string();
  if (!out.empty()) write(out);
}

void LogFile::finish(std::string_view stream, std::string& rest) {
  if (rest.empty() || !wanted()) return;
  std::string out = timestamp();
  out += stream;
  out += " P " + rest + "\n";  // no newline came: a reader must not see one
  rest = std::string();
  write(out);
}

// Whole lines per file: text ends with a newline.
void LogFile::write(std::string_view text) {
  while (!text.empty()) {
    size_t part = text.size();
    uint64_t room = spec_.max_bytes > size_ ? spec_.max_bytes - size_ : 0;
    if (spec_.max_bytes > 0 && part > room) {
      size_t end = room > 0 ? text.rfind('\n', room - 1) : std::string_view::npos;
      if (end == std::string_view::npos && size_ > 0) {
        rotate();
        if (size_ > 0) return;  // the file could be neither moved nor replaced: better to lose output than to fill the disk
        continue;
      }
      part = (end == std::string_view::npos ? text.find('\n') : end) + 1;
    }
    std::string_view left = text.substr(0, part);
    text.remove_prefix(part);
    while (!left.empty()) {
      ssize_t n = fd_ ? ::write(fd_.get(), left.data(), left.size()) : -1;
      if (n < 0 && fd_ && errno == EINTR) continue;
      if (n <= 0) return;  // a full disk loses output, it does not stop the container
      size_ += static_cast<uint64_t>(n);
      left.remove_prefix(static_cast<size_t>(n));
    }
  }
}

void LogFile::rotate() {
  time_t now = ::time(nullptr);
  tm t;
  ::gmtime_r(&now, &t);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, ".%Y%m%d-%H%M%S", &t);
  std::string old = spec_.path + stamp;
  for (int n = 1; ::access(old.c_str(), F_OK) == 0 && n < 1000; ++n) {
    char number[8];
    std::snprintf(number, sizeof number, "-%03d", n);
    old = spec_.path + stamp + number;
  }
  if (::rename(spec_.path.c_str(), old.c_str()) != 0 && errno != ENOENT) return;
  (void)open();

  size_t slash = spec_.path.rfind('/');
  std::string dir = spec_.path.substr(0, slash), base = spec_.path.substr(slash + 1) + ".";
  std::vector<std::string> rotated;
  if (DIR* d = ::opendir(dir.c_str())) {
    while (dirent* e = ::readdir(d)) {
      std::string name = e->d_name;
      if (name.size() > base.size() && name.starts_with(base)) rotated.push_back(name);
    }
    ::closedir(d);
  }
  std::ranges::sort(rotated);
  size_t keep = spec_.max_files > 1 ? spec_.max_files - 1 : 0;
  for (size_t i = 0; i + keep < rotated.size(); ++i) ::unlink((dir + "/" + rotated[i]).c_str());
}

}  // namespace runtime
