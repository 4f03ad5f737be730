// The volumes of one pod: made before its containers, kept current while they run, removed with it.
//
// emptyDir lives in the pod's directory (or on a tmpfs of its own), what comes from the API on the node's one tmpfs below run_dir, so that
// secrets never reach a disk. Used on the pod's strand; blocking work is offloaded.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/pods/downward.h"
#include "agent/pods/env.h"
#include "agent/volumes/objects.h"
#include "agent/volumes/payload.h"
#include "api/client.h"
#include "runtime/container/spec.h"

namespace agent {

struct VolumeSettings {
  std::string pod_dir;     // <data>/agent/pods/<uid>: disk
  std::string memory_dir;  // <run>/agent/volumes/<uid>: tmpfs
  std::string storage_dir; // <data>/storage: the directories of this node that are PersistentVolumes
};

using PodPtr = std::shared_ptr<const api::core::Pod>;

class PodVolumes {
 public:
  PodVolumes(api::Client& client, Objects& objects, VolumeSettings settings);

  // What needs no API: emptyDir, hostPath. Errors say which volume and why (for a FailedMount event).
  Task<Result<>> setup_local(PodPtr pod);
  // An image's layers, topmost first, as the volume of that name.
  Task<Result<>> mount_image(std::string name, std::vector<std::string> layers);
  // configMap, secret, projected, downwardAPI, persistentVolumeClaim, ephemeral. Called again to refresh: only differences are written.
  Task<Result<>> setup_from_api(PodPtr pod, PodFacts facts);
  // Watches what setup_from_api reads (also what it could not find) and calls back on some strand.
  void watch(const PodPtr& pod, std::function<void()> changed);
  // When the first projected token must be renewed.
  std::optional<base::TimePoint> refresh_at() const { return refresh_at_; }

  // The mounts of a container, in order. subPathExpr is expanded with its environment.
  Result<std::vector<runtime::Mount>> mounts(const api::core::Pod& pod, const api::core::Container& container,
                                             const Variables& environment) const;

  // Unmounts and removes everything. Safe to repeat, and without a setup before.
  static Task<Result<>> remove(VolumeSettings settings);

 private:
  struct Token {
    std::string text;
    base::TimePoint renew_at;
  };
  Task<Result<>> fill(const api::core::Volume& volume, PodPtr pod, PodFacts facts);
  Task<Result<>> add_config_map(Payload& to, PodPtr pod, std::string name, std::vector<api::core::KeyToPath> items, uint32_t mode,
                                bool optional);
  Task<Result<>> add_secret(Payload& to, PodPtr pod, std::string name, std::vector<api::core::KeyToPath> items, uint32_t mode,
                            bool optional);
  Task<Result<>> add_token(Payload& to, PodPtr pod, std::string volume, api::core::ServiceAccountTokenProjection source, uint32_t mode);
  Task<Result<>> add_trust_bundle(Payload& to, api::core::ClusterTrustBundleProjection source, uint32_t mode);
  Task<Result<>> find_claim(const api::core::Volume& volume, PodPtr pod);  // of ephemeral volumes too

  api::Client& client_;
  Objects& objects_;
  const VolumeSettings settings_;
  std::map<std::string, std::string> paths_;  // volume name -> directory or file on the host
  std::set<std::string> read_only_;           // volumes that are mounted read-only whatever the mount says
  std::map<std::string, Token> tokens_;       // by volume/path
  std::optional<base::TimePoint> refresh_at_;
  std::vector<Objects::Handle> watches_;
};

}  // namespace agent
