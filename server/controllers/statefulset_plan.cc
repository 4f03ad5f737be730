#include <charconv>
#include <map>

#include "server/controllers/revisions.h"
#include "server/controllers/statefulset.h"

namespace server::controllers {
namespace {

namespace apps = api::apps;

std::string name_of(const apps::StatefulSet& set, int32_t ordinal) { return set.metadata.name + "-" + std::to_string(ordinal); }

core::Pod numbered_pod(const apps::StatefulSet& set, int32_t ordinal, const core::PodTemplateSpec& t, const std::string& revision) {
  core::Pod pod = pod_from_template(t, set.metadata.namespace_, controller_reference(set));
  const std::string name = name_of(set, ordinal);
  pod.metadata.name = name;
  pod.metadata.generateName = set.metadata.name + "-";
  pod.metadata.labels["statefulset.kubernetes.io/pod-name"] = name;
  pod.metadata.labels["apps.kubernetes.io/pod-index"] = std::to_string(ordinal);
  pod.metadata.labels[revision_label] = revision;
  pod.spec.hostname = name;
  pod.spec.subdomain = set.spec.serviceName;
  for (const auto& claim : set.spec.volumeClaimTemplates) {
    std::erase_if(pod.spec.volumes, [&](const core::Volume& v) { return v.name == claim.metadata.name; });
    core::Volume v;
    v.name = claim.metadata.name;
    v.persistentVolumeClaim.emplace().claimName = claim.metadata.name + "-" + name;
    pod.spec.volumes.push_back(std::move(v));
  }
  return pod;
}

std::string revision_of_pod(const core::Pod& p) {
  auto it = p.metadata.labels.find(revision_label);
  return it == p.metadata.labels.end() ? std::string() : it->second;
}

}  // namespace

std::optional<int32_t> ordinal_of(const apps::StatefulSet& set, const std::string& pod) {
  if (!pod.starts_with(set.metadata.name + "-")) return std::nullopt;
  const char* begin = pod.data() + set.metadata.name.size() + 1;
  const char* end = pod.data() + pod.size();
  int32_t n = 0;
  auto [at, ec] = std::from_chars(begin, end, n);
  if (ec != std::errc() || at != end || n < 0) return std::nullopt;
  return n;
}

std::vector<core::PersistentVolumeClaim> claims_of(const apps::StatefulSet& set, int32_t ordinal) {
  std::vector<core::PersistentVolumeClaim> out;
  for (core::PersistentVolumeClaim c : set.spec.volumeClaimTemplates) {
    c.metadata.name += "-" + name_of(set, ordinal);
    c.metadata.namespace_ = set.metadata.namespace_;
    for (const auto& [key, value] : set.spec.selector.matchLabels) c.metadata.labels[key] = value;
    c.status = {};
    out.push_back(std::move(c));
  }
  return out;
}

std::vector<api::meta::OwnerReference> claim_owners(const apps::StatefulSet& set, const api::meta::ObjectMeta& claim,
                                                    const core::Pod& pod) {
  std::vector<api::meta::OwnerReference> out;
  for (const auto& o : claim.ownerReferences)
    if (o.uid != set.metadata.uid && o.uid != pod.metadata.uid) out.push_back(o);
  const auto* policy = set.spec.persistentVolumeClaimRetentionPolicy.get();
  if (!policy) return out;
  const int32_t first = set.spec.ordinals ? set.spec.ordinals->start.value_or(0) : 0,
                n = ordinal_of(set, pod.metadata.name).value_or(first);
  const bool superfluous = n < first || n >= first + set.spec.replicas.value_or(1);
  auto owner = [&](const api::KindInfo& kind, const api::meta::ObjectMeta& m) {
    auto o = controller_reference(kind, m);
    o.controller.reset();
    o.blockOwnerDeletion.reset();
    out.push_back(std::move(o));
  };
  if (superfluous && policy->whenScaled == "Delete") owner(core::Pod::kind_info(), pod.metadata);
  else if (policy->whenDeleted == "Delete") owner(apps::StatefulSet::kind_info(), set.metadata);
  return out;
}

StatefulSetPlan plan_statefulset(const apps::StatefulSet& set, const std::vector<PodPtr>& pods, const StatefulSetRevisions& revisions,
                                 WallTime now) {
  StatefulSetPlan out;
  auto& s = out.status = set.status;
  const int32_t first = set.spec.ordinals ? set.spec.ordinals->start.value_or(0) : 0, end = first + set.spec.replicas.value_or(1);
  const int32_t min_ready = set.spec.minReadySeconds.value_or(0);
  const bool ordered = set.spec.podManagementPolicy != "Parallel";
  const bool on_delete = set.spec.updateStrategy && set.spec.updateStrategy->type == "OnDelete";
  int32_t partition = 0;
  if (set.spec.updateStrategy && set.spec.updateStrategy->rollingUpdate)
    partition = set.spec.updateStrategy->rollingUpdate->partition.value_or(0);

  std::map<int32_t, PodPtr> by_ordinal;
  int32_t ready = 0, available = 0, current = 0, updated = 0;
  s.replicas = 0;
  for (const PodPtr& p : pods) {
    auto n = ordinal_of(set, p->metadata.name);
    if (!n) continue;
    by_ordinal[*n] = p;
    if (pod_finished(*p)) continue;
    ++s.replicas;
    if (auto since = pod_ready_since(*p); since && !deleting(p->metadata)) {
      ++ready;
      if (pod_available(*p, min_ready, now)) ++available;
      else out.again = *since + std::chrono::seconds(min_ready) - now;
    }
    if (deleting(p->metadata)) continue;
    if (revision_of_pod(*p) == revisions.update) ++updated;
    if (revision_of_pod(*p) == revisions.current) ++current;
  }
  s.readyReplicas = ready;
  s.availableReplicas = available;
  s.currentReplicas = current;
  s.updatedReplicas = updated;
  s.currentRevision = revisions.current;
  s.updateRevision = revisions.update;
  s.observedGeneration = set.metadata.generation;
  // Rolled out: the update is what is current.
  if (!on_delete && partition == 0 && updated == s.replicas && ready == s.replicas && s.replicas == set.spec.replicas.value_or(1)) {
    s.currentRevision = revisions.update;
    s.currentReplicas = updated;
  }
  if (deleting(set.metadata)) return out;

  auto healthy = [&](const PodPtr& p) { return !deleting(p->metadata) && pod_available(*p, min_ready, now); };
  // Missing pods, in order; an ordered set waits for each to be available.
  for (int32_t n = first; n < end; ++n) {
    auto it = by_ordinal.find(n);
    if (it == by_ordinal.end()) {
      bool old = n < partition && !on_delete && revisions.current != revisions.update;
      out.create.push_back(
          numbered_pod(set, n, old ? revisions.current_template : revisions.update_template, old ? revisions.current : revisions.update));
      if (ordered) return out;
      continue;
    }
    if (pod_finished(*it->second)) {
      if (!deleting(it->second->metadata)) out.remove.push_back(it->second);
      if (ordered) return out;
      continue;
    }
    if (ordered && !healthy(it->second)) {
      // A broken pod of an old revision is replaced rather than waited for.
      if (!on_delete && n >= partition && !deleting(it->second->metadata) && revision_of_pod(*it->second) != revisions.update)
        out.remove.push_back(it->second);
      return out;
    }
  }
  // Superfluous pods, the highest first.
  bool stopped = false;
  for (auto it = by_ordinal.rbegin(); it != by_ordinal.rend(); ++it) {
    if (it->first >= first && it->first < end) continue;
    stopped = true;
    if (!deleting(it->second->metadata)) out.remove.push_back(it->second);
    if (ordered) return out;
  }
  if (stopped || !out.create.empty() || !out.remove.empty() || on_delete) return out;
  // Old revisions, the highest first, one at a time.
  for (int32_t n = end - 1; n >= std::max(first, partition); --n) {
    const PodPtr& p = by_ordinal.at(n);
    if (revision_of_pod(*p) != revisions.update) {
      if (!deleting(p->metadata)) out.remove.push_back(p);
      return out;
    }
    if (!healthy(p)) return out;
  }
  return out;
}

}  // namespace server::controllers
