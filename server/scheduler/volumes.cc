#include "server/scheduler/volumes.h"

#include <algorithm>

#include <fmt/format.h>

#include "server/scheduler/topology.h"

namespace server::scheduler {
namespace {

bool usable(const Volume& v, const Node& node) {
  return !v.reach || std::any_of(v.reach->begin(), v.reach->end(), [&](const NodeTerm& t) { return term_matches(t, node); });
}

// Without regard to nodes: nobody's, and what is asked for.
bool suits(const Volume& v, const Claim& c) {
  return v.available && !v.claimed && v.storage_class == c.storage_class && c.labels.matches(v.labels) &&
         std::all_of(c.access.begin(), c.access.end(),
                     [&](const std::string& m) { return std::find(v.access.begin(), v.access.end(), m) != v.access.end(); });
}

bool alike(const Volume& v, const Claim& c) {
  return !v.deleting && v.mode == c.mode && v.attributes_class == c.attributes_class && v.capacity >= c.request;
}

}  // namespace

VolumePtr best_volume(const Claim& claim, const std::map<std::string, VolumePtr>& volumes, bool only_reserved, const Node* node,
                      const std::set<std::string>& taken) {
  VolumePtr best;
  for (const auto& [name, v] : volumes) {
    if (!alike(*v, claim) || taken.contains(name) || (node && !usable(*v, *node))) continue;
    if (v->claimed_by(claim)) return v;
    if (only_reserved || !suits(*v, claim)) continue;
    if (!best || v->capacity < best->capacity) best = v;
  }
  return best;
}

VolumeNeeds volume_needs(const Volumes& known, const Cluster& cluster, const Pod& pod) {
  VolumeNeeds out;
  bool waits = false;
  for (const std::string& name : pod.claims) {
    auto it = known.claims.find(pod.ns + "/" + name);
    auto refuse = [&](std::string why) {
      out.refusal = std::move(why);
      return out;
    };
    if (it == known.claims.end()) return refuse(fmt::format("persistentvolumeclaim \"{}\" not found", name));
    const ClaimPtr& claim = it->second;
    if (claim->deleting) return refuse(fmt::format("persistentvolumeclaim \"{}\" is being deleted", name));
    if (claim->lost)
      return refuse(fmt::format("persistentvolumeclaim \"{}\" bound to non-existent persistentvolume \"{}\"", name, claim->volume));
    if (std::find(claim->access.begin(), claim->access.end(), "ReadWriteOncePod") != claim->access.end())
      for (const Cluster::Entry& e : cluster.nodes())
        for (const PodPtr& p : e.pods)
          if (p->uid != pod.uid && p->ns == pod.ns && std::find(p->claims.begin(), p->claims.end(), name) != p->claims.end())
            return refuse("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode");
    if (claim->complete) {
      auto v = known.volumes.find(claim->volume);
      if (v == known.volumes.end()) return refuse(fmt::format("persistentvolume \"{}\" not found", claim->volume));
      if (v->second->reach) out.reach.push_back({*v->second->reach, true});
      continue;
    }
    auto storage_class = known.classes.find(claim->storage_class);
    if (!claim->volume.empty() || storage_class == known.classes.end() || !storage_class->second->waits) {
      waits = true;
      continue;
    }
    out.open.push_back(claim);
    const StorageClass& c = *storage_class->second;
    const bool provisioned = !c.provisioner.empty() && c.provisioner != no_provisioner;
    // What is being provisioned stays where it was begun.
    if (!claim->selected_node.empty()) {
      NodeTerm there;
      there.fields.push_back({"metadata.name", Requirement::Op::in, {claim->selected_node}});
      out.reach.push_back({{std::move(there)}, false});
      continue;
    }
    Reach any{{}, false};
    bool everywhere = provisioned && c.topologies.empty();
    if (provisioned) any.terms = c.topologies;
    for (const auto& [volume_name, v] : known.volumes) {
      if (!alike(*v, *claim) || !(v->claimed_by(*claim) || suits(*v, *claim))) continue;
      if (!v->reach) everywhere = true;
      else any.terms.insert(any.terms.end(), v->reach->begin(), v->reach->end());
    }
    if (!everywhere) out.reach.push_back(std::move(any));
  }
  if (waits) out.refusal = "pod has unbound immediate PersistentVolumeClaims";
  return out;
}

std::vector<VolumeChoice> choose_volumes(const Volumes& known, const std::vector<ClaimPtr>& open, const Node& node) {
  std::vector<VolumeChoice> out;
  std::set<std::string> taken;
  for (const ClaimPtr& claim : open) {
    VolumePtr v = claim->selected_node.empty() ? best_volume(*claim, known.volumes, false, &node, taken) : nullptr;
    if (v) taken.insert(v->name);
    out.push_back({claim, std::move(v)});
  }
  return out;
}

}  // namespace server::scheduler
