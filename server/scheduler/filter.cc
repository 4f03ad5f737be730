#include "server/scheduler/filter.h"

#include <algorithm>

#include <fmt/format.h>

namespace server::scheduler {

bool helped_by_preemption(Verdict v) {
  switch (v) {
    case Verdict::ports:
    case Verdict::resources:
    case Verdict::spread:
    case Verdict::pod_anti_affinity:
    case Verdict::objected:
      return true;
    default:
      return false;
  }
}

Filter::Filter(const Cluster& cluster, const Pod& pod) : cluster_(cluster), pod_(pod) {
  for (const auto& set : cluster.taint_sets()) tolerated_.push_back(!untolerated(pod, set));
  static const Taint cordon{"node.kubernetes.io/unschedulable", "", "NoSchedule"};
  tolerates_cordon_ = std::any_of(pod.tolerations.begin(), pod.tolerations.end(), [](const Toleration& t) { return t.tolerates(cordon); });
  selective_ = !pod.node_selector.empty() || pod.node_terms.has_value();
  held_ = !cluster.nominated().empty();
  spread_ = spread_states(cluster, pod, true);
  crowded_ = !spread_.empty() || !pod.affinity.empty() || !pod.anti_affinity.empty() || !cluster.with_pod_terms().empty();
  if (crowded_) affinity_ = affinity_state(cluster, pod);
}

Resources Filter::held_for_others(uint32_t node) const {
  Resources sum;
  for (const auto& [uid, n] : cluster_.nominated())
    if (n.second == node && n.first->priority >= pod_.priority && uid != pod_.uid) sum.add(n.first->request);
  return sum;
}

bool Filter::fits(uint32_t i) const {
  const auto& l = cluster_.lanes();
  const Resources& r = pod_.request;
  // A resource that is not asked for may be overcommitted already.
  auto enough = [](int64_t asked, int64_t free) { return asked == 0 || asked <= free; };
  if (!held_) {
    if (!enough(r.cpu, l.free_cpu[i]) || !enough(r.memory, l.free_memory[i]) || !enough(r.pods, l.free_pods[i]) ||
        !enough(r.ephemeral, l.free_ephemeral[i]))
      return false;
    if (r.extended.empty()) return true;
  }
  Resources held = held_ ? held_for_others(i) : Resources{};
  if (!enough(r.cpu, l.free_cpu[i] - held.cpu) || !enough(r.memory, l.free_memory[i] - held.memory) ||
      !enough(r.pods, l.free_pods[i] - held.pods) || !enough(r.ephemeral, l.free_ephemeral[i] - held.ephemeral))
    return false;
  const auto& e = cluster_.nodes()[i];
  auto amount = [](const Resources& from, const std::string& name) {
    auto it = from.extended.find(name);
    return it == from.extended.end() ? 0 : it->second;
  };
  return std::all_of(r.extended.begin(), r.extended.end(), [&](const auto& x) {
    return enough(x.second, amount(e.node.allocatable, x.first) - amount(e.requested, x.first) - amount(held, x.first));
  });
}

bool Filter::ports_free(uint32_t i) const {
  const auto& e = cluster_.nodes()[i];
  if (e.host_port_pods == 0) return true;
  for (const PodPtr& p : e.pods)
    for (const HostPort& theirs : p->host_ports)
      for (const HostPort& ours : pod_.host_ports)
        if (ours.conflicts(theirs)) return false;
  return true;
}

Verdict Filter::check(uint32_t i) const {
  const auto& l = cluster_.lanes();
  if (!l.schedulable[i] && !tolerates_cordon_) return Verdict::unschedulable;
  if (!tolerated_[l.taints[i]]) return Verdict::taint;
  if (selective_ && !node_affinity_matches(pod_, cluster_.nodes()[i].node)) return Verdict::affinity;
  if (!pod_.host_ports.empty() && !ports_free(i)) return Verdict::ports;
  if (!fits(i)) return Verdict::resources;
  for (const Reach& r : pod_.reach)
    if (std::none_of(r.terms.begin(), r.terms.end(), [&](const NodeTerm& t) { return term_matches(t, cluster_.nodes()[i].node); }))
      return r.bound ? Verdict::volume : Verdict::no_volume;
  return crowded_ ? check_pods(i) : Verdict::fits;
}

Verdict Filter::check_pods(uint32_t i) const {
  const Node& node = cluster_.nodes()[i].node;
  for (const SpreadState& s : spread_) {
    const std::string* value = label(node, s.rule->topology_key);
    if (!value) return Verdict::spread_label;
    auto it = s.counts.find(*value);
    int64_t have = it == s.counts.end() ? 0 : it->second;
    if (have + (s.self ? 1 : 0) - s.least > s.rule->max_skew) return Verdict::spread;
  }
  for (size_t t = 0; t < pod_.affinity.size(); ++t) {
    const std::string* value = label(node, pod_.affinity[t].topology_key);
    if (!value) return Verdict::pod_affinity;
    if (!affinity_.affinity[t].contains(*value) && !affinity_.first_of_group) return Verdict::pod_affinity;
  }
  for (size_t t = 0; t < pod_.anti_affinity.size(); ++t) {
    const std::string* value = label(node, pod_.anti_affinity[t].topology_key);
    if (value && affinity_.anti_affinity[t].contains(*value)) return Verdict::pod_anti_affinity;
  }
  for (const auto& [key, values] : affinity_.refused) {
    const std::string* value = label(node, key);
    if (value && values.contains(*value)) return Verdict::objected;
  }
  return Verdict::fits;
}

std::vector<std::string> Filter::reasons(uint32_t i, Verdict verdict) const {
  const auto& e = cluster_.nodes()[i];
  switch (verdict) {
    case Verdict::fits:
      return {};
    case Verdict::unschedulable:
      return {"node(s) were unschedulable"};
    case Verdict::taint: {
      const Taint* t = untolerated(pod_, e.node.taints);
      return {fmt::format("node(s) had untolerated taint {{{}: {}}}", t ? t->key : "", t ? t->value : "")};
    }
    case Verdict::affinity:
      return {"node(s) didn't match Pod's node affinity/selector"};
    case Verdict::ports:
      return {"node(s) didn't have free ports for the requested pod ports"};
    case Verdict::volume:
      return {"node(s) didn't match PersistentVolume's node affinity"};
    case Verdict::no_volume:
      return {"node(s) didn't find available persistent volumes to bind"};
    case Verdict::spread:
      return {"node(s) didn't match pod topology spread constraints"};
    case Verdict::spread_label:
      return {"node(s) didn't match pod topology spread constraints (missing required label)"};
    case Verdict::pod_affinity:
      return {"node(s) didn't match pod affinity rules"};
    case Verdict::pod_anti_affinity:
      return {"node(s) didn't match pod anti-affinity rules"};
    case Verdict::objected:
      return {"node(s) didn't satisfy existing pods anti-affinity rules"};
    case Verdict::resources:
      break;
  }
  std::vector<std::string> out;
  const auto& l = cluster_.lanes();
  Resources held = held_for_others(i);
  const Resources& r = pod_.request;
  auto lacks = [](int64_t asked, int64_t free) { return asked > 0 && asked > free; };
  if (lacks(r.pods, l.free_pods[i] - held.pods)) out.push_back("Too many pods");
  if (lacks(r.cpu, l.free_cpu[i] - held.cpu)) out.push_back("Insufficient cpu");
  if (lacks(r.memory, l.free_memory[i] - held.memory)) out.push_back("Insufficient memory");
  if (lacks(r.ephemeral, l.free_ephemeral[i] - held.ephemeral)) out.push_back("Insufficient ephemeral-storage");
  for (const auto& x : r.extended) {
    auto in = [&](const Resources& from) {
      auto it = from.extended.find(x.first);
      return it == from.extended.end() ? 0 : it->second;
    };
    if (lacks(x.second, in(e.node.allocatable) - in(e.requested) - in(held))) out.push_back("Insufficient " + x.first);
  }
  return out;
}

}  // namespace server::scheduler
