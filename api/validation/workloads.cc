// ReplicationControllers and the kinds of apps.
#include <algorithm>
#include <set>

#include "api/selector.h"
#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void check_selector(Checker& c, const object& spec, std::string_view what) {
  if (!has(spec, "selector")) return;  // the schema says that it is required
  const object& selector = map(spec, "selector");
  if (map(selector, "matchLabels").empty() && list(selector, "matchExpressions").empty()) {
    c.invalid("spec.selector", value(selector), fmt::format("empty selector is invalid for {}", what));
    return;
  }
  auto s = LabelSelector::of_json(value(selector));
  const object& labels = map(map(map(spec, "template"), "metadata"), "labels");
  if (s && !s->matches(labels)) c.invalid("spec.template.metadata.labels", value(labels), "`selector` does not match template `labels`");
}

bool is_zero(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v && ((v->is_int64() && v->get_int64() == 0) || as_text(*v) == "0%");
}

// A number, or a percentage that may be more than 100%.
void check_surge(Checker& c, const object& o, const std::string& path) {
  const value* v = o.if_contains("maxSurge");
  if (!v) return;
  if (v->is_int64()) return c.non_negative(o, "maxSurge", path);
  object as_percent{{"maxSurge", *v}};
  Checker other;
  check_count(other, as_percent, "maxSurge", path);
  for (base::Cause& cause : other.causes) {
    if (cause.message.find("100%") == std::string::npos || cause.message.find("regex") != std::string::npos)
      c.causes.push_back(std::move(cause));
  }
}

void deployment(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  check_selector(c, spec, "deployment");
  if (has(spec, "template")) check_pod_template(c, spec, "spec.template", {.restart_policies = {"Always"}, .no_deadline_in = "ReplicaSet"});
  const object& strategy = map(spec, "strategy");
  const object& rolling = map(strategy, "rollingUpdate");
  std::string at = "spec.strategy.rollingUpdate";
  if (text(strategy, "type") == "Recreate" && has(strategy, "rollingUpdate")) {
    c.forbidden(at, "may not be specified when strategy `type` is 'Recreate'");
  }
  check_count(c, rolling, "maxUnavailable", at);
  check_surge(c, rolling, at);
  if (is_zero(rolling, "maxUnavailable") && is_zero(rolling, "maxSurge")) {
    c.invalid(at + ".maxUnavailable", *rolling.if_contains("maxUnavailable"), "may not be 0 when `maxSurge` is 0");
  }
  const value* deadline = spec.if_contains("progressDeadlineSeconds");
  if (deadline && deadline->is_int64() && deadline->get_int64() >= 0 && deadline->get_int64() <= number(spec, "minReadySeconds")) {
    c.invalid("spec.progressDeadlineSeconds", *deadline, "must be greater than minReadySeconds");
  }
}

// Counts of a status that cannot be more than others.
void not_more(Checker& c, const object& status, std::string_view less, std::string_view more) {
  if (number(status, less) > number(status, more)) {
    c.invalid(fmt::format("status.{}", less), value(number(status, less)),
              fmt::format("cannot be greater than {}", more == "replicas" ? "status.replicas" : more));
  }
}

void deployment_status(Checker& c, const object& before, const object& o) {
  const object& s = map(o, "status");
  for (std::string_view n : {"updatedReplicas", "readyReplicas", "availableReplicas"}) not_more(c, s, n, "replicas");
  not_more(c, s, "availableReplicas", "readyReplicas");
  if (number(s, "collisionCount") < number(map(before, "status"), "collisionCount")) {
    c.invalid("status.collisionCount", value(number(s, "collisionCount")), "cannot be decremented");
  }
}

void replica_status(Checker& c, const object&, const object& o) {
  const object& s = map(o, "status");
  for (std::string_view n : {"fullyLabeledReplicas", "readyReplicas", "availableReplicas"}) not_more(c, s, n, "replicas");
  not_more(c, s, "availableReplicas", "readyReplicas");
}

void stateful_set_status(Checker& c, const object& before, const object& o) {
  const object& s = map(o, "status");
  for (std::string_view n : {"readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"}) not_more(c, s, n, "replicas");
  not_more(c, s, "availableReplicas", "readyReplicas");
  if (number(s, "collisionCount") < number(map(before, "status"), "collisionCount")) {
    c.invalid("status.collisionCount", value(number(s, "collisionCount")), "cannot be decremented");
  }
}

void replica_set(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  check_selector(c, spec, "deployment");
  check_pod_template(c, spec, "spec.template", {.restart_policies = {"Always"}, .no_deadline_in = "ReplicaSet"});
}

void replication_controller(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  const object& selector = map(spec, "selector");
  if (selector.empty()) c.required("spec.selector");
  if (!has(spec, "template")) {
    c.required("spec.template");
    return;
  }
  const object& labels = map(map(map(spec, "template"), "metadata"), "labels");
  for (const auto& [key, v] : selector) {
    if (labels.contains(key) && text(labels, key) == as_text(v)) continue;
    c.invalid("spec.template.metadata.labels", value(labels), "`selector` does not match template `labels`");
    break;
  }
  check_pod_template(c, spec, "spec.template", {.restart_policies = {"Always"}, .no_deadline_in = "ReplicationController"});
}

// The spec as its pods will be: claims become volumes of their template, in place of those with the same name.
object with_claims(const object& spec) {
  object out = spec;
  const array& claims = list(spec, "volumeClaimTemplates");
  if (claims.empty() || !has(map(spec, "template"), "spec")) return out;
  array volumes;
  std::set<std::string> names;
  for (const value& claim : claims) {
    std::string name(text(map(as_object(claim), "metadata"), "name"));
    volumes.push_back(object{{"name", name}, {"persistentVolumeClaim", object{{"claimName", name}}}});
    names.insert(std::move(name));
  }
  for (const value& v : list(map(map(spec, "template"), "spec"), "volumes"))
    if (!names.contains(std::string(text(as_object(v), "name")))) volumes.push_back(v);
  out["template"].as_object()["spec"].as_object()["volumes"] = std::move(volumes);
  return out;
}

void stateful_set(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  check_selector(c, spec, "statefulset");
  if (has(spec, "template"))
    check_pod_template(c, with_claims(spec), "spec.template", {.restart_policies = {"Always"}, .no_deadline_in = "StatefulSet"});
  const object& strategy = map(spec, "updateStrategy");
  if (text(strategy, "type") == "OnDelete" && has(strategy, "rollingUpdate")) {
    c.invalid("spec.updateStrategy.rollingUpdate", *strategy.if_contains("rollingUpdate"),
              "only allowed for updateStrategy 'RollingUpdate'");
  }
  const object& rolling = map(strategy, "rollingUpdate");
  check_count(c, rolling, "maxUnavailable", "spec.updateStrategy.rollingUpdate");
  if (is_zero(rolling, "maxUnavailable")) {
    c.invalid("spec.updateStrategy.rollingUpdate.maxUnavailable", *rolling.if_contains("maxUnavailable"), "cannot be 0");
  }
  if (!before) {
    const array& claims = list(spec, "volumeClaimTemplates");
    for (size_t i = 0; i < claims.size(); ++i) {
      check_claim_spec(c, map(as_object(claims[i]), "spec"), fmt::format("spec.volumeClaimTemplates[{}].spec", i), true);
    }
    return;
  }
  object then = map(*before, "spec"), now = spec;
  for (std::string_view n : {"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
                             "persistentVolumeClaimRetentionPolicy", "minReadySeconds"}) {
    then.erase(n);
    now.erase(n);
  }
  if (then != now) {
    c.forbidden(
        "spec",
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
        "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
  }
}

void daemon_set(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  check_selector(c, spec, "daemonset");
  if (has(spec, "template")) check_pod_template(c, spec, "spec.template", {.restart_policies = {"Always"}, .no_deadline_in = "DaemonSet"});
  const object& strategy = map(spec, "updateStrategy");
  if (text(strategy, "type") != "RollingUpdate") return;
  const object& rolling = map(strategy, "rollingUpdate");
  std::string at = "spec.updateStrategy.rollingUpdate";
  if (!has(strategy, "rollingUpdate")) {
    c.required(at);
    return;
  }
  check_count(c, rolling, "maxUnavailable", at);
  check_surge(c, rolling, at);
  bool down = !is_zero(rolling, "maxUnavailable"), up = has(rolling, "maxSurge") && !is_zero(rolling, "maxSurge");
  if (down && up) c.invalid(at, value(rolling), "maxSurge may not be set when maxUnavailable is non-zero");
  if (!down && !up) c.required(at + ".maxUnavailable", "cannot be 0 when maxSurge is 0");
}

void controller_revision(Checker& c, const object* before, const object& o) {
  if (!before && !has(o, "data")) c.required("data", "data is mandatory");
  else if (has(o, "data") && !o.at("data").is_object()) c.invalid("data", o.at("data"), "data is invalid");
}

constexpr KindRule kind_rules[] = {
    {"", "ReplicationController", replication_controller, replica_status},
    {"apps", "Deployment", deployment, deployment_status},
    {"apps", "ReplicaSet", replica_set, replica_status},
    {"apps", "StatefulSet", stateful_set, stateful_set_status},
    {"apps", "DaemonSet", daemon_set},
    {"apps", "ControllerRevision", controller_revision},
};

}  // namespace

std::span<const KindRule> workload_rules() { return kind_rules; }

void check_count(Checker& c, const object& o, std::string_view name, const std::string& path) {
  const value* v = o.if_contains(name);
  if (!v || v->is_null()) return;
  std::string at = fmt::format("{}.{}", path, name);
  if (v->is_int64()) {
    if (v->get_int64() < 0) c.invalid(at, *v, "must be greater than or equal to 0");
    return;
  }
  std::string_view s = as_text(*v);
  bool percent = s.size() > 1 && s.back() == '%' && std::all_of(s.begin(), s.end() - 1, [](char d) { return d >= '0' && d <= '9'; });
  if (!percent) {
    c.invalid(
        at, *v,
        "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is "
        "'[0-9]+%')");
  } else if (s.size() > 4 || (s.size() == 4 && s != "100%")) {
    c.invalid(at, *v, "must not be greater than 100%");
  }
}

}  // namespace api::validation
