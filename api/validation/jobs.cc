// Jobs and CronJobs.
#include <algorithm>
#include <charconv>
#include <set>

#include "api/selector.h"
#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

// "1,3-5,7": the number of indexes below `most`, or -1 when it is no such list.
int64_t count_indexes(std::string_view s, int64_t most) {
  int64_t count = 0, last = -1;
  while (!s.empty()) {
    size_t comma = s.find(',');
    std::string_view part = s.substr(0, comma);
    s = comma == std::string_view::npos ? std::string_view() : s.substr(comma + 1);
    size_t dash = part.find('-');
    auto parse = [](std::string_view t, int64_t& n) {
      auto [end, ec] = std::from_chars(t.data(), t.data() + t.size(), n);
      return ec == std::errc() && end == t.data() + t.size() && !t.empty();
    };
    int64_t from = 0, to = 0;
    if (!parse(part.substr(0, dash), from)) return -1;
    to = from;
    if (dash != std::string_view::npos && !parse(part.substr(dash + 1), to)) return -1;
    if (from <= last || to < from || to >= most || (dash != std::string_view::npos && to == from)) return -1;
    last = to;
    count += to - from + 1;
  }
  return count;
}

void check_exit_codes(Checker& c, const object& o, const std::string& path, const object& pod) {
  std::string_view container = text(o, "containerName");
  if (has(o, "containerName")) {
    bool known = false;
    for (std::string_view member : {"containers", "initContainers"}) {
      for (const value& v : list(pod, member)) known |= text(as_object(v), "name") == container;
    }
    if (!known)
      c.invalid_text(path + ".containerName", container, "must be one of the container or initContainer names in the pod template");
  }
  const array& values = list(o, "values");
  if (values.size() > 255) c.too_many(path + ".values", values.size(), 255);
  std::set<int64_t> seen;
  bool ordered = true;
  int64_t last = INT64_MIN;
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t n = values[i].is_int64() ? values[i].get_int64() : 0;
    std::string at = fmt::format("{}.values[{}]", path, i);
    if (n == 0 && text(o, "operator") == "In") c.invalid(at, values[i], "must not be 0 for the In operator");
    else if (!seen.insert(n).second) c.duplicate(at, values[i]);
    ordered &= n >= last;
    last = n;
  }
  if (!ordered) c.invalid(path + ".values", value(values), "must be ordered");
}

void check_failure_policy(Checker& c, const object& spec, const std::string& path) {
  const object& policy = map(spec, "podFailurePolicy");
  const array& rules = list(policy, "rules");
  for (size_t i = 0; i < rules.size(); ++i) {
    const object& r = as_object(rules[i]);
    std::string at = fmt::format("{}.rules[{}]", path, i);
    if (text(r, "action") == "FailIndex" && !has(spec, "backoffLimitPerIndex")) {
      c.invalid_text(at + ".action", "FailIndex", "requires the backoffLimitPerIndex to be set");
    }
    bool codes = has(r, "onExitCodes"), conditions = !list(r, "onPodConditions").empty();
    if (codes && conditions) c.invalid(at, rules[i], "specifying both OnExitCodes and OnPodConditions is not supported");
    if (!codes && !conditions) c.invalid(at, rules[i], "specifying one of OnExitCodes and OnPodConditions is required");
    if (codes) check_exit_codes(c, map(r, "onExitCodes"), at + ".onExitCodes", map(map(spec, "template"), "spec"));
  }
}

void check_success_policy(Checker& c, const object& spec, const std::string& path) {
  if (text(spec, "completionMode") != "Indexed") {
    c.invalid(path, *spec.if_contains("successPolicy"), "requires indexed completion mode");
    return;
  }
  int64_t completions = number(spec, "completions");
  const array& rules = list(map(spec, "successPolicy"), "rules");
  for (size_t i = 0; i < rules.size(); ++i) {
    const object& r = as_object(rules[i]);
    std::string at = fmt::format("{}.rules[{}]", path, i);
    bool has_count = has(r, "succeededCount"), has_indexes = has(r, "succeededIndexes");
    if (!has_count && !has_indexes) c.required(at, "at least one of succeededCount or succeededIndexes must be specified");
    int64_t total = -1;
    if (has_indexes) {
      std::string_view indexes = text(r, "succeededIndexes");
      total = count_indexes(indexes, completions);
      if (indexes.size() > 64 * 1024) c.too_long(at + ".succeededIndexes", 64 * 1024);
      else if (total < 0)
        c.invalid_text(at + ".succeededIndexes", indexes,
                       "error parsing succeededIndexes: must be ordered intervals of indexes below the number of completions");
    }
    if (!has_count) continue;
    int64_t count = number(r, "succeededCount");
    if (count > completions) {
      c.invalid(at + ".succeededCount", value(count),
                fmt::format("must be less than or equal to {} (the number of specified completions)", completions));
    }
    if (total >= 0 && count > total) {
      c.invalid(at + ".succeededCount", value(count),
                fmt::format("must be less than or equal to {} (the number of indexes in the specified succeededIndexes field)", total));
    }
  }
}

void check_job_spec(Checker& c, const object& spec, const std::string& path) {
  constexpr int64_t most_parallel = 100000;
  const bool indexed = text(spec, "completionMode") == "Indexed";
  if (indexed) {
    if (!has(spec, "completions")) c.required(path + ".completions", "when completion mode is Indexed");
    if (number(spec, "parallelism") > most_parallel) {
      c.invalid(path + ".parallelism", *spec.if_contains("parallelism"),
                fmt::format("must be less than or equal to {} when completion mode is Indexed", most_parallel));
    }
    if (has(spec, "maxFailedIndexes") && number(spec, "maxFailedIndexes") > number(spec, "completions")) {
      c.invalid(path + ".maxFailedIndexes", *spec.if_contains("maxFailedIndexes"), "must be less than or equal to completions");
    }
    if (has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex")) {
      c.required(path + ".backoffLimitPerIndex", "when maxFailedIndexes is specified");
    }
  } else {
    for (std::string_view n : {"backoffLimitPerIndex", "maxFailedIndexes"}) {
      if (const value* v = spec.if_contains(n)) c.invalid(fmt::format("{}.{}", path, n), *v, "requires indexed completion mode");
    }
  }
  if (std::string_view by = text(spec, "managedBy"); !by.empty() && by.size() <= 63)
    c.check_text(path + ".managedBy", by, check_domain_path(by));
  if (has(spec, "podFailurePolicy")) {
    check_failure_policy(c, spec, path + ".podFailurePolicy");
    if (text(spec, "podReplacementPolicy") == "TerminatingOrFailed")
      c.unsupported(path + ".podReplacementPolicy", "TerminatingOrFailed", {"Failed"});
  }
  if (has(spec, "successPolicy")) check_success_policy(c, spec, path + ".successPolicy");
  if (!has(spec, "template")) return;
  check_pod_template(c, spec, path + ".template", {});
  std::string_view restart = text(map(map(spec, "template"), "spec"), "restartPolicy");
  std::string at = path + ".template.spec.restartPolicy";
  if (restart != "OnFailure" && restart != "Never") c.required(at, "valid values: \"OnFailure\", \"Never\"");
  else if (has(spec, "podFailurePolicy") && restart != "Never")
    c.invalid_text(at, restart, "only \"Never\" is supported when podFailurePolicy is specified");
}

// What the scheduling of a job that waits may still be given.
object without_scheduling(object t) {
  if (value* meta = t.if_contains("metadata"); meta && meta->is_object()) {
    meta->get_object().erase("labels");
    meta->get_object().erase("annotations");
  }
  if (value* spec = t.if_contains("spec"); spec && spec->is_object()) {
    object& s = spec->get_object();
    s.erase("nodeSelector");
    s.erase("tolerations");
    s.erase("schedulingGates");
    if (value* affinity = s.if_contains("affinity"); affinity && affinity->is_object()) {
      affinity->get_object().erase("nodeAffinity");
      if (affinity->get_object().empty()) s.erase("affinity");
    }
  }
  return t;
}

void job(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  check_job_spec(c, spec, "spec");
  if (has(spec, "selector")) {
    auto s = LabelSelector::of_json(*spec.if_contains("selector"));
    const object& labels = map(map(map(spec, "template"), "metadata"), "labels");
    if (s && !s->matches(labels)) c.invalid("spec.template.metadata.labels", value(labels), "`selector` does not match template `labels`");
  }
  std::string_view name = text(map(o, "metadata"), "name");
  if (!before && text(spec, "completionMode") == "Indexed" && has(spec, "completions")) {
    size_t suffix = 1 + std::to_string(std::max<int64_t>(number(spec, "completions") - 1, 0)).size();
    if (name.size() + suffix > 63) {
      c.invalid_text("metadata.name", name,
                     fmt::format("will not able to create pod with invalid DNS label: {}-{}", name, number(spec, "completions") - 1));
    }
  }
  if (!before) return;
  const object& then = map(*before, "spec");
  const bool waiting = flag(then, "suspend") && !has(map(*before, "status"), "startTime");
  object was = map(then, "template"), is = map(spec, "template");
  if (waiting) {
    was = without_scheduling(std::move(was));
    is = without_scheduling(std::move(is));
  }
  if (was != is) c.invalid("spec.template", value(map(spec, "template")), "field is immutable");
  const bool indexed = text(spec, "completionMode") == "Indexed";
  if (same(then, spec, "completions")) return;
  bool together = number(spec, "completions") == number(spec, "parallelism") && has(spec, "completions") && has(then, "completions");
  if (!indexed) c.immutable(then, spec, "completions", "spec.completions");
  else if (!together) {
    c.invalid("spec.completions", has(spec, "completions") ? *spec.if_contains("completions") : value(),
              fmt::format("can only be modified in tandem with spec.parallelism"));
  }
}

void cron_job(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  std::string_view name = text(map(o, "metadata"), "name");
  if (!before && name.size() > 52) c.invalid_text("metadata.name", name, "must be no more than 52 characters");
  if (std::string_view s = text(spec, "schedule"); !s.empty()) c.check_text("spec.schedule", s, check_cron(s));
  if (const value* zone = spec.if_contains("timeZone"); zone && zone->is_string()) {
    std::string_view z = zone->get_string();
    if (z.empty()) c.invalid_text("spec.timeZone", z, "timeZone must be nil or non-empty string");
    else c.check_text("spec.timeZone", z, check_time_zone(z));
  }
  const object& job = map(map(spec, "jobTemplate"), "spec");
  std::string at = "spec.jobTemplate.spec";
  if (has(job, "selector")) c.invalid(at + ".selector", *job.if_contains("selector"), "`selector` will be auto-generated");
  if (flag(job, "manualSelector")) c.unsupported(at + ".manualSelector", "true", {"nil", "false"});
  if (has(spec, "jobTemplate")) {
    if (!has(job, "template")) {
      if (!has(map(spec, "jobTemplate"), "spec")) c.required(at + ".template.spec.containers");
      return;
    }
    check_job_spec(c, job, at);
  }
}

constexpr KindRule kind_rules[] = {{"batch", "Job", job}, {"batch", "CronJob", cron_job}};

}  // namespace

std::span<const KindRule> job_rules() { return kind_rules; }

}  // namespace api::validation
