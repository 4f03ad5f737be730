#include "server/controllers/controllers.h"
#include "server/controllers/node_health.h"

namespace server::controllers {
namespace {

constexpr auto quarantine = std::chrono::seconds(40);  // a node may come back under its name

// Converges: pods that nobody will ever end to gone: those of nodes that do not exist (any more) or are out of service, unscheduled ones being deleted,
// and the oldest of too many finished ones. Keys are node names; "" stands for pods without node, "*" for the count of finished ones.
class PodGc final : public Controller {
 public:
  explicit PodGc(Context& c) : Controller(c), pods_(informer<core::Pod>()), nodes_(informer<core::Node>()) {
    pods_.add_index("node", [](const core::Pod& p) { return std::vector<std::string>{p.spec.nodeName}; });
    pods_.on_change([this](const PodPtr& before, const PodPtr& after) { pod_changed(before, after); });
    nodes_.on_change([this](const auto& before, const auto& after) {
      if (!after) return queue().add_after(before->metadata.name, quarantine);
      if (out_of_service(*after)) queue().add(after->metadata.name);
    });
  }
  std::string_view name() const override { return "podgc"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    if (key.name == "*") co_return co_await trim_finished();
    auto node = key.name.empty() ? nullptr : nodes_.get({}, key.name);
    if (node && !out_of_service(*node)) co_return Requeue{};
    if (!node && !key.name.empty()) {
      auto live = co_await api::get<core::Node>(client_, key);
      if (live) co_return Requeue{};
      if (!base::is_not_found(live.error())) co_return std::unexpected(std::move(live).error());
    }
    for (const PodPtr& p : pods_.by_index("node", key.name)) {
      if ((node || key.name.empty()) && !deleting(p->metadata)) continue;
      CO_CHECK_OK(co_await force_away(p, !node && !key.name.empty()));
    }
    co_return Requeue{};
  }

 private:
  static bool out_of_service(const core::Node& n) {
    return !node_ready(n) && std::any_of(n.spec.taints.begin(), n.spec.taints.end(),
                                         [](const core::Taint& t) { return t.key == "node.kubernetes.io/out-of-service"; });
  }

  void pod_changed(const PodPtr& before, const PodPtr& after) {
    bool was_finished = before && pod_finished(*before), is_finished = after && pod_finished(*after);
    if (was_finished != is_finished) {
      size_t n = is_finished ? ++finished_ : --finished_;
      if (n > context_.options.terminated_pod_threshold) queue().add("*");
    }
    if (!after) return;
    const std::string& node = after->spec.nodeName;
    if (node.empty()) {
      if (deleting(after->metadata)) queue().add("");
    } else if (!before || before->spec.nodeName != node || deleting(after->metadata) != deleting(before->metadata)) {
      auto n = nodes_.get({}, node);
      if (!n) queue().add_after(node, quarantine);
      else if (out_of_service(*n)) queue().add(node);
    }
  }

  Task<Result<>> force_away(PodPtr pod, bool lost) {
    ObjectKey key{pod->metadata.namespace_, pod->metadata.name};
    if (lost && !pod_finished(*pod)) {
      core::Pod failed = *pod;
      failed.status.phase = "Failed";
      set_condition(failed.status.conditions, "DisruptionTarget", "True", "DeletionByPodGC", "PodGC: node no longer exists",
                    base::WallClock::now());
      auto r = co_await api::update_status(client_, std::move(failed));
      if (!r && base::is_not_found(r.error())) co_return Result<>{};
      if (!r) co_return std::unexpected(std::move(r).error());
    }
    api::DeleteOptions options;
    options.uid = pod->metadata.uid;
    options.grace_period_seconds = 0;
    auto r = co_await api::remove<core::Pod>(client_, key, std::move(options));
    if (!r && !base::is_not_found(r.error()) && !base::is_conflict(r.error())) co_return r;
    co_return Result<>{};
  }

  Task<Result<Requeue>> trim_finished() {
    std::vector<PodPtr> done = pods_.list();
    std::erase_if(done, [](const PodPtr& p) { return !pod_finished(*p) || deleting(p->metadata); });
    size_t most = context_.options.terminated_pod_threshold;
    if (done.size() <= most) co_return Requeue{};
    std::sort(done.begin(), done.end(),
              [](const PodPtr& a, const PodPtr& b) { return a->metadata.creationTimestamp < b->metadata.creationTimestamp; });
    done.resize(done.size() - most);
    for (const PodPtr& p : done) CO_CHECK_OK(co_await force_away(p, false));
    co_return Requeue{};
  }

  api::Informer<core::Pod>& pods_;
  api::Informer<core::Node>& nodes_;
  size_t finished_ = 0;  // pods; belongs to the informer's strand
};

}  // namespace

Made make_pod_gc(Context& c) { return std::make_unique<PodGc>(c); }

}  // namespace server::controllers
