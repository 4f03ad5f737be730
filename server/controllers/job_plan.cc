#include <charconv>
#include <set>

#include <fmt/format.h>

#include "server/controllers/job.h"

namespace server::controllers {
namespace {

namespace batch = api::batch;
namespace core = api::core;
using std::chrono::seconds;

constexpr const char* index_key = "batch.kubernetes.io/job-completion-index";
constexpr const char* failures_key = "batch.kubernetes.io/job-index-failure-count";  // failures of the index before this pod

core::Pod job_pod(const batch::Job& job, std::optional<int32_t> index) {
  core::Pod pod = pod_from_template(job.spec.template_, job.metadata.namespace_, controller_reference(job));
  auto& labels = pod.metadata.labels;
  for (const char* prefix : {"", "batch.kubernetes.io/"}) {
    labels[std::string(prefix) + "controller-uid"] = job.metadata.uid;
    labels[std::string(prefix) + "job-name"] = job.metadata.name;
  }
  if (!index) return pod;
  const std::string text = std::to_string(*index);
  labels[index_key] = text;
  pod.metadata.annotations[index_key] = text;
  pod.spec.hostname = job.metadata.name.substr(0, 63 - 1 - text.size()) + "-" + text;
  pod.metadata.generateName = job.metadata.name.substr(0, 56 - text.size()) + "-" + text + "-";
  auto add = [&](auto& containers) {
    for (auto& c : containers) {
      if (std::any_of(c.env.begin(), c.env.end(), [](const core::EnvVar& e) { return e.name == "JOB_COMPLETION_INDEX"; })) continue;
      core::EnvVar e;
      e.name = "JOB_COMPLETION_INDEX";
      e.valueFrom.emplace().fieldRef.emplace().fieldPath = std::string("metadata.labels['") + index_key + "']";
      c.env.push_back(std::move(e));
    }
  };
  add(pod.spec.containers);
  add(pod.spec.initContainers);
  return pod;
}

WallTime finished_at(const core::Pod& p) {
  WallTime out;
  for (const auto& c : p.status.containerStatuses)
    if (c.state && c.state->terminated) out = std::max(out, time_of(c.state->terminated->finishedAt));
  return out == WallTime{} ? time_of(p.metadata.creationTimestamp) : out;
}

int32_t number_of(const std::string& text) {
  int32_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

int32_t opt(const std::optional<int32_t>& v) { return v.value_or(0); }
std::optional<int32_t> count(size_t n) { return n ? std::optional<int32_t>(int32_t(n)) : std::nullopt; }

class Planner {
 public:
  Planner(const batch::Job& job, const std::vector<PodPtr>& pods, WallTime now)
      : job_(job), now_(now), indexed_(job.spec.completionMode == "Indexed") {
    out_.status = job.status;
    for (const PodPtr& p : pods) {
      if (p->status.phase == "Succeeded") succeeded_.push_back(p);
      else if (p->status.phase == "Failed") judge(p);
      else if (deleting(p->metadata)) ++terminating_;
      else active_.push_back(p);
    }
  }

  JobPlan run() {
    if (job_finished(job_)) return finished();
    if (job_.status.startTime.empty() && !suspended()) out_.status.startTime = base::rfc3339(now_);
    count_pods();
    if (ending() || decide_end()) return std::move(out_);
    if (suspended()) return suspend();
    if (find_condition(job_.status.conditions, "Suspended")) {
      if (set_condition(out_.status.conditions, "Suspended", "False", "JobResumed", "Job resumed", now_))
        out_.status.startTime = base::rfc3339(now_);
    }
    fill();
    write_counts();
    return std::move(out_);
  }

 private:
  struct Attempts {
    int32_t failures = 0;
    WallTime last;
  };

  void judge(const PodPtr& p) {
    Verdict v = judge_failure(job_, *p);
    if (v.action == FailureAction::fail_job && verdict_.empty()) verdict_ = v.message;
    if (v.action != FailureAction::ignore) failed_.push_back(p);
    auto index = completion_index(*p);
    if (!job_.spec.backoffLimitPerIndex || !index) return;
    const int32_t before = number_of(annotation(p->metadata, failures_key));
    Attempts& a = attempts_[*index];
    a.failures = std::max(a.failures, before + (v.action == FailureAction::ignore ? 0 : 1));
    a.last = std::max(a.last, finished_at(*p));
    if (v.action == FailureAction::fail_index || a.failures > *job_.spec.backoffLimitPerIndex) failed_indexes_.insert(*index);
  }

  bool suspended() const { return job_.spec.suspend.value_or(false); }

  void again(base::WallClock::duration d) { out_.again = std::min(out_.again.value_or(d), d); }

  JobPlan finished() {
    out_.remove = active_;
    for (const char* type : {"Complete", "Failed"}) {
      const auto* c = find_condition(job_.status.conditions, type);
      if (!c || c->status != "True" || !job_.spec.ttlSecondsAfterFinished) continue;
      auto end = time_of(c->lastTransitionTime) + seconds(*job_.spec.ttlSecondsAfterFinished);
      if (end <= now_) out_.expired = true;
      else again(end - now_);
    }
    return std::move(out_);
  }

  void count_pods() {
    const int32_t indexes = opt(job_.spec.completions);
    if (indexed_) done_ = parse_indexes(job_.status.completedIndexes, indexes);
    if (job_.spec.backoffLimitPerIndex) failed_indexes_.merge(parse_indexes(job_.status.failedIndexes, indexes));
    for (const PodPtr& p : succeeded_)
      if (auto i = completion_index(*p); i && *i < indexes) done_.insert(*i);
    std::erase_if(failed_indexes_, [&](int32_t i) { return i >= indexes || done_.contains(i); });
    // A pod that was counted once may have been removed since.
    succeeded_count_ = indexed_ ? done_.size() : std::max(succeeded_.size(), size_t(opt(job_.status.succeeded)));
    failed_count_ = std::max(failed_.size(), size_t(opt(job_.status.failed)));
  }

  void write_counts() {
    auto& s = out_.status;
    s.active = count(active_.size() + out_.create.size() - out_.remove.size());
    s.succeeded = count(succeeded_count_);
    s.failed = count(failed_count_);
    s.terminating = int32_t(terminating_ + out_.remove.size());
    int32_t ready = 0;
    for (const PodPtr& p : active_) ready += pod_ready(*p) ? 1 : 0;
    s.ready = ready;
    if (indexed_) s.completedIndexes = index_ranges({done_.begin(), done_.end()});
    if (job_.spec.backoffLimitPerIndex) s.failedIndexes = index_ranges({failed_indexes_.begin(), failed_indexes_.end()});
  }

  // The decision comes first, the end when no pod is left (KEP-3998).
  void end(bool good, const std::string& reason, std::string message) {
    set_condition(out_.status.conditions, good ? "SuccessCriteriaMet" : "FailureTarget", "True", reason, message, now_);
    out_.remove = active_;
    failed_count_ += good ? 0 : active_.size();
    write_counts();
    out_.status.active.reset();
    out_.status.ready = 0;
    if (out_.status.terminating > 0) return;
    set_condition(out_.status.conditions, good ? "Complete" : "Failed", "True", reason, std::move(message), now_);
    if (good) out_.status.completionTime = base::rfc3339(now_);
    if (job_.spec.ttlSecondsAfterFinished) again(seconds(*job_.spec.ttlSecondsAfterFinished));
  }

  // A decision that was made before, and whose pods may have gone by now.
  bool ending() {
    for (bool good : {true, false}) {
      const auto* c = find_condition(job_.status.conditions, good ? "SuccessCriteriaMet" : "FailureTarget");
      if (!c || c->status != "True") continue;
      end(good, c->reason, c->message);
      return true;
    }
    return false;
  }

  bool decide_end() {
    const auto& spec = job_.spec;
    if (!verdict_.empty()) {
      end(false, "PodFailurePolicy", verdict_);
      return true;
    }
    if (failed_count_ > size_t(spec.backoffLimit.value_or(6)) || restarts() > spec.backoffLimit.value_or(6)) {
      end(false, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
      return true;
    }
    if (spec.activeDeadlineSeconds && !out_.status.startTime.empty() && !suspended()) {
      auto deadline = time_of(out_.status.startTime) + seconds(*spec.activeDeadlineSeconds);
      if (deadline <= now_) {
        end(false, "DeadlineExceeded", "Job was active longer than specified deadline");
        return true;
      }
      again(deadline - now_);
    }
    if (spec.backoffLimitPerIndex) {
      if (spec.maxFailedIndexes && failed_indexes_.size() > size_t(*spec.maxFailedIndexes)) {
        end(false, "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes");
        return true;
      }
      if (!failed_indexes_.empty() && failed_indexes_.size() + done_.size() >= size_t(opt(spec.completions))) {
        end(false, "FailedIndexes", "Job has failed indexes");
        return true;
      }
    }
    if (auto rule = satisfied_rule(job_, done_)) {
      end(true, "SuccessPolicy", fmt::format("Matched rules at index {}", *rule));
      return true;
    }
    bool complete =
        spec.completions ? succeeded_count_ >= size_t(*spec.completions) : succeeded_count_ > 0 && active_.empty() && terminating_ == 0;
    if (complete) end(true, "CompletionsReached", "Reached expected number of succeeded pods");
    return complete;
  }

  // With restartPolicy OnFailure it is the containers' restarts that count.
  int32_t restarts() const {
    if (job_.spec.template_.spec.restartPolicy != "OnFailure") return 0;
    int32_t n = 0;
    for (const PodPtr& p : active_)
      for (const auto& c : p->status.containerStatuses) n += c.restartCount;
    return n;
  }

  JobPlan suspend() {
    out_.remove = active_;
    set_condition(out_.status.conditions, "Suspended", "True", "JobSuspended", "Job suspended", now_);
    out_.status.startTime.clear();
    write_counts();
    return std::move(out_);
  }

  void fill() {
    const auto parallelism = size_t(std::max(0, job_.spec.parallelism.value_or(1)));
    size_t want = parallelism;
    if (job_.spec.completions) {
      size_t left = size_t(*job_.spec.completions) - std::min(succeeded_count_ + failed_indexes_.size(), size_t(*job_.spec.completions));
      want = std::min(want, left);
    } else if (succeeded_count_ > 0) {
      want = std::min(want, active_.size());  // one success stops new starts
    }
    if (active_.size() > want) {
      std::vector<PodPtr> order = active_;
      std::sort(order.begin(), order.end(), [](const PodPtr& a, const PodPtr& b) {
        return std::pair(pod_ready(*a), b->metadata.creationTimestamp) < std::pair(pod_ready(*b), a->metadata.creationTimestamp);
      });
      out_.remove.assign(order.begin(), order.begin() + ptrdiff_t(active_.size() - want));
      return;
    }
    // Where pods are replaced only once they have failed, those that are ending count.
    const size_t there = active_.size() + (job_.spec.podReplacementPolicy == "Failed" ? terminating_ : 0);
    size_t missing = want - std::min(want, there);
    if (missing == 0) return;
    if (job_.spec.backoffLimitPerIndex) return fill_indexes(missing);
    if (auto wait = back_off(); wait > base::WallClock::duration::zero()) return again(wait);
    missing = std::min<size_t>(missing, 500);
    if (!indexed_) {
      out_.create.assign(missing, job_pod(job_, std::nullopt));
      return;
    }
    fill_indexes(missing);
  }

  // The lowest free indexes; one that has failed before waits for itself alone when failures are counted by index.
  void fill_indexes(size_t missing) {
    std::set<int32_t> taken = done_;
    taken.insert(failed_indexes_.begin(), failed_indexes_.end());
    for (const PodPtr& p : active_)
      if (auto i = completion_index(*p)) taken.insert(*i);
    for (int32_t i = 0; i < job_.spec.completions.value_or(0) && out_.create.size() < missing; ++i) {
      if (taken.contains(i)) continue;
      auto tried = attempts_.find(i);
      if (tried != attempts_.end() && tried->second.failures > 0)
        if (auto wait = tried->second.last + delay_after(tried->second.failures) - now_; wait > wait.zero()) {
          again(wait);
          continue;
        }
      out_.create.push_back(job_pod(job_, i));
      if (job_.spec.backoffLimitPerIndex)
        out_.create.back().metadata.annotations[failures_key] = std::to_string(tried == attempts_.end() ? 0 : tried->second.failures);
    }
  }

  static seconds delay_after(int failures) { return std::min<seconds>(seconds(10) * (1 << std::min(failures - 1, 10)), seconds(600)); }

  // 10 s after the first failure since the last success, doubling up to ten minutes.
  base::WallClock::duration back_off() const {
    WallTime last_success, last_failure;
    for (const PodPtr& p : succeeded_) last_success = std::max(last_success, finished_at(*p));
    int n = 0;
    for (const PodPtr& p : failed_) {
      auto t = finished_at(*p);
      if (t < last_success) continue;
      ++n;
      last_failure = std::max(last_failure, t);
    }
    if (n == 0) return {};
    return last_failure + delay_after(n) - now_;
  }

  const batch::Job& job_;
  const WallTime now_;
  const bool indexed_;
  std::vector<PodPtr> active_, succeeded_, failed_;
  size_t terminating_ = 0, succeeded_count_ = 0, failed_count_ = 0;
  std::set<int32_t> done_, failed_indexes_;
  std::map<int32_t, Attempts> attempts_;  // by index, where failures are counted by index
  std::string verdict_;                   // why a failed pod fails the Job
  JobPlan out_;
};

}  // namespace

bool job_finished(const batch::Job& job) {
  for (const auto& c : job.status.conditions)
    if ((c.type == "Complete" || c.type == "Failed") && c.status == "True") return true;
  return false;
}

std::string index_ranges(const std::vector<int32_t>& sorted) {
  std::string out;
  for (size_t i = 0; i < sorted.size();) {
    size_t j = i;
    while (j + 1 < sorted.size() && sorted[j + 1] == sorted[j] + 1) ++j;
    if (!out.empty()) out += ",";
    out += std::to_string(sorted[i]);
    if (j > i) out += (j == i + 1 ? "," : "-") + std::to_string(sorted[j]);
    i = j + 1;
  }
  return out;
}

std::optional<int32_t> completion_index(const core::Pod& pod) {
  std::string text = annotation(pod.metadata, index_key);
  if (text.empty()) return std::nullopt;
  return number_of(text);
}

JobPlan plan_job(const batch::Job& job, const std::vector<PodPtr>& pods, WallTime now) { return Planner(job, pods, now).run(); }

}  // namespace server::controllers
