#include "agent/volumes/volumes.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "agent/volumes/atomic_directory.h"
#include "agent/volumes/host_path.h"
#include "agent/volumes/image_volume.h"
#include "agent/volumes/local_volumes.h"
#include "api/quantity.h"
#include "api/selector.h"
#include "api/types/authentication_v1.h"
#include "base/files.h"
#include "base/io.h"
#include "base/log.h"
#include "base/time.h"

namespace agent {

using namespace std::chrono_literals;

namespace {

constexpr uint32_t kDefaultMode = 0644;

base::Failure mount_error(const std::string& volume, const std::string& why) {
  return base::fail(500, "FailedMount", fmt::format("MountVolume.SetUp failed for volume \"{}\" : {}", volume, why));
}

std::optional<uint32_t> fs_group(const api::core::Pod& pod) {
  if (!pod.spec.securityContext || !pod.spec.securityContext->fsGroup) return std::nullopt;
  return static_cast<uint32_t>(*pod.spec.securityContext->fsGroup);
}

// The one user that all containers run as, if there is one: tokens may then be readable by it alone.
std::optional<uint32_t> only_user(const api::core::Pod& pod) {
  std::optional<int64_t> common;
  bool first = true;
  auto look = [&](const api::core::Container& c) {
    std::optional<int64_t> u;
    if (c.securityContext && c.securityContext->runAsUser) u = c.securityContext->runAsUser;
    else if (pod.spec.securityContext) u = pod.spec.securityContext->runAsUser;
    if (first) common = u;
    else if (common != u) common = std::nullopt;
    first = false;
    return u.has_value();
  };
  bool all = true;
  for (const auto& c : pod.spec.initContainers) all = look(c) && all;
  for (const auto& c : pod.spec.containers) all = look(c) && all;
  if (!all || !common) return std::nullopt;
  return static_cast<uint32_t>(*common);
}

Result<> make_empty_dir(const std::string& path, bool memory, uint64_t size, std::optional<uint32_t> group) {
  CHECK_OK(base::make_dirs(path, 0700));
  if (memory && !is_mount_point(path)) {
    std::string options = "mode=0777";
    if (size) options += fmt::format(",size={}", size);
    if (::mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
      return base::errno_error("mount tmpfs on " + path);
  }
  if (group && ::chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0) return base::errno_error("chown " + path);
  if (::chmod(path.c_str(), group ? 02777 : 0777) != 0) return base::errno_error("chmod " + path);
  return {};
}

// What kind of volume it is, for messages about those that this node cannot mount.
std::string unsupported_kind(const api::core::Volume& v) {
  if (v.csi) return "csi";
  if (v.nfs) return "nfs";
  if (v.iscsi) return "iscsi";
  if (v.fc) return "fc";
  if (v.gitRepo) return "gitRepo";
  return "of that type";
}

bool from_api(const api::core::Volume& v) {
  return v.configMap || v.secret || v.projected || v.downwardAPI || v.persistentVolumeClaim || v.ephemeral;
}

}  // namespace

PodVolumes::PodVolumes(api::Client& client, Objects& objects, VolumeSettings settings)
    : client_(client), objects_(objects), settings_(std::move(settings)) {}

Task<Result<>> PodVolumes::setup_local(PodPtr pod) {
  auto group = fs_group(*pod);
  for (const auto& v : pod->spec.volumes) {
    if (from_api(v) || v.image) continue;
    if (v.hostPath) {
      auto r = co_await base::offload([path = v.hostPath->path, type = v.hostPath->type] { return check_host_path(path, type); });
      if (!r) co_return mount_error(v.name, r.error().message);
      paths_[v.name] = v.hostPath->path;
    } else if (v.emptyDir) {
      bool memory = v.emptyDir->medium == "Memory";
      if (!memory && !v.emptyDir->medium.empty())
        co_return mount_error(v.name, fmt::format("unknown storage medium \"{}\"", v.emptyDir->medium));
      uint64_t size = 0;
      if (!v.emptyDir->sizeLimit.empty())
        size = static_cast<uint64_t>(std::max<int64_t>(api::Quantity::of(v.emptyDir->sizeLimit).value(), 0));
      std::string path = settings_.pod_dir + "/volumes/empty-dir~" + v.name;
      auto r = co_await base::offload([path, memory, size, group] { return make_empty_dir(path, memory, size, group); });
      if (!r) co_return mount_error(v.name, r.error().message);
      paths_[v.name] = path;
    } else {
      bool nothing = !(v.csi || v.nfs || v.iscsi || v.fc || v.gitRepo || v.cephfs || v.rbd || v.cinder || v.glusterfs || v.azureDisk ||
                       v.azureFile || v.awsElasticBlockStore || v.gcePersistentDisk || v.vsphereVolume || v.portworxVolume || v.quobyte ||
                       v.scaleIO || v.storageos || v.flexVolume || v.flocker || v.photonPersistentDisk);
      if (!nothing) co_return mount_error(v.name, fmt::format("volumes {} are not supported by this node", unsupported_kind(v)));
      // A volume without a source is an emptyDir.
      std::string path = settings_.pod_dir + "/volumes/empty-dir~" + v.name;
      auto r = co_await base::offload([path, group] { return make_empty_dir(path, false, 0, group); });
      if (!r) co_return mount_error(v.name, r.error().message);
      paths_[v.name] = path;
    }
  }
  co_return Result<>{};
}

Task<Result<>> PodVolumes::mount_image(std::string name, std::vector<std::string> layers) {
  std::string path = settings_.pod_dir + "/volumes/image~" + name;
  auto r = co_await base::offload([path, layers = std::move(layers)] { return agent::mount_image(path, layers); });
  if (!r) co_return mount_error(name, r.error().message);
  paths_[name] = path;
  read_only_.insert(name);
  co_return Result<>{};
}

Task<Result<>> PodVolumes::setup_from_api(PodPtr pod, PodFacts facts) {
  facts.pod = pod.get();
  refresh_at_.reset();
  for (const auto& v : pod->spec.volumes) {
    if (!from_api(v)) continue;
    auto r = v.persistentVolumeClaim || v.ephemeral ? co_await find_claim(v, pod) : co_await fill(v, pod, facts);
    if (!r) co_return mount_error(v.name, r.error().message);
  }
  for (const auto& [key, token] : tokens_) {
    if (!refresh_at_ || token.renew_at < *refresh_at_) refresh_at_ = token.renew_at;
  }
  co_return Result<>{};
}

Task<Result<>> PodVolumes::fill(const api::core::Volume& v, PodPtr pod, PodFacts facts) {
  Payload payload;
  Result<> r;
  if (v.configMap) {
    uint32_t mode = static_cast<uint32_t>(v.configMap->defaultMode.value_or(kDefaultMode));
    r = co_await add_config_map(payload, pod, v.configMap->name, v.configMap->items, mode, v.configMap->optional.value_or(false));
  } else if (v.secret) {
    uint32_t mode = static_cast<uint32_t>(v.secret->defaultMode.value_or(kDefaultMode));
    r = co_await add_secret(payload, pod, v.secret->secretName, v.secret->items, mode, v.secret->optional.value_or(false));
  } else if (v.downwardAPI) {
    r = add_downward(payload, v.downwardAPI->items, static_cast<uint32_t>(v.downwardAPI->defaultMode.value_or(kDefaultMode)), facts);
  } else if (v.projected) {
    uint32_t mode = static_cast<uint32_t>(v.projected->defaultMode.value_or(kDefaultMode));
    for (const auto& s : v.projected->sources) {
      if (s.configMap)
        r = co_await add_config_map(payload, pod, s.configMap->name, s.configMap->items, mode, s.configMap->optional.value_or(false));
      if (r && s.secret) r = co_await add_secret(payload, pod, s.secret->name, s.secret->items, mode, s.secret->optional.value_or(false));
      if (r && s.downwardAPI) r = add_downward(payload, s.downwardAPI->items, mode, facts);
      if (r && s.serviceAccountToken) r = co_await add_token(payload, pod, v.name, *s.serviceAccountToken, mode);
      if (r && s.clusterTrustBundle) r = co_await add_trust_bundle(payload, *s.clusterTrustBundle, mode);
      if (r && s.podCertificate) r = base::bad_request("podCertificate sources are not supported by this node");
      if (!r) co_return r;
    }
  }
  if (!r) co_return r;
  std::string path = settings_.memory_dir + "/" + v.name;
  auto written = co_await base::offload(
      [path, group = fs_group(*pod), payload = std::move(payload)] { return write_atomic_directory(path, payload, group); });
  if (!written) co_return std::unexpected(std::move(written).error());
  paths_[v.name] = path;
  read_only_.insert(v.name);
  co_return Result<>{};
}

Task<Result<>> PodVolumes::add_config_map(Payload& to, PodPtr pod, std::string name, std::vector<api::core::KeyToPath> items, uint32_t mode,
                                          bool optional) {
  auto o = co_await objects_.config_map(pod->metadata.namespace_, name);
  if (!o) {
    if (optional && base::is_not_found(o.error())) co_return Result<>{};
    if (base::is_not_found(o.error())) co_return base::not_found("configmap", name);
    co_return std::unexpected(std::move(o).error());
  }
  co_return add_keys(to, config_map_data(**o), items, mode, optional, "configmap " + name);
}

Task<Result<>> PodVolumes::add_secret(Payload& to, PodPtr pod, std::string name, std::vector<api::core::KeyToPath> items, uint32_t mode,
                                      bool optional) {
  auto o = co_await objects_.secret(pod->metadata.namespace_, name);
  if (!o) {
    if (optional && base::is_not_found(o.error())) co_return Result<>{};
    if (base::is_not_found(o.error())) co_return base::not_found("secret", name);
    co_return std::unexpected(std::move(o).error());
  }
  co_return add_keys(to, (*o)->data, items, mode, optional, "secret " + name);
}

Task<Result<>> PodVolumes::add_token(Payload& to, PodPtr pod, std::string volume, api::core::ServiceAccountTokenProjection source,
                                     uint32_t mode) {
  if (!is_volume_path(source.path)) co_return base::bad_request("invalid path " + source.path);
  Token& token = tokens_[volume + "/" + source.path];
  auto now = base::Clock::now();
  if (token.text.empty() || token.renew_at <= now) {
    api::authentication::TokenRequest request;
    int64_t lifetime = source.expirationSeconds.value_or(3600);
    if (!source.audience.empty()) request.spec.audiences.push_back(source.audience);
    request.spec.expirationSeconds = lifetime;
    auto& bound = request.spec.boundObjectRef.emplace();
    bound.kind = "Pod";
    bound.apiVersion = "v1";
    bound.name = pod->metadata.name;
    bound.uid = pod->metadata.uid;
    api::WriteOptions options;
    options.subresource = "token";
    std::string account = pod->spec.serviceAccountName.empty() ? "default" : pod->spec.serviceAccountName;
    auto answer = co_await client_.create(api::Resource{"", "v1", "serviceaccounts"}, api::ObjectKey{pod->metadata.namespace_, account},
                                          api::encode(request), std::move(options));
    if (!answer) {
      // An old token goes on working until it expires; try again soon.
      if (token.text.empty()) co_return base::fail(500, "FailedMount", fmt::format("failed to fetch token: {}", answer.error().message));
      base::log::warn("agent", "renewing a token of pod {}/{}: {}", pod->metadata.namespace_, pod->metadata.name, answer.error().message);
      token.renew_at = now + 30s;
    } else {
      CO_TRY(auto decoded, api::decode<api::authentication::TokenRequest>(**answer));
      token.text = decoded.status.token;
      // Renewed at 80% of its life, or after a day.
      auto life = std::chrono::seconds(lifetime);
      if (auto at = base::parse_rfc3339(decoded.status.expirationTimestamp)) {
        auto left = std::chrono::duration_cast<std::chrono::seconds>(*at - base::WallClock::now());
        if (left > 0s) life = std::min(left, std::chrono::seconds(lifetime));
      }
      token.renew_at = now + std::min<base::Duration>(life * 4 / 5, 24h);
    }
  }
  VolumeFile file{token.text, mode, {}};
  if (auto user = only_user(*pod)) {
    file.mode = 0600;
    file.uid = user;
  } else if (fs_group(*pod)) {
    file.mode = 0600;
  }
  to[source.path] = std::move(file);
  co_return Result<>{};
}

// The certificates of a bundle, or of all bundles selected, each once and in an order of their own.
Task<Result<>> PodVolumes::add_trust_bundle(Payload& to, api::core::ClusterTrustBundleProjection source, uint32_t mode) {
  if (!is_volume_path(source.path)) co_return base::bad_request("invalid path " + source.path);
  CO_TRY(auto all, co_await objects_.trust_bundles());
  std::set<std::string> certificates;
  bool any = false;
  for (const auto& b : all) {
    bool wanted = source.name.empty() ? b->spec.signerName == source.signerName && source.labelSelector &&
                                            api::selects(*source.labelSelector, b->metadata.labels)
                                      : b->metadata.name == source.name;
    if (!wanted) continue;
    any = true;
    constexpr std::string_view begin = "-----BEGIN CERTIFICATE-----", end = "-----END CERTIFICATE-----";
    const std::string& text = b->spec.trustBundle;
    for (size_t from = text.find(begin); from != text.npos; from = text.find(begin, from)) {
      size_t stop = text.find(end, from);
      if (stop == text.npos) break;
      certificates.insert(text.substr(from, stop + end.size() - from) + "\n");
      from = stop;
    }
  }
  if (!any && !source.optional.value_or(false)) {
    if (!source.name.empty()) co_return base::not_found("clustertrustbundles.certificates.k8s.io", source.name);
    co_return base::fail(500, "FailedMount",
                         fmt::format("no ClusterTrustBundle of signer \"{}\" matches the labelSelector", source.signerName));
  }
  std::string content;
  for (const std::string& c : certificates) content += c;
  to[source.path] = VolumeFile{std::move(content), mode, {}};
  co_return Result<>{};
}

// Claims whose volume is a directory of this node; others need a driver that is not there.
Task<Result<>> PodVolumes::find_claim(const api::core::Volume& v, PodPtr pod) {
  const std::string name = v.persistentVolumeClaim ? v.persistentVolumeClaim->claimName : pod->metadata.name + "-" + v.name;
  auto claim = co_await api::get<api::core::PersistentVolumeClaim>(client_, api::ObjectKey{pod->metadata.namespace_, name});
  if (!claim) co_return std::unexpected(std::move(claim).error());
  if (v.ephemeral) {
    const auto& owners = claim->metadata.ownerReferences;
    if (std::none_of(owners.begin(), owners.end(), [&](const auto& o) { return o.uid == pod->metadata.uid; }))
      co_return base::fail(
          500, "FailedMount",
          fmt::format("PVC {}/{} was not created for pod {} (pod is not owner)", pod->metadata.namespace_, name, pod->metadata.name));
  }
  if (claim->spec.volumeName.empty())
    co_return base::fail(500, "FailedMount", fmt::format("persistentvolumeclaim \"{}\" is not bound yet", name));
  auto volume = co_await api::get<api::core::PersistentVolume>(client_, api::ObjectKey{{}, claim->spec.volumeName});
  if (!volume) co_return std::unexpected(std::move(volume).error());
  std::string path, type;
  if (volume->spec.hostPath) {
    path = volume->spec.hostPath->path;
    type = volume->spec.hostPath->type.empty() ? "DirectoryOrCreate" : volume->spec.hostPath->type;
  } else if (volume->spec.local) {
    path = volume->spec.local->path;
    type = "Directory";
  } else {
    co_return base::fail(
        500, "FailedMount",
        fmt::format("persistentvolume \"{}\" is neither hostPath nor local: not supported by this node", claim->spec.volumeName));
  }
  const std::string storage = settings_.storage_dir;
  auto r = co_await base::offload([path, type, storage]() -> Result<> {
    if (is_local_volume(storage, path)) CHECK_OK(make_local_volume(storage, path));
    return check_host_path(path, type);
  });
  if (!r) co_return r;
  if (auto group = fs_group(*pod); group && volume->spec.local) {
    auto owned = co_await base::offload([path, group] { return give_to_group(path, *group); });
    if (!owned) co_return owned;
  }
  paths_[v.name] = path;
  if (v.persistentVolumeClaim && v.persistentVolumeClaim->readOnly.value_or(false)) read_only_.insert(v.name);
  co_return Result<>{};
}

void PodVolumes::watch(const PodPtr& pod, std::function<void()> changed) {
  if (!watches_.empty()) return;
  const std::string& ns = pod->metadata.namespace_;
  std::set<std::string> maps, secrets;
  bool bundles = false;
  for (const auto& v : pod->spec.volumes) {
    if (v.configMap) maps.insert(v.configMap->name);
    if (v.secret) secrets.insert(v.secret->secretName);
    if (!v.projected) continue;
    for (const auto& s : v.projected->sources) {
      if (s.configMap) maps.insert(s.configMap->name);
      if (s.secret) secrets.insert(s.secret->name);
      if (s.clusterTrustBundle) bundles = true;
    }
  }
  for (const auto& m : maps) watches_.push_back(objects_.watch_config_map(ns, m, changed));
  for (const auto& s : secrets) watches_.push_back(objects_.watch_secret(ns, s, changed));
  if (bundles) watches_.push_back(objects_.watch_trust_bundles(changed));
}

Result<std::vector<runtime::Mount>> PodVolumes::mounts(const api::core::Pod& pod, const api::core::Container& container,
                                                       const Variables& environment) const {
  std::vector<runtime::Mount> out;
  for (const auto& m : container.volumeMounts) {
    auto it = paths_.find(m.name);
    if (it == paths_.end()) {
      return base::fail(400, "CreateContainerConfigError",
                        fmt::format("cannot find volume \"{}\" to mount into container \"{}\"", m.name, container.name));
    }
    runtime::Mount mount;
    mount.source = it->second;
    mount.target = m.mountPath.starts_with('/') ? m.mountPath : "/" + m.mountPath;
    mount.sub_path = m.subPath;
    if (!m.subPathExpr.empty()) {
      TRY(mount.sub_path, expand_strictly(m.subPathExpr, environment));
    }
    if (mount.sub_path.starts_with('/'))
      return base::fail(400, "CreateContainerConfigError", fmt::format("error SubPath `{}` must not be an absolute path", mount.sub_path));
    // Before the runtime sees it: a mistake of the configuration, which waits to be mended.
    if (("/" + mount.sub_path + "/").find("/../") != std::string::npos)
      return base::fail(400, "CreateContainerConfigError",
                        fmt::format("unable to provision SubPath `{}`: must not contain '..'", mount.sub_path));
    mount.read_only = m.readOnly.value_or(false) || read_only_.contains(m.name);
    mount.recursive_read_only = mount.read_only && m.recursiveReadOnly == "Enabled";
    if (m.mountPropagation == "HostToContainer") mount.propagation = runtime::Propagation::host_to_container;
    if (m.mountPropagation == "Bidirectional") mount.propagation = runtime::Propagation::bidirectional;
    // Directories in volumes that the API fills are not made by asking for them.
    mount.create_sub_path = !read_only_.contains(m.name);
    out.push_back(std::move(mount));
  }
  (void)pod;
  // Parents before what is mounted inside them.
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    auto depth = [](const runtime::Mount& m) { return std::count(m.target.begin(), m.target.end(), '/'); };
    return std::pair(depth(a), a.target) < std::pair(depth(b), b.target);
  });
  return out;
}

Task<Result<>> PodVolumes::remove(VolumeSettings settings) {
  co_return co_await base::offload([settings]() -> Result<> {
    unmount_below(settings.pod_dir);
    unmount_below(settings.memory_dir);
    CHECK_OK(base::remove_all(settings.memory_dir));
    return base::remove_all(settings.pod_dir);
  });
}

}  // namespace agent
