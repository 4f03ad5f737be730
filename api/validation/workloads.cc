// Pods, PodTemplates, ReplicationControllers, apps, batch and autoscaling.
#include <algorithm>

#include "api/selector.h"
#include "api/validate_names.h"
#include "api/validation/checker.h"

namespace api::validation {
namespace {

void check_template(Checker& c, const object& spec, const std::string& path, std::vector<std::string_view> restart_policies) {
  const object& t = map(spec, "template");
  check_labels(c, map(map(t, "metadata"), "labels"), path + ".metadata.labels");
  if (!has(t, "spec")) {
    c.required(path + ".spec.containers");
    return;
  }
  check_pod_spec(c, map(t, "spec"), path + ".spec", {true, std::move(restart_policies)});
}

void check_selector(Checker& c, const object& spec, std::string_view what) {
  if (!has(spec, "selector")) return;  // the schema says that it is required
  const object& selector = map(spec, "selector");
  check_label_selector(c, selector, "spec.selector");
  if (map(selector, "matchLabels").empty() && list(selector, "matchExpressions").empty()) {
    c.invalid("spec.selector", value(selector), fmt::format("empty selector is invalid for {}", what));
    return;
  }
  auto s = LabelSelector::of_json(value(selector));
  const object& labels = map(map(map(spec, "template"), "metadata"), "labels");
  if (s && !s->matches(labels)) c.invalid("spec.template.metadata.labels", value(labels), "`selector` does not match template `labels`");
}

// A count, or a percentage of at most 100%.
void check_count(Checker& c, const object& o, std::string_view name, const std::string& path) {
  const value* v = o.if_contains(name);
  if (!v) return;
  std::string at = fmt::format("{}.{}", path, name);
  if (v->is_int64()) {
    if (v->get_int64() < 0) c.invalid(at, *v, "must be greater than or equal to 0");
    return;
  }
  std::string_view s = as_text(*v);
  bool percent = s.size() > 1 && s.back() == '%' && std::all_of(s.begin(), s.end() - 1, [](char d) { return d >= '0' && d <= '9'; });
  if (!percent) {
    c.invalid(at, *v,
              "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is "
              "'[0-9]+%')");
  } else if (s.size() > 4 || (s.size() == 4 && s != "100%")) {
    c.invalid(at, *v, "must not be greater than 100%");
  }
}

bool is_zero(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v && ((v->is_int64() && v->get_int64() == 0) || as_text(*v) == "0%");
}

void common(Checker& c, const object& spec) {
  for (std::string_view n : {"replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"}) c.non_negative(spec, n, "spec");
}

void deployment(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  common(c, spec);
  check_selector(c, spec, "deployment");
  check_template(c, spec, "spec.template", {"Always"});
  const object& strategy = map(spec, "strategy");
  const object& rolling = map(strategy, "rollingUpdate");
  if (text(strategy, "type") == "Recreate" && has(strategy, "rollingUpdate")) {
    c.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
  }
  check_count(c, rolling, "maxUnavailable", "spec.strategy.rollingUpdate");
  if (const value* surge = rolling.if_contains("maxSurge"); surge && surge->is_int64()) c.non_negative(rolling, "maxSurge", "spec.strategy.rollingUpdate");
  if (is_zero(rolling, "maxUnavailable") && is_zero(rolling, "maxSurge")) {
    c.invalid("spec.strategy.rollingUpdate.maxUnavailable", *rolling.if_contains("maxUnavailable"), "may not be 0 when `maxSurge` is 0");
  }
  if (has(spec, "progressDeadlineSeconds") && number(spec, "progressDeadlineSeconds") <= number(spec, "minReadySeconds")) {
    c.invalid("spec.progressDeadlineSeconds", *spec.if_contains("progressDeadlineSeconds"), "must be greater than minReadySeconds");
  }
  if (before) c.immutable(map(*before, "spec"), spec, "selector", "spec.selector");
}

void replica_set(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  common(c, spec);
  check_selector(c, spec, "deployment");
  check_template(c, spec, "spec.template", {"Always"});
  if (before) c.immutable(map(*before, "spec"), spec, "selector", "spec.selector");
}

void replication_controller(Checker& c, const object& o) {
  const object& spec = map(o, "spec");
  common(c, spec);
  const object& selector = map(spec, "selector");
  if (selector.empty()) c.required("spec.selector");
  if (!has(spec, "template")) {
    c.required("spec.template");
    return;
  }
  const object& labels = map(map(map(spec, "template"), "metadata"), "labels");
  for (const auto& [key, v] : selector) {
    if (text(labels, key) == as_text(v)) continue;
    c.invalid("spec.template.metadata.labels", value(labels), "`selector` does not match template `labels`");
    break;
  }
  check_template(c, spec, "spec.template", {"Always"});
}

void stateful_set(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  common(c, spec);
  check_selector(c, spec, "statefulset");
  check_template(c, spec, "spec.template", {"Always"});
  const object& strategy = map(spec, "updateStrategy");
  if (text(strategy, "type") == "OnDelete" && has(strategy, "rollingUpdate")) {
    c.invalid("spec.updateStrategy.rollingUpdate", *strategy.if_contains("rollingUpdate"), "only allowed for updateStrategy 'RollingUpdate'");
  }
  c.non_negative(map(strategy, "rollingUpdate"), "partition", "spec.updateStrategy.rollingUpdate");
  if (!before) return;
  object then = map(*before, "spec"), now = spec;
  for (std::string_view n : {"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
                             "minReadySeconds"}) {
    then.erase(n);
    now.erase(n);
  }
  if (then != now) {
    c.forbidden("spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
                "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
  }
}

void daemon_set(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  common(c, spec);
  check_selector(c, spec, "daemonset");
  check_template(c, spec, "spec.template", {"Always"});
  const object& rolling = map(map(spec, "updateStrategy"), "rollingUpdate");
  check_count(c, rolling, "maxUnavailable", "spec.updateStrategy.rollingUpdate");
  check_count(c, rolling, "maxSurge", "spec.updateStrategy.rollingUpdate");
  if (is_zero(rolling, "maxUnavailable") && (is_zero(rolling, "maxSurge") || !has(rolling, "maxSurge"))) {
    c.required("spec.updateStrategy.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0");
  }
  if (before) c.immutable(map(*before, "spec"), spec, "selector", "spec.selector");
}

void job_spec(Checker& c, const object& spec, const std::string& path) {
  for (std::string_view n : {"parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimitPerIndex",
                             "maxFailedIndexes"}) {
    c.non_negative(spec, n, path);
  }
  if (text(spec, "completionMode") == "Indexed" && !has(spec, "completions")) {
    c.required(path + ".completions", "when completion mode is Indexed");
  }
  const object& pod = map(map(spec, "template"), "spec");
  if (text(pod, "restartPolicy") == "Always") {
    c.unsupported(path + ".template.spec.restartPolicy", "Always", {"Never", "OnFailure"});
  }
  check_template(c, spec, path + ".template", {});
}

void job(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  job_spec(c, spec, "spec");
  if (has(spec, "selector")) {
    auto s = LabelSelector::of_json(*spec.if_contains("selector"));
    const object& labels = map(map(map(spec, "template"), "metadata"), "labels");
    if (s && !s->matches(labels)) c.invalid("spec.template.metadata.labels", value(labels), "`selector` does not match template `labels`");
  }
  if (!before) return;
  const object& then = map(*before, "spec");
  c.immutable(then, spec, "selector", "spec.selector");
  c.immutable(then, spec, "completionMode", "spec.completionMode");
  c.immutable(then, spec, "podFailurePolicy", "spec.podFailurePolicy");
  c.immutable(then, spec, "backoffLimitPerIndex", "spec.backoffLimitPerIndex");
  c.immutable(then, spec, "managedBy", "spec.managedBy");
  // The scheduling of a job that waits for admission by a queue may still be changed.
  bool waiting = flag(then, "suspend") && !has(map(*before, "status"), "startTime");
  if (!waiting) c.immutable(then, spec, "template", "spec.template");
  bool elastic = text(spec, "completionMode") == "Indexed" && number(spec, "completions") == number(spec, "parallelism");
  if (!elastic) c.immutable(then, spec, "completions", "spec.completions");
}

void cron_job(Checker& c, const object& o) {
  const object& spec = map(o, "spec");
  std::string_view name = text(map(o, "metadata"), "name");
  if (name.size() > 52) c.invalid_text("metadata.name", name, "must be no more than 52 characters");
  if (std::string_view s = text(spec, "schedule"); !s.empty()) c.check_text("spec.schedule", s, check_cron(s));
  for (std::string_view n : {"startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"}) c.non_negative(spec, n, "spec");
  if (std::string_view zone = text(spec, "timeZone"); zone == "Local") {
    c.invalid_text("spec.timeZone", zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
  }
  job_spec(c, map(map(spec, "jobTemplate"), "spec"), "spec.jobTemplate.spec");
}

void autoscaler(Checker& c, const object& o) {
  const object& spec = map(o, "spec");
  int64_t least = number(spec, "minReplicas", 1), most = number(spec, "maxReplicas");
  if (least < 1) c.invalid("spec.minReplicas", value(least), "must be greater than or equal to 1");
  if (most < 1) c.invalid("spec.maxReplicas", value(most), "must be greater than 0");
  if (most < least) c.invalid("spec.maxReplicas", value(most), "must be greater than or equal to `minReplicas`");
}

void disruption_budget(Checker& c, const object& o) {
  const object& spec = map(o, "spec");
  if (has(spec, "minAvailable") && has(spec, "maxUnavailable")) {
    c.invalid("spec", value(spec), "minAvailable and maxUnavailable cannot be both set");
  }
  check_count(c, spec, "minAvailable", "spec");
  check_count(c, spec, "maxUnavailable", "spec");
  check_label_selector(c, map(spec, "selector"), "spec.selector");
}

}  // namespace

bool check_workload(Checker& c, const Kind& kind, const object* before, const object& o) {
  std::string_view g = kind.group, k = kind.kind;
  if (g.empty() && k == "Pod") {
    if (!before) {
      check_pod_spec(c, map(o, "spec"), "spec", {});
      if (!list(map(o, "spec"), "ephemeralContainers").empty()) {
        c.forbidden("spec.ephemeralContainers", "cannot be set on create");
      }
    }
  } else if (g.empty() && k == "PodTemplate") {
    check_template(c, o, "template", {});
  } else if (g.empty() && k == "ReplicationController") {
    replication_controller(c, o);
  } else if (g == "apps" && k == "Deployment") {
    deployment(c, before, o);
  } else if (g == "apps" && k == "ReplicaSet") {
    replica_set(c, before, o);
  } else if (g == "apps" && k == "StatefulSet") {
    stateful_set(c, before, o);
  } else if (g == "apps" && k == "DaemonSet") {
    daemon_set(c, before, o);
  } else if (g == "batch" && k == "Job") {
    job(c, before, o);
  } else if (g == "batch" && k == "CronJob") {
    cron_job(c, o);
  } else if (g == "autoscaling" && k == "HorizontalPodAutoscaler") {
    autoscaler(c, o);
  } else if (g == "policy" && k == "PodDisruptionBudget") {
    disruption_budget(c, o);
  } else {
    return false;
  }
  return true;
}

}  // namespace api::validation
