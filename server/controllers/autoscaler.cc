#include "server/controllers/autoscaler.h"

#include <mutex>

#include <fmt/format.h>

#include "server/controllers/controllers.h"
#include "server/controllers/kinds.h"

namespace server::controllers {
namespace {

namespace json = base::json;
namespace scaling = api::autoscalingv2;
using Autoscaler = scaling::HorizontalPodAutoscaler;

constexpr const char* component = "horizontal-pod-autoscaler";
constexpr Duration period = std::chrono::seconds(15);

// Converges: the scale of a HorizontalPodAutoscaler's target to what its metrics ask for. Looks every 15 s, as long as there is one.
class Autoscalers final : public Controller {
 public:
  explicit Autoscalers(Context& c) : Controller(c), autoscalers_(informer<Autoscaler>()), pods_(informer<core::Pod>()), kinds_(c) {
    autoscalers_.on_change([this](const auto& before, const auto& after) {
      if (after && (!before || before->spec != after->spec)) enqueue(after->metadata);
      if (after) return;
      std::scoped_lock lock(mutex_);
      history_.erase(ObjectKey{before->metadata.namespace_, before->metadata.name}.text());
    });
  }
  std::string_view name() const override { return "horizontalpodautoscaler"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto found = autoscalers_.get(key);
    if (!found || deleting(found->metadata)) co_return Requeue{};
    Autoscaler h = *found;
    CO_CHECK_OK(co_await scale(h, key));
    h.status.observedGeneration = h.metadata.generation;
    if (!(h.status == found->status)) {
      auto r = co_await api::update_status(client_, std::move(h));
      if (!r && !base::is_not_found(r.error()) && !base::is_conflict(r.error())) co_return std::unexpected(std::move(r).error());
    }
    co_return Requeue{period};
  }

 private:
  // What stands in the way goes to the conditions; only errors of the API are errors.
  Task<Result<>> scale(Autoscaler& h, ObjectKey key) {
    const auto now = base::WallClock::now();
    auto& s = h.status;
    auto condition = [&](const char* type, bool good, std::string reason, std::string message) {
      set_condition(s.conditions, type, good ? "True" : "False", reason, std::move(message), now);
    };
    auto stop = [&](const char* type, std::string reason, std::string message) {
      events_.warning(component, h, reason, message);
      condition(type, false, std::move(reason), std::move(message));
    };
    const auto& ref = h.spec.scaleTargetRef;
    auto kind = kinds_.find(ref.apiVersion, ref.kind);
    if (!kind) {
      stop("AbleToScale", "FailedGetScale",
           fmt::format("the HPA controller was unable to get the target's current scale: no matches for kind \"{}\" in group \"{}\"",
                       ref.kind, ref.apiVersion));
      co_return Result<>{};
    }
    const ObjectKey target{key.ns, ref.name};
    auto answer = co_await client_.get(kind->resource, target, "scale");
    if (!answer) {
      stop("AbleToScale", "FailedGetScale", "the HPA controller was unable to get the target's current scale: " + answer.error().message);
      co_return Result<>{};
    }
    CO_TRY(json::value live, base::parse_json(**answer));
    condition("AbleToScale", true, "SucceededGetScale", "the HPA controller was able to get the target's current scale");
    const int32_t current = int32_t(base::get_int(live, "spec.replicas")), least = h.spec.minReplicas.value_or(1);
    s.currentReplicas = int32_t(base::get_int(live, "status.replicas"));
    if (current == 0 && least != 0) {
      s.desiredReplicas = 0;
      condition("ScalingActive", false, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero");
      co_return Result<>{};
    }
    int32_t wish = current;
    std::string why;
    ScalingLimit limit;
    if (current > h.spec.maxReplicas || current < least) {
      const bool above = current > h.spec.maxReplicas;
      limit.replicas = above ? h.spec.maxReplicas : least;
      why = above ? "Current number of replicas above Spec.MaxReplicas" : "Current number of replicas below Spec.MinReplicas";
    } else {
      std::string selector(base::get_string(live, "status.selector"));
      if (selector.empty()) {
        stop("ScalingActive", "InvalidSelector", "the HPA target's scale is missing a selector");
        co_return Result<>{};
      }
      CO_TRY(std::vector<PodUsage> pods, co_await usage_of(key.ns, selector));
      int32_t most = 0;
      bool any = false, failed = false;
      std::string reason, message;
      s.currentMetrics.clear();
      for (const auto& metric : h.spec.metrics) {
        MetricAnswer a = evaluate_metric(metric, h.spec, current, pods);
        if (!a.failure.empty()) {
          failed = true;
          reason = a.reason;
          message = a.failure;
          continue;
        }
        s.currentMetrics.push_back(std::move(a.status));
        if (!any || a.replicas > most) {
          most = a.replicas;
          why = fmt::format("{} resource utilization (percentage of request) {} target",
                            metric.resource ? metric.resource->name : metric.containerResource->name,
                            a.replicas > current ? "above" : "below");
        }
        any = true;
      }
      // With a metric missing, what is known may ask for more, never for less.
      if (!any || (failed && most < current)) {
        stop("ScalingActive", reason, "the HPA was unable to compute the replica count: " + message);
        co_return Result<>{};
      }
      condition("ScalingActive", true, "ValidMetricFound",
                "the HPA was able to successfully calculate a replica count from a resource metric");
      wish = most;
      std::scoped_lock lock(mutex_);
      limit = limit_scaling(h.spec, current, wish, history_[key.text()], now);
      condition("AbleToScale", true, limit.replicas == current && wish < current ? "ScaleDownStabilized" : "ReadyForNewScale",
                limit.replicas == current && wish < current
                    ? "recent recommendations were higher than current one, applying the highest recent recommendation"
                    : "recommended size matches current size");
      condition("ScalingLimited", limit.limited, limit.reason, limit.message);
    }
    s.desiredReplicas = limit.replicas;
    if (limit.replicas == current) co_return Result<>{};
    json::object body{{"spec", json::object{{"replicas", limit.replicas}}}};
    api::WriteOptions options;
    options.subresource = "scale";
    auto scaled = co_await client_.patch(kind->resource, target, api::PatchType::merge, base::to_text(body), std::move(options));
    if (!scaled) {
      s.desiredReplicas = current;
      stop("AbleToScale", "FailedUpdateScale", "the HPA controller was unable to update the target scale: " + scaled.error().message);
      co_return Result<>{};
    }
    events_.normal(component, h, "SuccessfulRescale", fmt::format("New size: {}; reason: {}", limit.replicas, why));
    condition("AbleToScale", true, "SucceededRescale",
              fmt::format("the HPA controller was able to update the target scale to {}", limit.replicas));
    s.lastScaleTime = base::rfc3339(now);
    std::scoped_lock lock(mutex_);
    history_[key.text()].changed.push_back({now, limit.replicas - current});
    co_return Result<>{};
  }

  Task<Result<std::vector<PodUsage>>> usage_of(std::string ns, std::string selector) {
    CO_TRY(api::LabelSelector wanted, api::LabelSelector::parse(selector));
    std::vector<PodUsage> out;
    for (const PodPtr& p : pods_.list(ns))
      if (wanted.matches(p->metadata.labels) && p->status.phase != "Succeeded") out.push_back({p, {}});
    api::ListOptions options;
    options.label_selector = selector;
    auto page = co_await client_.list({"metrics.k8s.io", "v1beta1", "pods"}, ns, std::move(options));
    if (!page) co_return out;  // no figures of any pod: the metrics say so
    for (const api::Bytes& b : page->items) {
      CO_TRY(json::value m, base::parse_json(*b));
      auto it = std::find_if(out.begin(), out.end(),
                             [&](const PodUsage& p) { return p.pod->metadata.name == base::get_string(m, "metadata.name"); });
      const json::array* containers = base::find_array(m, "containers");
      if (it == out.end() || !containers) continue;
      auto& figures = it->containers.emplace();
      for (const json::value& c : *containers)
        if (const json::object* usage = base::find_object(c, "usage"))
          for (const auto& [resource, q] : *usage)
            if (q.is_string()) figures[std::string(base::get_string(c, "name"))][std::string(resource)] = api::Quantity::of(q.get_string());
    }
    co_return out;
  }

  api::Informer<Autoscaler>& autoscalers_;
  api::Informer<core::Pod>& pods_;
  Kinds kinds_;
  std::mutex mutex_;
  std::map<std::string, ScalingHistory> history_;  // guarded by mutex_
};

}  // namespace

Made make_autoscaler(Context& c) { return std::make_unique<Autoscalers>(c); }

}  // namespace server::controllers
