#include <charconv>
#include <map>
#include <tuple>

#include "server/controllers/replicaset.h"

namespace server::controllers {
namespace {

int phase_rank(const api::core::Pod& p) { return p.status.phase == "Running" ? 2 : p.status.phase == "Unknown" ? 1 : 0; }

int64_t deletion_cost(const api::core::Pod& p) {
  std::string text = annotation(p.metadata, "controller.kubernetes.io/pod-deletion-cost");
  int64_t cost = 0;
  std::from_chars(text.data(), text.data() + text.size(), cost);
  return cost;
}

}  // namespace

void sort_for_removal(std::vector<PodPtr>& pods) {
  std::map<std::string, int> on_node;
  for (const PodPtr& p : pods) ++on_node[p->spec.nodeName];
  auto rank = [&](const PodPtr& p) {
    auto ready_since = pod_ready_since(*p);
    int crowd = p->spec.nodeName.empty() ? 0 : on_node[p->spec.nodeName];
    auto seconds = [](WallTime t) { return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count(); };
    return std::tuple(!p->spec.nodeName.empty(), phase_rank(*p), ready_since.has_value(), deletion_cost(*p), -crowd,
                      ready_since ? -seconds(*ready_since) : 0, -pod_restarts(*p), -seconds(time_of(p->metadata.creationTimestamp)),
                      p->metadata.name);
  };
  std::sort(pods.begin(), pods.end(), [&](const PodPtr& a, const PodPtr& b) { return rank(a) < rank(b); });
}

ReplicaSetPlan plan_replicas(const api::apps::ReplicaSet& set, std::vector<PodPtr> pods, WallTime) {
  ReplicaSetPlan out;
  size_t want = size_t(std::max(0, set.spec.replicas.value_or(1)));
  if (pods.size() < want) {
    out.create = std::min<size_t>(want - pods.size(), 500);
  } else if (pods.size() > want) {
    size_t surplus = std::min<size_t>(pods.size() - want, 500);
    sort_for_removal(pods);
    out.remove.assign(pods.begin(), pods.begin() + ptrdiff_t(surplus));
  }
  return out;
}

ReplicaSetStatusPlan plan_status(const api::apps::ReplicaSet& set, const std::vector<PodPtr>& active, WallTime now) {
  ReplicaSetStatusPlan out;
  auto& s = out.status = set.status;
  int32_t labelled = 0, ready = 0, available = 0;
  const int32_t min_ready = set.spec.minReadySeconds.value_or(0);
  for (const PodPtr& p : active) {
    if (api::selects(set.spec.template_.metadata.labels, p->metadata.labels)) ++labelled;
    auto since = pod_ready_since(*p);
    if (!since) continue;
    ++ready;
    if (pod_available(*p, min_ready, now)) {
      ++available;
    } else {
      auto left = *since + std::chrono::seconds(min_ready) - now;
      if (!out.again || left < *out.again) out.again = left;
    }
  }
  s.replicas = int32_t(active.size());
  s.fullyLabeledReplicas = labelled;
  s.readyReplicas = ready;
  s.availableReplicas = available;
  s.observedGeneration = set.metadata.generation;
  return out;
}

}  // namespace server::controllers
