#include <map>

#include "api/quantity.h"
#include "server/controllers/controllers.h"
#include "server/controllers/pods.h"
#include "server/controllers/revisions.h"
#include "server/scheduler/topology.h"
#include "server/scheduler/translate.h"

namespace server::controllers {
namespace {

namespace apps = api::apps;
constexpr const char* component = "daemonset-controller";

core::Toleration exists(const char* key, const char* effect) {
  core::Toleration t;
  t.key = key;
  t.operator_ = "Exists";
  t.effect = effect;
  return t;
}

// The pod of a DaemonSet for one node: bound to it by affinity, and not driven away by the node's condition.
core::Pod daemon_pod(const apps::DaemonSet& set, const std::string& node, const std::string& hash) {
  core::Pod pod = pod_from_template(set.spec.template_, set.metadata.namespace_, controller_reference(set));
  pod.metadata.labels[revision_label] = hash;
  core::NodeSelectorRequirement here;
  here.key = "metadata.name";
  here.operator_ = "In";
  here.values = {node};
  auto& affinity = pod.spec.affinity.ensure().nodeAffinity.ensure().requiredDuringSchedulingIgnoredDuringExecution.ensure();
  if (affinity.nodeSelectorTerms.empty()) affinity.nodeSelectorTerms.emplace_back();
  for (auto& term : affinity.nodeSelectorTerms) term.matchFields = {here};
  auto& t = pod.spec.tolerations;
  t.push_back(exists("node.kubernetes.io/not-ready", "NoExecute"));
  t.push_back(exists("node.kubernetes.io/unreachable", "NoExecute"));
  for (const char* key : {"node.kubernetes.io/disk-pressure", "node.kubernetes.io/memory-pressure", "node.kubernetes.io/pid-pressure",
                          "node.kubernetes.io/unschedulable"})
    t.push_back(exists(key, "NoSchedule"));
  if (pod.spec.hostNetwork.value_or(false)) t.push_back(exists("node.kubernetes.io/network-unavailable", "NoSchedule"));
  return pod;
}

std::string node_of(const core::Pod& pod) {
  if (!pod.spec.nodeName.empty()) return pod.spec.nodeName;
  if (!pod.spec.affinity || !pod.spec.affinity->nodeAffinity) return {};
  const auto& required = pod.spec.affinity->nodeAffinity->requiredDuringSchedulingIgnoredDuringExecution;
  if (!required) return {};
  for (const auto& term : required->nodeSelectorTerms)
    for (const auto& f : term.matchFields)
      if (f.key == "metadata.name" && f.values.size() == 1) return f.values.front();
  return {};
}

// Converges: one pod of the template on every node that it may run on; after a change of the template, the old pods to new ones, maxUnavailable at a time.
class DaemonSets final : public Controller {
 public:
  explicit DaemonSets(Context& c)
      : Controller(c), sets_(watch<apps::DaemonSet>()), nodes_(informer<core::Node>()), pods_(c), revisions_(c) {
    pods_.watch_pods(
        apps::DaemonSet::kind_info(), [this](std::string key) { queue().add(std::move(key)); },
        [this](const core::Pod& orphan) {
          for (const auto& s : sets_.list(orphan.metadata.namespace_))
            if (api::selects(s->spec.selector, orphan.metadata.labels)) enqueue(s->metadata);
        });
    nodes_.on_change([this](const auto& before, const auto& after) {
      if (before && after && before->spec == after->spec && before->metadata.labels == after->metadata.labels) return;
      for (const auto& s : sets_.list()) enqueue(s->metadata);
    });
  }
  std::string_view name() const override { return "daemonset"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto set = sets_.get(key);
    if (!set || !pods_.expectations().satisfied(key.text())) co_return Requeue{};
    Owner owner = owner_of(*set, component);
    CO_TRY(std::vector<PodPtr> pods, co_await pods_.claim(owner, set->spec.selector, deleting(set->metadata)));
    if (deleting(set->metadata)) co_return Requeue{};
    CO_TRY(RevisionPtr revision,
           co_await revisions_.current(apps::DaemonSet::kind_info(), set->metadata, set->spec.template_, set->status.collisionCount));
    const std::string hash = revision->metadata.labels.at(revision_label);
    const auto now = base::WallClock::now();
    Plan plan = make_plan(*set, pods, hash, now);
    Result<> managed = co_await pods_.remove_many(owner, std::move(plan.remove));
    if (managed && !plan.create.empty()) {
      auto made = co_await pods_.create_many(owner, std::move(plan.create));
      managed = std::move(made.second);
    }
    if (!(plan.status == set->status)) {
      apps::DaemonSet changed = *set;
      changed.status = std::move(plan.status);
      auto r = co_await api::update_status(client_, std::move(changed));
      if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    }
    if (!managed) co_return std::unexpected(std::move(managed).error());
    std::vector<std::string> in_use{hash};
    for (const PodPtr& p : pods)
      if (auto it = p->metadata.labels.find(revision_label); it != p->metadata.labels.end()) in_use.push_back(it->second);
    CO_CHECK_OK(co_await revisions_.trim(set->metadata.uid, std::move(in_use), set->spec.revisionHistoryLimit.value_or(10)));
    if (plan.again) co_return Requeue{std::chrono::duration_cast<Duration>(*plan.again) + std::chrono::milliseconds(1)};
    co_return Requeue{};
  }

 private:
  struct Plan {
    std::vector<core::Pod> create;
    std::vector<PodPtr> remove;
    apps::DaemonSetStatus status;
    std::optional<base::WallClock::duration> again;
  };

  Plan make_plan(const apps::DaemonSet& set, const std::vector<PodPtr>& pods, const std::string& hash, WallTime now) {
    Plan out;
    out.status = set.status;
    auto& s = out.status;
    s.currentNumberScheduled = s.numberMisscheduled = s.desiredNumberScheduled = s.numberReady = 0;
    int32_t updated = 0, available = 0;
    const int32_t min_ready = set.spec.minReadySeconds.value_or(0);
    std::map<std::string, std::vector<PodPtr>> on_node;
    for (const PodPtr& p : pods) on_node[node_of(*p)].push_back(p);
    std::vector<PodPtr> old_available, old_broken;
    for (const auto& node : nodes_.list()) {
      const std::string& name = node->metadata.name;
      auto [may_start, may_stay] = eligible(set, *node);
      auto it = on_node.find(name);
      std::vector<PodPtr> here = it == on_node.end() ? std::vector<PodPtr>{} : std::move(it->second);
      if (may_start) ++s.desiredNumberScheduled;
      bool leaving = std::any_of(here.begin(), here.end(), [](const PodPtr& p) { return deleting(p->metadata); });
      std::erase_if(here, [&](const PodPtr& p) {
        if (pod_finished(*p) && !deleting(p->metadata)) {
          leaving = true;  // its successor comes when it has gone
          out.remove.push_back(p);
        }
        return pod_finished(*p) || deleting(p->metadata);
      });
      std::sort(here.begin(), here.end(),
                [](const PodPtr& a, const PodPtr& b) { return a->metadata.creationTimestamp < b->metadata.creationTimestamp; });
      if (!may_start && !may_stay) {
        if (!here.empty()) ++s.numberMisscheduled;
        out.remove.insert(out.remove.end(), here.begin(), here.end());
        continue;
      }
      if (here.empty()) {
        if (may_start && !leaving) out.create.push_back(daemon_pod(set, name, hash));
        continue;
      }
      out.remove.insert(out.remove.end(), here.begin() + 1, here.end());
      const PodPtr& pod = here.front();
      if (!may_start) {
        ++s.numberMisscheduled;
        continue;
      }
      ++s.currentNumberScheduled;
      bool is_available = pod_available(*pod, min_ready, now);
      if (auto since = pod_ready_since(*pod)) {
        ++s.numberReady;
        if (!is_available) out.again = *since + std::chrono::seconds(min_ready) - now;
      }
      if (is_available) ++available;
      auto label = pod->metadata.labels.find(revision_label);
      if (label != pod->metadata.labels.end() && label->second == hash) ++updated;
      else (is_available ? old_available : old_broken).push_back(pod);
    }
    s.updatedNumberScheduled = updated;
    s.numberAvailable = available;
    s.numberUnavailable = s.desiredNumberScheduled - available;
    s.observedGeneration = set.metadata.generation;
    auto or_absent = [](std::optional<int32_t>& v) {
      if (v == 0) v.reset();
    };
    or_absent(s.updatedNumberScheduled);
    or_absent(s.numberAvailable);
    or_absent(s.numberUnavailable);
    replace_old(set, old_broken, old_available, s.desiredNumberScheduled - available, out);
    return out;
  }

  // Broken old pods go at once, available ones while no more than maxUnavailable nodes are without.
  static void replace_old(const apps::DaemonSet& set, const std::vector<PodPtr>& broken, const std::vector<PodPtr>& available,
                          int32_t unavailable, Plan& out) {
    if (set.spec.updateStrategy && set.spec.updateStrategy->type == "OnDelete") return;
    api::IntOrString most = api::IntOrString::of(1);
    if (set.spec.updateStrategy && set.spec.updateStrategy->rollingUpdate &&
        set.spec.updateStrategy->rollingUpdate->maxUnavailable.has_value())
      most = set.spec.updateStrategy->rollingUpdate->maxUnavailable;
    int32_t allowed = std::max(1, api::scaled_value(most, out.status.desiredNumberScheduled, true).value_or(1));
    out.remove.insert(out.remove.end(), broken.begin(), broken.end());
    for (const PodPtr& p : available) {
      if (unavailable >= allowed) break;
      ++unavailable;
      out.remove.push_back(p);
    }
  }

  // Whether a pod may be started on the node, and whether one may stay there.
  static std::pair<bool, bool> eligible(const apps::DaemonSet& set, const core::Node& node) {
    scheduler::Pod pod = scheduler::translate(daemon_pod(set, node.metadata.name, ""));
    scheduler::Node n = scheduler::translate(node);
    if (!scheduler::node_affinity_matches(pod, n)) return {false, false};
    if (!scheduler::untolerated(pod, n.taints)) return {true, true};
    std::erase_if(n.taints, [](const scheduler::Taint& t) { return t.effect != "NoExecute"; });
    return {false, !scheduler::untolerated(pod, n.taints)};
  }

  api::Informer<apps::DaemonSet>& sets_;
  api::Informer<core::Node>& nodes_;
  PodControl pods_;
  Revisions revisions_;
};

}  // namespace

Made make_daemonset(Context& c) { return std::make_unique<DaemonSets>(c); }

}  // namespace server::controllers
