#include "server/scheduler/topology.h"

#include <algorithm>
#include <limits>

namespace server::scheduler {

const std::string* label(const Node& node, const std::string& key) {
  auto it = node.labels.find(key);
  return it == node.labels.end() ? nullptr : &it->second;
}

bool term_matches(const NodeTerm& term, const Node& node) {
  if (term.labels.empty() && term.fields.empty()) return false;
  for (const Requirement& r : term.fields)
    if (r.key != "metadata.name" || !r.matches(&node.name)) return false;
  return std::all_of(term.labels.begin(), term.labels.end(), [&](const Requirement& r) { return r.matches(node.labels); });
}

bool node_affinity_matches(const Pod& pod, const Node& node) {
  for (const Requirement& r : pod.node_selector)
    if (!r.matches(node.labels)) return false;
  if (!pod.node_terms) return true;
  return std::any_of(pod.node_terms->begin(), pod.node_terms->end(), [&](const NodeTerm& t) { return term_matches(t, node); });
}

const Taint* untolerated(const Pod& pod, const std::vector<Taint>& taints) {
  for (const Taint& t : taints) {
    if (t.effect != "NoSchedule" && t.effect != "NoExecute") continue;
    if (std::none_of(pod.tolerations.begin(), pod.tolerations.end(), [&](const Toleration& o) { return o.tolerates(t); })) return &t;
  }
  return nullptr;
}

std::vector<SpreadState> spread_states(const Cluster& cluster, const Pod& pod, bool hard) {
  std::vector<SpreadState> out;
  for (const Spread& s : pod.spread)
    if (s.hard == hard) out.push_back({&s, {}, 0, s.pods.matches(pod.labels)});
  if (out.empty()) return out;
  for (const Cluster::Entry& e : cluster.nodes()) {
    if (!e.present) continue;
    if (!std::all_of(out.begin(), out.end(), [&](const SpreadState& s) { return label(e.node, s.rule->topology_key); })) continue;
    bool affine = node_affinity_matches(pod, e.node), tolerated = !untolerated(pod, e.node.taints);
    for (SpreadState& s : out) {
      if ((s.rule->honor_affinity && !affine) || (s.rule->honor_taints && !tolerated)) continue;
      int64_t& n = s.counts[*label(e.node, s.rule->topology_key)];
      for (const PodPtr& p : e.pods)
        if (p->ns == pod.ns && !p->terminating && s.rule->pods.matches(p->labels)) ++n;
    }
  }
  for (SpreadState& s : out) {
    s.least = s.counts.empty() ? 0 : std::numeric_limits<int64_t>::max();
    for (const auto& [value, n] : s.counts) s.least = std::min(s.least, n);
    if (int64_t(s.counts.size()) < s.rule->min_domains) s.least = 0;
  }
  return out;
}

AffinityState affinity_state(const Cluster& cluster, const Pod& pod) {
  AffinityState out;
  for (const PodPtr& p : cluster.with_pod_terms()) {
    const Cluster::Entry* e = cluster.node(p->node_name);
    if (!e) continue;
    for (const PodTerm& t : p->anti_affinity) {
      const std::string* value = label(e->node, t.topology_key);
      if (value && cluster.term_covers(t, pod)) out.refused[t.topology_key].insert(*value);
    }
  }
  if (pod.affinity.empty() && pod.anti_affinity.empty()) return out;
  out.affinity.resize(pod.affinity.size());
  out.anti_affinity.resize(pod.anti_affinity.size());
  auto covers_all = [&](const Pod& p) {
    return std::all_of(pod.affinity.begin(), pod.affinity.end(), [&](const PodTerm& t) { return cluster.term_covers(t, p); });
  };
  bool anyone = false;
  for (const Cluster::Entry& e : cluster.nodes()) {
    if (!e.present) continue;
    for (const PodPtr& p : e.pods) {
      if (!pod.affinity.empty() && covers_all(*p))
        for (size_t i = 0; i < pod.affinity.size(); ++i)
          if (const std::string* value = label(e.node, pod.affinity[i].topology_key)) ++out.affinity[i][*value], anyone = true;
      for (size_t i = 0; i < pod.anti_affinity.size(); ++i) {
        const std::string* value = label(e.node, pod.anti_affinity[i].topology_key);
        if (value && cluster.term_covers(pod.anti_affinity[i], *p)) ++out.anti_affinity[i][*value];
      }
    }
  }
  out.first_of_group = !anyone && covers_all(pod);
  return out;
}

}  // namespace server::scheduler
