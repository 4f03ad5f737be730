// Claims, volumes and storage classes as plain values: which volume suits a claim, and what a pod's claims mean for the choice of its node.
// Pure. Rules of Kubernetes' VolumeBinding and VolumeRestrictions plugins and of its volume binder.
#pragma once

#include "server/scheduler/cluster.h"

namespace server::scheduler {

inline constexpr const char* selected_node = "volume.kubernetes.io/selected-node";
inline constexpr const char* bind_completed = "pv.kubernetes.io/bind-completed";
inline constexpr const char* bound_by_controller = "pv.kubernetes.io/bound-by-controller";
inline constexpr const char* no_provisioner = "kubernetes.io/no-provisioner";

struct Claim {
  std::string ns, name, uid, storage_class, attributes_class, volume, mode, selected_node;
  bool complete = false;  // bound, and the binder has said so
  bool deleting = false, lost = false;
  int64_t request = 0;
  std::vector<std::string> access;
  Selector labels;
  std::string key() const { return ns + "/" + name; }
};

struct Volume {
  std::string name, version, storage_class, attributes_class, mode;
  bool claimed = false, available = false, deleting = false;
  std::string claim_ns, claim_name, claim_uid;
  int64_t capacity = 0;
  std::vector<std::string> access;
  Labels labels;
  std::optional<std::vector<NodeTerm>> reach;  // absent: every node
  bool claimed_by(const Claim& c) const {
    return claimed && claim_ns == c.ns && claim_name == c.name && (claim_uid.empty() || claim_uid == c.uid);
  }
};

struct StorageClass {
  std::string provisioner;
  bool waits = false;  // for the pod's node
  std::vector<NodeTerm> topologies;
};

using ClaimPtr = std::shared_ptr<const Claim>;
using VolumePtr = std::shared_ptr<const Volume>;

struct Volumes {
  std::map<std::string, ClaimPtr> claims;  // by ns/name
  std::map<std::string, VolumePtr> volumes;
  std::map<std::string, std::shared_ptr<const StorageClass>> classes;
};

// The smallest volume that suits the claim, or the one reserved for it; null: none. `only_reserved`: no other counts. With a node, it must be usable there.
VolumePtr best_volume(const Claim& claim, const std::map<std::string, VolumePtr>& volumes, bool only_reserved, const Node* node = nullptr,
                      const std::set<std::string>& taken = {});

struct VolumeNeeds {
  std::string refusal;         // why no node will do for now
  std::vector<Reach> reach;
  std::vector<ClaimPtr> open;  // to be bound when the node is known
};
VolumeNeeds volume_needs(const Volumes& known, const Cluster& cluster, const Pod& pod);

// How an open claim gets its volume on the node: an existing one, or (null) one that is provisioned there.
struct VolumeChoice {
  ClaimPtr claim;
  VolumePtr volume;
};
std::vector<VolumeChoice> choose_volumes(const Volumes& known, const std::vector<ClaimPtr>& open, const Node& node);

}  // namespace server::scheduler
