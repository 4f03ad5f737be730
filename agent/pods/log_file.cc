#include "agent/pods/log_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/files.h"

namespace agent {

std::optional<LogEntry> parse_log_line(std::string_view line) {
  LogEntry e;
  size_t a = line.find(' ');
  if (a == std::string_view::npos) return std::nullopt;
  e.time = line.substr(0, a);
  size_t b = line.find(' ', a + 1);
  if (b == std::string_view::npos) return std::nullopt;
  std::string_view stream = line.substr(a + 1, b - a - 1);
  if (stream != "stdout" && stream != "stderr") return std::nullopt;
  e.err = stream == "stderr";
  size_t c = line.find(' ', b + 1);
  std::string_view tags = line.substr(b + 1, c == std::string_view::npos ? c : c - b - 1);
  std::string_view tag = tags.substr(0, tags.find(':'));
  if (tag != "F" && tag != "P") return std::nullopt;
  e.partial = tag == "P";
  if (c != std::string_view::npos) e.text = line.substr(c + 1);
  return e;
}

Result<uint64_t> tail_offset(int fd, uint64_t size, uint64_t lines) {
  if (lines == 0) return size;
  constexpr uint64_t kBlock = 64 * 1024;
  std::string buffer;
  uint64_t end = size, found = 0;
  // The newline that ends the file does not begin a line; a line is counted at the newline before it, unless it only goes on a partial one.
  uint64_t line_begin = size;
  std::string head;  // the first bytes of the line that begins at line_begin
  auto counts = [](std::string_view first_bytes) {
    auto e = parse_log_line(first_bytes.substr(0, first_bytes.find('\n')));
    return !e || !e->partial;
  };
  std::string tail_of_block;
  while (end > 0) {
    uint64_t from = end > kBlock ? end - kBlock : 0;
    buffer.assign(static_cast<size_t>(end - from), '\0');
    ssize_t n = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(from));
    if (n < 0) return base::errno_error("read the log");
    buffer.resize(static_cast<size_t>(n));
    std::string joined = buffer + tail_of_block.substr(0, 256);
    for (size_t i = buffer.size(); i-- > 0;) {
      if (buffer[i] != '\n' || from + i + 1 == size) continue;
      std::string_view line = std::string_view(joined).substr(i + 1, 128);
      if (line_begin == size || counts(line)) ++found;  // output that ends without a newline is a line too
      line_begin = from + i + 1;
      // A full line ends what partial entries before it began: those are part of it.
      if (found > lines) return line_begin;
      if (found == lines) {
        // Take the partial entries along that this line continues: look whether the entry before is partial.
        size_t previous = i == 0 ? std::string::npos : std::string_view(buffer).rfind('\n', i - 1);
        std::string_view before = std::string_view(buffer).substr(previous == std::string::npos ? 0 : previous + 1, 128);
        auto e = parse_log_line(before.substr(0, before.find('\n')));
        if (!e || !e->partial) return line_begin;
      }
    }
    tail_of_block = buffer.substr(0, 256);
    end = from;
  }
  return 0;
}

std::string log_tail(const std::string& path, size_t lines, size_t bytes) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat s;
  if (!fd || ::fstat(fd.get(), &s) != 0) return {};
  auto size = static_cast<uint64_t>(s.st_size);
  auto from = tail_offset(fd.get(), size, lines);
  if (!from) return {};
  // Every line carries some 40 bytes of header.
  uint64_t budget = bytes + lines * 48;
  if (size - *from > budget) from = size - budget;
  std::string raw(static_cast<size_t>(size - *from), '\0');
  ssize_t n = ::pread(fd.get(), raw.data(), raw.size(), static_cast<off_t>(*from));
  raw.resize(n > 0 ? static_cast<size_t>(n) : 0);
  std::string out;
  for (size_t at = 0; at < raw.size();) {
    size_t end = std::min(raw.find('\n', at), raw.size());
    if (auto e = parse_log_line(std::string_view(raw).substr(at, end - at))) {
      out += e->text;
      if (!e->partial) out += '\n';
    }
    at = end + 1;
  }
  if (out.size() > bytes) out.erase(0, out.size() - bytes);
  return out;
}

namespace {

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> out;
  DIR* d = ::opendir(directory.c_str());
  if (!d) return out;
  while (dirent* e = ::readdir(d)) out.emplace_back(e->d_name);
  ::closedir(d);
  return out;
}

}  // namespace

void remove_old_logs(const std::string& directory, int keep_from) {
  for (const auto& name : names_in(directory)) {
    int n = 0;
    auto [end, ec] = std::from_chars(name.data(), name.data() + name.size(), n);
    if (ec != std::errc() || !std::string_view(end).starts_with(".log") || n >= keep_from) continue;
    ::unlink((directory + "/" + name).c_str());
  }
}

std::vector<std::string> log_generations(const std::string& path) {
  size_t slash = path.rfind('/');
  std::string directory = path.substr(0, slash), base_name = path.substr(slash + 1) + ".";
  std::vector<std::string> out;
  for (const auto& name : names_in(directory)) {
    if (name.starts_with(base_name)) out.push_back(directory + "/" + name);
  }
  std::sort(out.begin(), out.end());
  out.push_back(path);
  return out;
}

}  // namespace agent
