#include "agent/node/local_storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "api/quantity.h"
#include "base/fd.h"

namespace agent {

namespace {

constexpr int kMaxDepth = 128;  // descriptors held at once; nothing honest is deeper

uint64_t usage_at(base::Fd directory, dev_t device, int depth) {
  uint64_t sum = 0;
  DIR* d = ::fdopendir(directory.get());
  if (!d) return 0;
  int fd = directory.release();
  while (dirent* e = ::readdir(d)) {
    std::string_view name = e->d_name;
    if (name == "." || name == "..") continue;
    struct stat s;
    if (::fstatat(fd, e->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0 || s.st_dev != device) continue;
    // A file with several names counts once in all.
    sum += static_cast<uint64_t>(s.st_blocks) * 512 / (S_ISDIR(s.st_mode) ? 1 : std::max<uint64_t>(s.st_nlink, 1));
    if (!S_ISDIR(s.st_mode) || depth >= kMaxDepth) continue;
    base::Fd below(::openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (below) sum += usage_at(std::move(below), device, depth + 1);
  }
  ::closedir(d);
  return sum;
}

std::string empty_dir(const PodView& view, const std::string& pods_dir, const std::string& volume) {
  return pods_dir + "/" + view.pod->metadata.uid + "/volumes/empty-dir~" + volume;
}

bool on_disk(const api::core::Volume& v) { return v.emptyDir && v.emptyDir->medium.empty(); }

const std::string* limit_of(const api::core::Container& c) {
  if (!c.resources) return nullptr;
  auto it = c.resources->limits.find("ephemeral-storage");
  return it == c.resources->limits.end() ? nullptr : &it->second;
}

// The writable layer, the logs and the termination message.
uint64_t container_usage(const PodView& view, const std::string& pods_dir, const ContainerView& c) {
  uint64_t sum = disk_usage(pods_dir + "/" + view.pod->metadata.uid + "/containers/" + c.name);
  if (view.sandbox && !c.id.empty()) sum += disk_usage(view.sandbox->writable_layer(c.id));
  if (size_t slash = c.log_path.rfind('/'); slash != std::string::npos) sum += disk_usage(c.log_path.substr(0, slash));
  return sum;
}

// Files that all containers of the pod may write.
uint64_t hosts_usage(const PodView& view, const std::string& pods_dir) {
  uint64_t sum = 0;
  for (const char* name : {"etc-hosts", "hostname", "resolv.conf"}) {
    struct stat s;
    if (::lstat((pods_dir + "/" + view.pod->metadata.uid + "/" + name).c_str(), &s) == 0) sum += static_cast<uint64_t>(s.st_blocks) * 512;
  }
  return sum;
}

}  // namespace

uint64_t disk_usage(const std::string& directory) {
  base::Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat s;
  if (!fd || ::fstat(fd.get(), &s) != 0) return 0;
  return usage_at(std::move(fd), s.st_dev, 0);
}

bool limits_storage(const api::core::Pod& pod) {
  return std::any_of(pod.spec.volumes.begin(), pod.spec.volumes.end(),
                     [](const auto& v) { return on_disk(v) && !v.emptyDir->sizeLimit.empty(); }) ||
         std::any_of(pod.spec.containers.begin(), pod.spec.containers.end(), [](const auto& c) { return limit_of(c) != nullptr; });
}

uint64_t storage_usage(const PodView& view, const std::string& pods_dir) {
  uint64_t sum = 0;
  for (const auto& v : view.pod->spec.volumes) {
    if (on_disk(v)) sum += disk_usage(empty_dir(view, pods_dir, v.name));
  }
  for (const auto& c : view.containers) sum += container_usage(view, pods_dir, c);
  return sum + hosts_usage(view, pods_dir);
}

std::optional<std::string> exceeded_storage(const PodView& view, const std::string& pods_dir) {
  const auto& spec = view.pod->spec;
  auto bytes = [](const std::string& q) { return static_cast<uint64_t>(std::max<int64_t>(api::Quantity::of(q).value(), 0)); };
  uint64_t volumes = 0, total_limit = 0, layers = 0;
  for (const auto& v : spec.volumes) {
    if (!on_disk(v)) continue;
    uint64_t used = disk_usage(empty_dir(view, pods_dir, v.name));
    volumes += used;
    if (!v.emptyDir->sizeLimit.empty() && bytes(v.emptyDir->sizeLimit) > 0 && used > bytes(v.emptyDir->sizeLimit)) {
      return fmt::format("Usage of EmptyDir volume \"{}\" exceeds the limit \"{}\".", v.name, v.emptyDir->sizeLimit);
    }
  }
  bool all_limited = true;
  for (const auto& c : spec.containers) {
    const std::string* limit = limit_of(c);
    all_limited = all_limited && limit;
    auto it = std::find_if(view.containers.begin(), view.containers.end(), [&](const auto& x) { return x.name == c.name; });
    uint64_t used = it == view.containers.end() ? 0 : container_usage(view, pods_dir, *it);
    layers += used;
    if (!limit) continue;
    total_limit += bytes(*limit);
    if (used > bytes(*limit)) return fmt::format("Container {} exceeded its local ephemeral storage limit \"{}\".", c.name, *limit);
  }
  if (all_limited && total_limit > 0 && volumes + layers + hosts_usage(view, pods_dir) > total_limit) {
    return fmt::format("Pod ephemeral local storage usage exceeds the total limit of containers {}.", total_limit);
  }
  return std::nullopt;
}

}  // namespace agent
