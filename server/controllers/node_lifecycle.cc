#include "api/types/coordination_v1.h"
#include "server/controllers/controllers.h"
#include "server/controllers/node_health.h"

namespace server::controllers {
namespace {

namespace json = base::json;
namespace coordination = api::coordination;

constexpr const char* component = "node-controller";

// Converges: the conditions and taints of a node to whether it is heard of, and pods of a silent node to "not ready".
//
// A node is heard of when its Lease or its status changes. Times are those of this process, so that clocks that differ do no harm.
class NodeLifecycle final : public Controller {
 public:
  explicit NodeLifecycle(Context& c)
      : Controller(c),
        nodes_(informer<core::Node>()),
        leases_(c.informers.get<coordination::Lease>("kube-node-lease")),
        pods_(informer<core::Pod>()) {
    pods_.add_index("node", [](const core::Pod& p) { return std::vector<std::string>{p.spec.nodeName}; });
    leases_.on_change([this](const auto& before, const auto& after) {
      if (after && (!before || before->spec.renewTime != after->spec.renewTime)) heard(after->metadata.name);
    });
    nodes_.on_change([this](const auto& before, const auto& after) {
      if (!after) return lost(before->metadata.name);
      if (!before || (heartbeat(*before) != heartbeat(*after) && !heartbeat(*after).empty())) heard(after->metadata.name);
      if (!before || before->spec != after->spec || before->status.conditions != after->status.conditions) enqueue(after->metadata);
    });
  }
  std::string_view name() const override { return "node-lifecycle"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto node = nodes_.get(key);
    if (!node) co_return Requeue{};
    auto now = base::WallClock::now();
    auto silent_at = last_heard(key.name) + context_.options.node_monitor_grace_period;
    auto left = silent_at - base::Clock::now();
    core::Node current = *node;
    if (left <= Duration::zero() && mark_unknown(current, now)) {
      events_.normal(component, current, "NodeNotReady", "Node " + key.name + " status is now: NodeNotReady");
      CO_TRY(current, co_await api::update_status(client_, std::move(current)));
    }
    auto taints = wanted_taints(current, now);
    if (taints != current.spec.taints) {
      json::array list;
      for (const auto& t : taints) list.push_back(api::encode_json(t));
      json::object body{{"metadata", json::object{{"resourceVersion", current.metadata.resourceVersion}}},
                        {"spec", json::object{{"taints", std::move(list)}}}};
      CO_TRY(current, co_await api::patch<core::Node>(client_, key, api::PatchType::merge, base::to_text(body)));
    }
    const auto* ready = find_condition(current.status.conditions, "Ready");
    if (ready && ready->status == "Unknown") CO_CHECK_OK(co_await pods_not_ready(key.name, now));
    if (left > Duration::zero()) co_return Requeue{left + std::chrono::milliseconds(10)};
    co_return Requeue{};
  }

 private:
  static std::string heartbeat(const core::Node& n) {
    const auto* c = find_condition(n.status.conditions, "Ready");
    return c && c->status != "Unknown" ? c->lastHeartbeatTime + c->status : "";
  }
  void heard(const std::string& node) {
    bool was_silent = false;
    {
      std::scoped_lock lock(mutex_);
      auto now = base::Clock::now();
      auto& at = heard_[node];
      was_silent = now - at > context_.options.node_monitor_grace_period;
      at = now;
    }
    if (was_silent) queue().add(node);  // sets the next deadline
  }
  void lost(const std::string& node) {
    std::scoped_lock lock(mutex_);
    heard_.erase(node);
  }
  base::TimePoint last_heard(const std::string& node) {
    std::scoped_lock lock(mutex_);
    return heard_.try_emplace(node, base::Clock::now()).first->second;
  }

  Task<Result<>> pods_not_ready(std::string node, WallTime now) {
    for (const PodPtr& p : pods_.by_index("node", node)) {
      if (!pod_ready(*p) || pod_finished(*p)) continue;
      json::object condition{{"type", "Ready"}, {"status", "False"}, {"lastTransitionTime", base::rfc3339(now)}, {"reason", "NodeNotReady"}, {"message", "The node is unreachable."}};
      json::object body{{"metadata", json::object{{"uid", p->metadata.uid}}}, {"status", json::object{{"conditions", json::array{std::move(condition)}}}}};
      api::WriteOptions status;
      status.subresource = "status";
      auto r = co_await api::patch<core::Pod>(client_, {p->metadata.namespace_, p->metadata.name}, api::PatchType::strategic,
                                              base::to_text(body), std::move(status));
      if (!r && !base::is_not_found(r.error()) && !base::is_conflict(r.error())) co_return std::unexpected(std::move(r).error());
      events_.warning(component, *p, "NodeNotReady", "Node is not ready");
    }
    co_return Result<>{};
  }

  api::Informer<core::Node>& nodes_;
  api::Informer<coordination::Lease>& leases_;
  api::Informer<core::Pod>& pods_;
  std::mutex mutex_;
  std::map<std::string, base::TimePoint> heard_;  // guarded by mutex_
};

// Converges: pods that do not tolerate a NoExecute taint of their node, or no longer, to gone.
class TaintEviction final : public Controller {
 public:
  explicit TaintEviction(Context& c) : Controller(c), pods_(informer<core::Pod>()), nodes_(informer<core::Node>()) {
    pods_.add_index("node", [](const core::Pod& p) { return std::vector<std::string>{p.spec.nodeName}; });
    pods_.on_change([this](const PodPtr& before, const PodPtr& after) {
      if (!after || after->spec.nodeName.empty()) return;
      if (before && before->spec.nodeName == after->spec.nodeName && before->spec.tolerations == after->spec.tolerations) return;
      auto node = nodes_.get({}, after->spec.nodeName);
      if (node && evicts(*node)) enqueue(after->metadata);
    });
    nodes_.on_change([this](const auto& before, const auto& after) {
      if (!after || !evicts(*after) || (before && before->spec.taints == after->spec.taints)) return;
      for (const PodPtr& p : pods_.by_index("node", after->metadata.name)) enqueue(p->metadata);
    });
  }
  std::string_view name() const override { return "taint-eviction"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto pod = pods_.get(key);
    if (!pod || !pod_active(*pod) || pod->spec.nodeName.empty()) co_return Requeue{};
    auto node = nodes_.get({}, pod->spec.nodeName);
    if (!node) co_return Requeue{};
    auto now = base::WallClock::now();
    auto end = eviction_time(*pod, node->spec.taints, now);
    if (!end) co_return Requeue{};
    if (*end > now) co_return Requeue{std::chrono::duration_cast<Duration>(*end - now) + std::chrono::milliseconds(1)};
    events_.normal("taint-eviction-controller", *pod, "TaintManagerEviction", "Marking for deletion Pod " + key.text());
    json::object condition{{"type", "DisruptionTarget"}, {"status", "True"}, {"lastTransitionTime", base::rfc3339(now)},
                           {"reason", "DeletionByTaintManager"}, {"message", "Taint manager: deleting due to NoExecute taint"}};
    json::object body{{"metadata", json::object{{"uid", pod->metadata.uid}}},
                      {"status", json::object{{"conditions", json::array{std::move(condition)}}}}};
    api::WriteOptions status;
    status.subresource = "status";
    auto marked = co_await api::patch<core::Pod>(client_, key, api::PatchType::strategic, base::to_text(body), std::move(status));
    if (!marked && base::is_not_found(marked.error())) co_return Requeue{};
    api::DeleteOptions options;
    options.uid = pod->metadata.uid;
    auto r = co_await api::remove<core::Pod>(client_, key, std::move(options));
    if (!r && !base::is_not_found(r.error()) && !base::is_conflict(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  static bool evicts(const core::Node& n) {
    return std::any_of(n.spec.taints.begin(), n.spec.taints.end(), [](const core::Taint& t) { return t.effect == "NoExecute"; });
  }
  api::Informer<core::Pod>& pods_;
  api::Informer<core::Node>& nodes_;
};

}  // namespace

Made make_node_lifecycle(Context& c) { return std::make_unique<NodeLifecycle>(c); }
Made make_taint_eviction(Context& c) { return std::make_unique<TaintEviction>(c); }

}  // namespace server::controllers
