#include <algorithm>
#include <cmath>

#include "server/scheduler/decision.h"

namespace server::scheduler {
namespace {

using Scores = std::vector<double>;
using Nodes = std::vector<uint32_t>;

double highest(const Scores& v) { return v.empty() ? 0 : *std::max_element(v.begin(), v.end()); }

// Adds weight * (0..100, where the highest raw value is 100, or 0 when reversed).
void add_normalised(Scores& total, const Scores& raw, double weight, bool reversed) {
  double top = highest(raw);
  for (size_t i = 0; i < total.size(); ++i) {
    double s = top > 0 ? raw[i] * 100 / top : 0;
    total[i] += weight * (reversed ? 100 - s : s);
  }
}

void add_resources(Scores& total, const Cluster& cluster, const Pod& pod, const Nodes& nodes) {
  const auto& l = cluster.lanes();
  const double cpu = double(pod.scored_cpu), memory = double(pod.scored_memory);
  for (size_t k = 0; k < nodes.size(); ++k) {
    uint32_t i = nodes[k];
    double cpu_used = std::min(1.0, (l.scored_cpu[i] + cpu) * l.cpu_share[i]),
           memory_used = std::min(1.0, (l.scored_memory[i] + memory) * l.memory_share[i]);
    double least = (1 - cpu_used) * 50 + (1 - memory_used) * 50;
    double balance = (1 - std::abs(cpu_used - memory_used) / 2) * 100;
    total[k] += least + balance;
  }
}

void add_taints(Scores& total, const Cluster& cluster, const Pod& pod, const Nodes& nodes) {
  std::vector<double> bad;  // by taint set
  bool any = false;
  for (const auto& set : cluster.taint_sets()) {
    double n = 0;
    for (const Taint& t : set)
      if (t.effect == "PreferNoSchedule" &&
          std::none_of(pod.tolerations.begin(), pod.tolerations.end(), [&](const Toleration& o) { return o.tolerates(t); }))
        ++n;
    bad.push_back(n);
    any = any || n > 0;
  }
  if (!any) return;
  Scores raw(nodes.size());
  for (size_t k = 0; k < nodes.size(); ++k) raw[k] = bad[cluster.lanes().taints[nodes[k]]];
  add_normalised(total, raw, 3, true);
}

void add_node_affinity(Scores& total, const Cluster& cluster, const Pod& pod, const Nodes& nodes) {
  if (pod.preferred_nodes.empty()) return;
  Scores raw(nodes.size());
  for (size_t k = 0; k < nodes.size(); ++k)
    for (const NodeTerm& t : pod.preferred_nodes)
      if (term_matches(t, cluster.nodes()[nodes[k]].node)) raw[k] += t.weight;
  add_normalised(total, raw, 2, false);
}

void add_pod_affinity(Scores& total, const Cluster& cluster, const Pod& pod, const Nodes& nodes) {
  bool own = !pod.preferred_affinity.empty() || !pod.preferred_anti_affinity.empty();
  if (!own && cluster.with_pod_terms().empty()) return;
  std::unordered_map<std::string, std::unordered_map<std::string, double>> weight;  // key, value
  auto count = [&](const PodTerm& t, const Pod& other, const Node& node, double w) {
    const std::string* value = label(node, t.topology_key);
    if (value && cluster.term_covers(t, other)) weight[t.topology_key][*value] += w;
  };
  if (own)
    for (const Cluster::Entry& e : cluster.nodes()) {
      if (!e.present) continue;
      for (const PodPtr& p : e.pods) {
        for (const PodTerm& t : pod.preferred_affinity) count(t, *p, e.node, t.weight);
        for (const PodTerm& t : pod.preferred_anti_affinity) count(t, *p, e.node, -t.weight);
      }
    }
  for (const PodPtr& p : cluster.with_pod_terms()) {
    const Cluster::Entry* e = cluster.node(p->node_name);
    if (!e) continue;
    for (const PodTerm& t : p->affinity) count(t, pod, e->node, 1);
    for (const PodTerm& t : p->preferred_affinity) count(t, pod, e->node, t.weight);
    for (const PodTerm& t : p->preferred_anti_affinity) count(t, pod, e->node, -t.weight);
  }
  if (weight.empty()) return;
  Scores raw(nodes.size());
  for (size_t k = 0; k < nodes.size(); ++k)
    for (const auto& [key, values] : weight)
      if (const std::string* value = label(cluster.nodes()[nodes[k]].node, key))
        if (auto it = values.find(*value); it != values.end()) raw[k] += it->second;
  auto [low, high] = std::minmax_element(raw.begin(), raw.end());
  double least = *low, range = *high - *low;
  if (range <= 0) return;
  for (size_t k = 0; k < nodes.size(); ++k) total[k] += 2 * 100 * (raw[k] - least) / range;
}

// ScheduleAnyway rules; without any rule of its own, a controlled pod keeps away from nodes with many of its siblings.
void add_spread(Scores& total, const Cluster& cluster, const Pod& pod, const Nodes& nodes) {
  Scores raw(nodes.size());
  if (pod.spread.empty()) {
    const auto* siblings = pod.owner_uid.empty() ? nullptr : cluster.owned(pod.owner_uid);
    if (!siblings) return;
    for (size_t k = 0; k < nodes.size(); ++k) {
      auto it = siblings->find(nodes[k]);
      if (it != siblings->end()) raw[k] = it->second;
    }
    add_normalised(total, raw, 2, true);
    return;
  }
  auto states = spread_states(cluster, pod, false);
  if (states.empty()) return;
  std::vector<uint8_t> excluded(nodes.size());
  for (size_t k = 0; k < nodes.size(); ++k)
    for (const SpreadState& s : states) {
      const std::string* value = label(cluster.nodes()[nodes[k]].node, s.rule->topology_key);
      if (!value) {
        excluded[k] = 1;
        continue;
      }
      auto it = s.counts.find(*value);
      double n = it == s.counts.end() ? 0 : double(it->second);
      raw[k] += n * std::log(double(s.counts.size()) + 2) + s.rule->max_skew - 1;
    }
  double low = 0, high = 0;
  bool first = true;
  for (size_t k = 0; k < nodes.size(); ++k) {
    if (excluded[k]) continue;
    low = first ? raw[k] : std::min(low, raw[k]);
    high = first ? raw[k] : std::max(high, raw[k]);
    first = false;
  }
  for (size_t k = 0; k < nodes.size(); ++k)
    if (!excluded[k]) total[k] += 2 * (high > 0 ? 100 * (high + low - raw[k]) / high : 100);
}

void add_images(Scores& total, const Cluster& cluster, const Pod& pod, const Nodes& nodes) {
  constexpr double mb = 1024 * 1024, least = 23 * mb, most_per_container = 1000 * mb;
  std::vector<double> local(cluster.nodes().size());
  bool any = false;
  for (const std::string& name : pod.images) {
    const Cluster::Image* image = cluster.image(name);
    if (!image || cluster.present() == 0 || image->nodes.size() == cluster.present()) continue;  // everywhere: no difference
    double value = double(image->size) * double(image->nodes.size()) / double(cluster.present());
    for (uint32_t i : image->nodes) local[i] += value;
    any = true;
  }
  if (!any) return;
  double most = most_per_container * double(pod.images.size());
  for (size_t k = 0; k < nodes.size(); ++k) total[k] += 100 * (std::clamp(local[nodes[k]], least, most) - least) / (most - least);
}

}  // namespace

std::vector<double> score(const Cluster& cluster, const Pod& pod, const std::vector<uint32_t>& nodes) {
  Scores total(nodes.size());
  add_resources(total, cluster, pod, nodes);
  add_taints(total, cluster, pod, nodes);
  add_node_affinity(total, cluster, pod, nodes);
  add_pod_affinity(total, cluster, pod, nodes);
  add_spread(total, cluster, pod, nodes);
  add_images(total, cluster, pod, nodes);
  return total;
}

}  // namespace server::scheduler
