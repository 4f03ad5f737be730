#include <charconv>

#include <fmt/format.h>

#include "api/quantity.h"
#include "server/controllers/rollout.h"

namespace server::controllers {

namespace apps = api::apps;

namespace {

// Annotations that say something about the Deployment itself, not about a revision of it.
bool kept_from_sets(const std::string& key) {
  return key == "kubectl.kubernetes.io/last-applied-configuration" || key == revision_annotation || key == desired_annotation ||
         key == most_annotation || key == "deployment.kubernetes.io/revision-history" || key == "deprecated.deployment.rollback.to";
}

class Planner {
 public:
  Planner(const apps::Deployment& d, std::vector<SetPtr> sets, WallTime now)
      : d_(d), sets_(std::move(sets)), now_(now), want_(d.spec.replicas.value_or(1)), posts_(fenceposts(d)) {
    current_ = current_set(d_, sets_);
    for (const SetPtr& s : sets_)
      if (s != current_) old_.push_back(s);
    out_.status = d.status;
  }

  DeploymentPlan run(bool old_pods_run) {
    if (deleting(d_.metadata)) return finish_status(false);
    note_pause();
    const bool paused = d_.spec.paused.value_or(false);
    sync_revision();
    if (paused || resized()) {
      for (const Scale& s : share_replicas(d_, current_, sets_)) scale(s.set, s.replicas);
      if (paused) trim_history();
      return finish_status(false);
    }
    if (d_.spec.strategy && d_.spec.strategy->type == "Recreate") recreate(old_pods_run);
    else roll();
    if (!stepped_ && complete(d_.status)) trim_history();
    return finish_status(true);
  }

 private:
  bool resized() const {
    return std::any_of(sets_.begin(), sets_.end(), [&](const SetPtr& s) {
      auto was = noted(*s, desired_annotation);
      return size_of(*s) > 0 && was && *was != want_;
    });
  }

  void note_pause() {
    if (!d_.spec.progressDeadlineSeconds) return;
    auto& conditions = out_.status.conditions;
    const auto* c = find_condition(conditions, "Progressing");
    if (c && c->reason == "ProgressDeadlineExceeded") return;
    bool paused = d_.spec.paused.value_or(false), noted_pause = c && c->reason == "DeploymentPaused";
    if (paused && !noted_pause) set_condition(conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now_);
    if (!paused && noted_pause) set_condition(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now_);
  }

  SetChange& change(const SetPtr& s) {
    for (SetChange& c : out_.change)
      if (c.set == s) return c;
    out_.change.push_back({s, {}, {}, {}});
    return out_.change.back();
  }
  void annotate(const SetPtr& s, const std::string& key, const std::string& value) {
    if (annotation(s->metadata, key) != value) change(s).annotations[key] = value;
  }
  void scale(const SetPtr& s, int32_t replicas) {
    annotate(s, desired_annotation, std::to_string(want_));
    annotate(s, most_annotation, std::to_string(want_ + posts_.surge));
    if (size_of(*s) == replicas) return;
    change(s).replicas = replicas;
    stepped_ = true;
  }

  void sync_revision() {
    int64_t highest = 0;
    for (const SetPtr& s : old_) highest = std::max(highest, revision_of(s->metadata));
    const std::string next = std::to_string(highest + 1);
    if (!current_) {
      if (d_.spec.paused.value_or(false)) return;
      next_revision_ = next;
      return;
    }
    std::string revision = annotation(current_->metadata, revision_annotation);
    if (revision_of(current_->metadata) < highest + 1) {
      if (!revision.empty()) {
        std::string history = annotation(current_->metadata, "deployment.kubernetes.io/revision-history");
        annotate(current_, "deployment.kubernetes.io/revision-history", history.empty() ? revision : history + "," + revision);
      }
      revision = next;
      annotate(current_, revision_annotation, revision);
    }
    for (const auto& [key, value] : d_.metadata.annotations)
      if (!kept_from_sets(key)) annotate(current_, key, value);
    if (d_.spec.minReadySeconds.value_or(0) != current_->spec.minReadySeconds.value_or(0))
      change(current_).min_ready_seconds = d_.spec.minReadySeconds.value_or(0);
    if (annotation(d_.metadata, revision_annotation) != revision) out_.annotations[revision_annotation] = revision;
    if (d_.spec.progressDeadlineSeconds && !find_condition(out_.status.conditions, "Progressing"))
      set_condition(out_.status.conditions, "Progressing", "True", "FoundNewReplicaSet",
                    fmt::format("Found new replica set \"{}\"", current_->metadata.name), now_);
  }

  void create_current(int32_t replicas) {
    apps::ReplicaSet s;
    std::string hash = template_hash(d_.spec.template_, d_.status.collisionCount);
    s.metadata.name = set_name(d_);
    s.metadata.namespace_ = d_.metadata.namespace_;
    s.metadata.labels = d_.spec.template_.metadata.labels;
    s.metadata.labels["pod-template-hash"] = hash;
    for (const auto& [key, value] : d_.metadata.annotations)
      if (!kept_from_sets(key)) s.metadata.annotations[key] = value;
    s.metadata.annotations[revision_annotation] = next_revision_;
    s.metadata.annotations[desired_annotation] = std::to_string(want_);
    s.metadata.annotations[most_annotation] = std::to_string(want_ + posts_.surge);
    s.metadata.ownerReferences.push_back(controller_reference(d_));
    s.spec.replicas = replicas;
    if (d_.spec.minReadySeconds.value_or(0)) s.spec.minReadySeconds = d_.spec.minReadySeconds;
    s.spec.selector = d_.spec.selector;
    s.spec.selector.matchLabels["pod-template-hash"] = hash;
    s.spec.template_ = d_.spec.template_;
    s.spec.template_.metadata.labels["pod-template-hash"] = hash;
    if (annotation(d_.metadata, revision_annotation) != next_revision_) out_.annotations[revision_annotation] = next_revision_;
    if (d_.spec.progressDeadlineSeconds)
      set_condition(out_.status.conditions, "Progressing", "True", "NewReplicaSetCreated",
                    fmt::format("Created new replica set \"{}\"", s.metadata.name), now_);
    out_.create = std::move(s);
    stepped_ = true;
  }

  void roll() {
    int32_t total = 0;
    for (const SetPtr& s : sets_) total += size_of(*s);
    int32_t size = current_ ? size_of(*current_) : 0;
    int32_t next = next_size_of_new(d_, size, total, posts_.surge);
    if (!current_) create_current(next);
    else if (next != size) scale(current_, next);
    if (stepped_) return;
    for (const Scale& s : shrink_old(d_, current_, old_)) scale(s.set, s.replicas);
  }

  void recreate(bool old_pods_run) {
    for (const SetPtr& s : old_)
      if (size_of(*s) > 0) scale(s, 0);
    if (stepped_ || old_pods_run) return;
    if (!current_) create_current(want_);
    else if (size_of(*current_) != want_) scale(current_, want_);
  }

  void trim_history() {
    if (!d_.spec.revisionHistoryLimit) return;
    std::vector<SetPtr> done;
    for (const SetPtr& s : old_)
      if (size_of(*s) == 0 && s->status.replicas == 0 && !deleting(s->metadata) &&
          s->metadata.generation.value_or(0) <= s->status.observedGeneration.value_or(0))
        done.push_back(s);
    auto limit = size_t(std::max(0, *d_.spec.revisionHistoryLimit));
    if (done.size() <= limit) return;
    std::sort(done.begin(), done.end(),
              [](const SetPtr& a, const SetPtr& b) { return revision_of(a->metadata) < revision_of(b->metadata); });
    out_.remove.assign(done.begin(), done.end() - ptrdiff_t(limit));
  }

  bool complete(const apps::DeploymentStatus& s) const {
    return s.updatedReplicas.value_or(0) == want_ && s.replicas.value_or(0) == want_ && s.availableReplicas.value_or(0) == want_ &&
           s.observedGeneration.value_or(0) >= d_.metadata.generation.value_or(0);
  }

  void count() {
    auto& s = out_.status;
    int32_t specified = 0, replicas = 0, ready = 0, available = 0;
    for (const SetPtr& r : sets_) {
      specified += size_of(*r);
      replicas += r->status.replicas;
      ready += r->status.readyReplicas.value_or(0);
      available += r->status.availableReplicas.value_or(0);
    }
    auto or_absent = [](int32_t n) { return n ? std::optional<int32_t>(n) : std::nullopt; };
    s.observedGeneration = d_.metadata.generation;
    s.replicas = or_absent(replicas);
    s.updatedReplicas = or_absent(current_ ? current_->status.replicas : 0);
    s.readyReplicas = or_absent(ready);
    s.availableReplicas = or_absent(available);
    s.unavailableReplicas = or_absent(std::max(0, specified - available));
    if (available >= want_ - posts_.unavailable)
      set_condition(s.conditions, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now_);
    else
      set_condition(s.conditions, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.",
                    now_);
  }

  DeploymentPlan finish_status(bool rolling_out) {
    count();
    if (rolling_out) judge_progress();
    for (const SetPtr& s : sets_)
      if (const auto* c = find_condition(s->status.conditions, "ReplicaFailure"); c && c->status == "True") {
        set_condition(out_.status.conditions, "ReplicaFailure", "True", c->reason, c->message, now_);
        return std::move(out_);
      }
    if (rolling_out) remove_condition(out_.status.conditions, "ReplicaFailure");
    return std::move(out_);
  }

  void judge_progress() {
    auto& s = out_.status;
    if (!d_.spec.progressDeadlineSeconds || *d_.spec.progressDeadlineSeconds == INT32_MAX)
      return remove_condition(s.conditions, "Progressing");
    const auto* c = find_condition(s.conditions, "Progressing");
    auto n = [](const std::optional<int32_t>& v) { return v.value_or(0); };
    if (c && c->reason == "NewReplicaSetAvailable" && n(s.replicas) == n(s.updatedReplicas) && !out_.create) return;
    const std::string set = current_ ? current_->metadata.name : set_name(d_);
    const auto& was = d_.status;
    bool progressing = n(s.updatedReplicas) > n(was.updatedReplicas) ||
                       n(s.replicas) - n(s.updatedReplicas) < n(was.replicas) - n(was.updatedReplicas) ||
                       n(s.readyReplicas) > n(was.readyReplicas) || n(s.availableReplicas) > n(was.availableReplicas);
    const auto deadline = std::chrono::seconds(*d_.spec.progressDeadlineSeconds);
    if (!stepped_ && complete(s)) {
      set_condition(s.conditions, "Progressing", "True", "NewReplicaSetAvailable",
                    fmt::format("ReplicaSet \"{}\" has successfully progressed.", set), now_);
      return;
    }
    if (progressing) {
      std::string message = fmt::format("ReplicaSet \"{}\" is progressing.", set);
      if (!set_condition(s.conditions, "Progressing", "True", "ReplicaSetUpdated", message, now_))
        for (auto& condition : s.conditions)
          if (condition.type == "Progressing") condition.lastUpdateTime = base::rfc3339(now_);
      out_.again = deadline + std::chrono::seconds(1);
      return;
    }
    if (!c || c->reason == "NewReplicaSetAvailable" || c->reason == "ProgressDeadlineExceeded") return;
    auto end = time_of(c->lastUpdateTime) + deadline;
    if (end < now_)
      set_condition(s.conditions, "Progressing", "False", "ProgressDeadlineExceeded",
                    fmt::format("ReplicaSet \"{}\" has timed out progressing.", set), now_);
    else out_.again = end - now_ + std::chrono::seconds(1);
  }

  const apps::Deployment& d_;
  std::vector<SetPtr> sets_, old_;
  SetPtr current_;
  const WallTime now_;
  const int32_t want_;
  const Fenceposts posts_;
  std::string next_revision_;
  bool stepped_ = false;
  DeploymentPlan out_;
};

}  // namespace

int64_t revision_of(const api::meta::ObjectMeta& m) {
  std::string text = annotation(m, revision_annotation);
  int64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

std::string set_name(const apps::Deployment& d) {
  return d.metadata.name.substr(0, 242) + "-" + template_hash(d.spec.template_, d.status.collisionCount);
}

Fenceposts fenceposts(const apps::Deployment& d) {
  if (d.spec.strategy && d.spec.strategy->type == "Recreate") return {};
  const int32_t want = d.spec.replicas.value_or(1);
  api::IntOrString surge = api::IntOrString::of("25%"), unavailable = surge;
  if (d.spec.strategy && d.spec.strategy->rollingUpdate) {
    const auto& r = *d.spec.strategy->rollingUpdate;
    if (r.maxSurge.has_value()) surge = r.maxSurge;
    if (r.maxUnavailable.has_value()) unavailable = r.maxUnavailable;
  }
  Fenceposts out{api::scaled_value(surge, want, true).value_or(0), api::scaled_value(unavailable, want, false).value_or(0)};
  if (out.surge == 0 && out.unavailable == 0) out.unavailable = 1;
  out.unavailable = std::min(out.unavailable, want);
  return out;
}

SetPtr current_set(const apps::Deployment& d, const std::vector<SetPtr>& sets) {
  SetPtr out;
  for (const SetPtr& s : sets)
    if (same_template(s->spec.template_, d.spec.template_) && (!out || s->metadata.creationTimestamp < out->metadata.creationTimestamp))
      out = s;
  return out;
}

DeploymentPlan plan_deployment(const apps::Deployment& d, std::vector<SetPtr> sets, bool old_pods_run, WallTime now) {
  return Planner(d, std::move(sets), now).run(old_pods_run);
}

}  // namespace server::controllers
