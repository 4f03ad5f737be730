#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "server/scheduler/decision.h"

namespace server::scheduler {
namespace {

bool more_important(const PodPtr& a, const PodPtr& b) {
  if (a->priority != b->priority) return a->priority > b->priority;
  return a->started != b->started ? a->started < b->started : a->uid < b->uid;
}

struct Victims {
  std::vector<PodPtr> pods;
  int violations = 0;
};

// Splits off the pods that no budget allows to go. Budgets are charged in order of importance.
std::vector<PodPtr> violating(const std::vector<PodPtr>& pods, std::vector<Budget> budgets) {
  std::vector<PodPtr> out;
  for (const PodPtr& p : pods) {
    bool over = false;
    for (Budget& b : budgets)
      if (b.ns == p->ns && !b.pods.nothing && b.pods.matches(p->labels) && --b.allowed < 0) over = true;
    if (over) out.push_back(p);
  }
  return out;
}

// Takes all less important pods off the node; puts back whichever can stay, most important first.
std::optional<Victims> victims_on(Cluster& cluster, const Pod& pod, uint32_t node, const std::vector<Budget>& budgets) {
  std::vector<PodPtr> lower;
  for (const PodPtr& p : cluster.nodes()[node].pods)
    if (p->priority < pod.priority) lower.push_back(p);
  if (lower.empty()) return std::nullopt;
  std::sort(lower.begin(), lower.end(), more_important);
  for (const PodPtr& p : lower) cluster.remove_pod(p->uid);
  auto fits = [&] { return Filter(cluster, pod).check(node) == Verdict::fits; };
  if (!fits()) {
    for (const PodPtr& p : lower) cluster.add_pod(p);
    return std::nullopt;
  }
  std::vector<PodPtr> guarded = violating(lower, budgets), order = guarded;
  for (const PodPtr& p : lower)
    if (std::find(guarded.begin(), guarded.end(), p) == guarded.end()) order.push_back(p);
  Victims out;
  for (size_t k = 0; k < order.size(); ++k) {
    cluster.add_pod(order[k]);
    if (fits()) continue;
    cluster.remove_pod(order[k]->uid);
    out.pods.push_back(order[k]);
    if (k < guarded.size()) ++out.violations;
  }
  for (const PodPtr& p : out.pods) cluster.add_pod(p);
  std::sort(out.pods.begin(), out.pods.end(), more_important);
  return out;
}

}  // namespace

Preemption preempt(Cluster& cluster, const Pod& pod, const std::vector<uint32_t>& candidates, const std::vector<Budget>& budgets) {
  Preemption out;
  std::map<std::string, int> reasons;
  size_t hopeless = cluster.present() - std::min(cluster.present(), candidates.size());
  if (hopeless) reasons["Preemption is not helpful for scheduling"] = int(hopeless);
  std::optional<std::tuple<int, int32_t, int64_t, size_t, int64_t>> best;
  // A choice among this many nodes is good enough; the rest would only cost time.
  const size_t enough = std::max<size_t>(100, cluster.present() / 10);
  size_t found = 0;
  for (uint32_t node : candidates) {
    if (found >= enough) break;
    auto v = victims_on(cluster, pod, node, budgets);
    if (!v || v->pods.empty()) {
      ++reasons["No preemption victims found for incoming pod"];
      continue;
    }
    ++found;
    int64_t sum = 0, earliest = v->pods.front()->started;
    for (const PodPtr& p : v->pods) {
      sum += int64_t(p->priority) + (int64_t(1) << 31);
      if (p->priority == v->pods.front()->priority) earliest = std::min(earliest, p->started);
    }
    std::tuple rank(v->violations, v->pods.front()->priority, sum, v->pods.size(), -earliest);
    if (best && !(rank < *best)) continue;
    best = rank;
    out.node = cluster.nodes()[node].node.name;
    out.victims = std::move(v->pods);
  }
  std::set<std::string> parts;
  for (const auto& [reason, n] : reasons) parts.insert(fmt::format("{} {}", n, reason));
  out.message = fmt::format("preemption: 0/{} nodes are available: {}.", cluster.present(), fmt::join(parts, ", "));
  return out;
}

}  // namespace server::scheduler
