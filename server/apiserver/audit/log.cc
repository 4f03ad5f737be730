#include "server/apiserver/audit/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include <fmt/format.h>

#include "base/files.h"
#include "base/log.h"

namespace server::audit {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMostWaiting = 8u << 20;
constexpr auto kGather = 100ms;  // lines of this time are one write

// "/d/audit.log" -> {"/d", "audit", ".log"}
struct Name {
  std::string folder, stem, extension;
  explicit Name(const std::string& path) {
    size_t slash = path.rfind('/');
    folder = slash == path.npos ? "." : path.substr(0, slash);
    stem = slash == path.npos ? path : path.substr(slash + 1);
    if (size_t dot = stem.rfind('.'); dot != stem.npos && dot > 0) {
      extension = stem.substr(dot);
      stem.resize(dot);
    }
  }
};

}  // namespace

Result<> Log::open() {
  if (options_.path == "-") return {};
  CHECK_OK(base::make_dirs(Name(options_.path).folder, 0700));
  base::Fd fd(::open(options_.path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return base::errno_error("audit log " + options_.path);
  struct stat s{};
  size_ = ::fstat(fd.get(), &s) == 0 ? static_cast<size_t>(s.st_size) : 0;
  file_ = std::move(fd);
  return {};
}

Result<> Log::start() {
  CHECK_OK(open());
  if (file_) prune();
  thread_ = std::thread([this] { run(); });
  return {};
}

void Log::append(std::string_view line) {
  bool wake;
  {
    std::scoped_lock lock(mutex_);
    if (stopping_ || pending_.size() + line.size() > kMostWaiting) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    pending_.append(line);
    wake = std::exchange(sleeping_, false);
  }
  lines_.fetch_add(1, std::memory_order_relaxed);
  if (wake) wake_.notify_one();
}

void Log::stop() {
  {
    std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Log::run() {
  std::string batch;
  std::unique_lock lock(mutex_);
  for (;;) {
    sleeping_ = pending_.empty() && !stopping_;
    wake_.wait(lock, [this] { return !pending_.empty() || stopping_; });
    sleeping_ = false;
    wake_.wait_for(lock, kGather, [this] { return stopping_; });
    batch.swap(pending_);
    const bool last = stopping_;
    lock.unlock();
    if (!batch.empty() && !write(batch))
      dropped_.fetch_add(static_cast<uint64_t>(std::count(batch.begin(), batch.end(), '\n')), std::memory_order_relaxed);
    constexpr size_t keep = 256 * 1024;
    if (batch.capacity() > keep) batch = std::string();
    batch.clear();
    lock.lock();
    if (last && pending_.empty()) return;
  }
}

bool Log::write(std::string_view text) {
  const int fd = options_.path == "-" ? STDOUT_FILENO : file_.get();
  if (fd < 0 && !open()) return false;
  while (!text.empty()) {
    ssize_t n = ::write(options_.path == "-" ? STDOUT_FILENO : file_.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      if (!complained_) base::log::error("audit", "{}: {}; events are lost until it can be written", options_.path, std::strerror(errno));
      complained_ = true;
      return false;
    }
    text.remove_prefix(static_cast<size_t>(n));
    size_ += static_cast<size_t>(n);
  }
  complained_ = false;
  if (file_ && options_.max_megabytes > 0 && size_ >= options_.max_megabytes << 20) rotate();
  return true;
}

void Log::rotate() {
  Name name(options_.path);
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm t{};
  ::gmtime_r(&now.tv_sec, &t);
  std::string to = fmt::format("{}/{}-{:04}-{:02}-{:02}T{:02}-{:02}-{:02}.{:03}{}", name.folder, name.stem, t.tm_year + 1900, t.tm_mon + 1,
                               t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, now.tv_nsec / 1'000'000, name.extension);
  if (::rename(options_.path.c_str(), to.c_str()) != 0) {
    base::log::error("audit", "renaming {}: {}", options_.path, std::strerror(errno));
    size_ = 0;  // tried again after as much more
    return;
  }
  file_ = base::Fd();
  if (auto opened = open(); !opened) base::log::error("audit", "{}", opened.error().message);
  prune();
}

void Log::prune() const {
  Name name(options_.path);
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(name.folder.c_str()), ::closedir);
  if (!folder) return;
  const std::string head = name.stem + "-";
  std::vector<std::string> old;  // times sort as text
  while (const dirent* entry = ::readdir(folder.get())) {
    std::string_view n = entry->d_name;
    if (n.starts_with(head) && n.ends_with(name.extension) && n.size() == head.size() + 23 + name.extension.size()) old.emplace_back(n);
  }
  std::sort(old.rbegin(), old.rend());
  const time_t now = ::time(nullptr);
  for (size_t i = 0; i < old.size(); ++i) {
    std::string path = name.folder + "/" + old[i];
    struct stat s{};
    const bool aged =
        options_.max_age_days > 0 && ::stat(path.c_str(), &s) == 0 && now - s.st_mtime > static_cast<time_t>(options_.max_age_days) * 86400;
    if (aged || (options_.max_backups > 0 && i >= options_.max_backups)) ::unlink(path.c_str());
  }
}

}  // namespace server::audit
