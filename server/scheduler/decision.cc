#include "server/scheduler/decision.h"

#include <map>

#include <fmt/format.h>

namespace server::scheduler {
namespace {

// "3 Insufficient cpu, 1 node(s) were unschedulable": sorted as text, as kube-scheduler does.
std::string histogram(const std::map<std::string, int>& reasons) {
  std::set<std::string> parts;
  for (const auto& [reason, n] : reasons) parts.insert(fmt::format("{} {}", n, reason));
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

Decision decide(const Cluster& cluster, const Pod& pod, uint32_t turn) {
  Decision out;
  Filter filter(cluster, pod);
  // Its victims have gone from there.
  if (const Cluster::Entry* e = pod.nominated_node.empty() ? nullptr : cluster.node(pod.nominated_node))
    if (filter.check(cluster.index_of(e->node.name)) == Verdict::fits) {
      out.node = pod.nominated_node;
      return out;
    }
  std::vector<uint32_t> fit;
  const auto count = uint32_t(cluster.nodes().size());
  fit.reserve(count);
  const auto& present = cluster.lanes().present;
  for (uint32_t i = 0; i < count; ++i)
    if (present[i] && filter.check(i) == Verdict::fits) fit.push_back(i);

  if (!fit.empty()) {
    if (fit.size() == 1) {
      out.node = cluster.nodes()[fit.front()].node.name;
      return out;
    }
    std::vector<double> scores = score(cluster, pod, fit);
    size_t best = turn % fit.size();
    for (size_t k = 0, at = best; k < fit.size(); ++k, at = at + 1 == fit.size() ? 0 : at + 1)
      if (scores[at] > scores[best]) best = at;
    out.node = cluster.nodes()[fit[best]].node.name;
    return out;
  }

  if (cluster.present() == 0) {
    out.message = "no nodes available to schedule pods";
    out.waits_for_nodes = true;
    return out;
  }
  std::map<std::string, int> reasons;
  for (uint32_t i = 0; i < count; ++i) {
    if (!present[i]) continue;
    Verdict v = filter.check(i);
    for (std::string& r : filter.reasons(i, v)) ++reasons[r];
    if (helped_by_preemption(v)) out.preemptable.push_back(i);
    if (v == Verdict::resources || v == Verdict::ports) out.waits_for_resources = true;
    else if (v == Verdict::volume || v == Verdict::no_volume) out.waits_for_volumes = true;
    else if (v >= Verdict::spread) out.waits_for_pods = true;
  }
  out.waits_for_nodes = true;
  out.message = fmt::format("0/{} nodes are available: {}.", cluster.present(), histogram(reasons));
  return out;
}

}  // namespace server::scheduler
