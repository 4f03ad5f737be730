// The rules of a Job about failed pods and about which successes are enough.
#include <charconv>

#include <fmt/format.h>

#include "server/controllers/job.h"

namespace server::controllers {
namespace {

namespace batch = api::batch;
namespace core = api::core;

// The first container that ended as the rule says.
const core::ContainerStatus* matching_exit(const batch::PodFailurePolicyOnExitCodesRequirement& rule, const core::Pod& pod) {
  for (const auto* statuses : {&pod.status.containerStatuses, &pod.status.initContainerStatuses})
    for (const core::ContainerStatus& s : *statuses) {
      if (!s.state || !s.state->terminated || s.state->terminated->exitCode == 0) continue;
      if (!rule.containerName.empty() && rule.containerName != s.name) continue;
      bool listed = std::find(rule.values.begin(), rule.values.end(), s.state->terminated->exitCode) != rule.values.end();
      if (listed == (rule.operator_ == "In")) return &s;
    }
  return nullptr;
}

const core::PodCondition* matching_condition(const batch::PodFailurePolicyRule& rule, const core::Pod& pod) {
  for (const auto& pattern : rule.onPodConditions)
    if (const auto* c = find_condition(pod.status.conditions, pattern.type);
        c && c->status == (pattern.status.empty() ? "True" : pattern.status))
      return c;
  return nullptr;
}

FailureAction action_of(std::string_view text) {
  if (text == "Ignore") return FailureAction::ignore;
  if (text == "FailIndex") return FailureAction::fail_index;
  return text == "FailJob" ? FailureAction::fail_job : FailureAction::count;
}

}  // namespace

Verdict judge_failure(const batch::Job& job, const core::Pod& pod) {
  if (!job.spec.podFailurePolicy) return {};
  const std::string who = pod.metadata.namespace_ + "/" + pod.metadata.name;
  size_t index = 0;
  for (const auto& rule : job.spec.podFailurePolicy->rules) {
    const size_t i = index++;
    if (rule.onExitCodes) {
      if (const auto* s = matching_exit(*rule.onExitCodes, pod))
        return {action_of(rule.action),
                fmt::format("Container {} for pod {} failed with exit code {} matching {} rule at index {}", s->name, who,
                            s->state->terminated->exitCode, rule.action, i)};
    } else if (const auto* c = matching_condition(rule, pod)) {
      return {action_of(rule.action), fmt::format("Pod {} has condition {} matching {} rule at index {}", who, c->type, rule.action, i)};
    }
  }
  return {};
}

std::optional<size_t> satisfied_rule(const batch::Job& job, const std::set<int32_t>& done) {
  if (!job.spec.successPolicy) return std::nullopt;
  const auto& rules = job.spec.successPolicy->rules;
  for (size_t i = 0; i < rules.size(); ++i) {
    size_t have = done.size(), want = size_t(rules[i].succeededCount.value_or(0));
    if (!rules[i].succeededIndexes.empty()) {
      const std::set<int32_t> listed = parse_indexes(rules[i].succeededIndexes, job.spec.completions.value_or(0));
      have = size_t(std::count_if(listed.begin(), listed.end(), [&](int32_t n) { return done.contains(n); }));
      if (!rules[i].succeededCount) want = listed.size();
    }
    if (have >= want && have > 0) return i;
  }
  return std::nullopt;
}

std::set<int32_t> parse_indexes(std::string_view text, int32_t end) {
  std::set<int32_t> out;
  const char *p = text.data(), *last = p + text.size();
  while (p < last) {
    int32_t from = 0, to = 0;
    auto r = std::from_chars(p, last, from);
    if (r.ec != std::errc()) break;
    to = from;
    if (r.ptr < last && *r.ptr == '-') r = std::from_chars(r.ptr + 1, last, to);
    if (r.ec != std::errc()) break;
    for (int32_t n = from; n <= to && n < end; ++n) out.insert(n);
    p = r.ptr + 1;
  }
  return out;
}

}  // namespace server::controllers
