#include "agent/volumes/local_volumes.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/files.h"
#include "base/log.h"

namespace agent {

namespace {
constexpr const char* finalizer = "appliance.dev/local-path";

bool has(const std::vector<std::string>& list, std::string_view name) { return std::find(list.begin(), list.end(), name) != list.end(); }
}  // namespace

std::string storage_directory(const std::string& data_dir) {
  return std::filesystem::absolute(data_dir).lexically_normal().string() + "/storage";
}

bool is_local_volume(const std::string& directory, const std::string& path) {
  if (!path.starts_with(directory + "/")) return false;
  std::string name = path.substr(directory.size() + 1);
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos;
}

base::Result<> make_local_volume(const std::string& directory, const std::string& path) {
  if (base::exists(path)) return {};
  CHECK_OK(base::make_dirs(directory, 0711));
  CHECK_OK(base::make_dirs(path, 0777));
  if (::chmod(path.c_str(), 0777) != 0) return base::errno_error("chmod " + path);
  return {};
}

LocalVolumes::LocalVolumes(api::Client& client, api::Informers& informers, const std::string& node, std::string directory)
    : client_(client), directory_(std::move(directory)), volumes_(informers.get<api::core::PersistentVolume>({}, [&] {
        api::ListOptions o;
        o.label_selector = "appliance.dev/node=" + node;
        return o;
      }())) {
  volumes_.on_change([this](const auto&, const auto& after) {
    if (after && !after->metadata.deletionTimestamp.empty() && has(after->metadata.finalizers, finalizer)) queue_.add(after->metadata.name);
  });
}

base::Task<base::Result<std::optional<base::Duration>>> LocalVolumes::reconcile(api::ObjectKey key) {
  auto v = volumes_.get(key);
  if (!v || v->metadata.deletionTimestamp.empty() || !has(v->metadata.finalizers, finalizer)) co_return std::nullopt;
  if (has(v->metadata.finalizers, "kubernetes.io/pv-protection")) co_return std::nullopt;
  const std::string path = v->spec.local ? v->spec.local->path : std::string();
  if (v->spec.persistentVolumeReclaimPolicy == "Delete" && is_local_volume(directory_, path)) {
    auto gone = co_await base::offload([path] { return base::remove_all(path); });
    if (!gone) {
      base::log::warn("agent", "removing volume {}: {}", key.name, gone.error().message);
      co_return std::unexpected(std::move(gone).error());
    }
    base::log::info("agent", "removed volume {}", path);
  }
  base::json::array rest;
  for (const auto& f : v->metadata.finalizers)
    if (f != finalizer) rest.emplace_back(f);
  base::json::object body{
      {"metadata", base::json::object{{"resourceVersion", v->metadata.resourceVersion}, {"finalizers", std::move(rest)}}}};
  auto r = co_await api::patch<api::core::PersistentVolume>(client_, key, api::PatchType::merge, base::to_text(body));
  if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
  co_return std::nullopt;
}

}  // namespace agent
