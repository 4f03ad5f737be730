// Where pods may go: node selectors, affinity, tolerations, spreading, gates.
#include <algorithm>
#include <set>

#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void check_node_requirement(Checker& c, const object& e, const std::string& at) {
  std::string_view op = text(e, "operator");
  const array& values = list(e, "values");
  if (op == "In" || op == "NotIn") {
    if (values.empty()) c.required(at + ".values", "must be specified when `operator` is 'In' or 'NotIn'");
  } else if (op == "Exists" || op == "DoesNotExist") {
    if (!values.empty()) c.forbidden(at + ".values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  } else if (op == "Gt" || op == "Lt") {
    if (values.size() != 1) c.required(at + ".values", "must be specified single value when `operator` is 'Lt' or 'Gt'");
  } else if (!op.empty()) {
    c.invalid_text(at + ".operator", op, "not a valid selector operator");
  }
  if (!text(e, "key").empty()) c.check_text(at + ".key", text(e, "key"), check_qualified_name(text(e, "key")));
}

void check_node_field(Checker& c, const object& e, const std::string& at) {
  std::string_view op = text(e, "operator"), key = text(e, "key");
  const array& values = list(e, "values");
  if (op == "In" || op == "NotIn") {
    if (values.size() != 1) c.required(at + ".values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
  } else if (!op.empty()) {
    c.invalid_text(at + ".operator", op, "not a valid selector operator");
  }
  if (key.empty()) return;
  if (key != "metadata.name") {
    c.invalid_text(at + ".key", key, "not a valid field selector key");
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    c.check_text(fmt::format("{}.values[{}]", at, i), as_text(values[i]), check_dns1123_subdomain(as_text(values[i])));
  }
}

void node_selector_term(Checker& c, const object& term, const std::string& path) {
  const array& labels = list(term, "matchExpressions");
  for (size_t i = 0; i < labels.size(); ++i)
    check_node_requirement(c, as_object(labels[i]), fmt::format("{}.matchExpressions[{}]", path, i));
  const array& fields = list(term, "matchFields");
  for (size_t i = 0; i < fields.size(); ++i) check_node_field(c, as_object(fields[i]), fmt::format("{}.matchFields[{}]", path, i));
}

// matchLabelKeys and mismatchLabelKeys of a term or constraint.
void check_label_keys(Checker& c, const object& o, const std::string& path, bool both) {
  const array& match = list(o, "matchLabelKeys");
  const array& mismatch = list(o, "mismatchLabelKeys");
  if (!has(o, "labelSelector")) {
    if (!match.empty()) c.forbidden(path + ".matchLabelKeys", "must not be specified when labelSelector is not set");
    if (!mismatch.empty()) c.forbidden(path + ".mismatchLabelKeys", "must not be specified when labelSelector is not set");
  }
  std::set<std::string_view> unwanted, selected;
  for (const value& k : mismatch) unwanted.insert(as_text(k));
  for (const auto& [key, v] : map(map(o, "labelSelector"), "matchLabels")) selected.insert(key);
  if (!both) {
    for (const value& e : list(map(o, "labelSelector"), "matchExpressions")) selected.insert(text(as_object(e), "key"));
  }
  for (std::string_view name : {"matchLabelKeys", "mismatchLabelKeys"}) {
    const array& keys = list(o, name);
    for (size_t i = 0; i < keys.size(); ++i) {
      std::string at = fmt::format("{}.{}[{}]", path, name, i);
      c.check_text(at, as_text(keys[i]), check_qualified_name(as_text(keys[i])));
      if (both && name == "matchLabelKeys" && unwanted.contains(as_text(keys[i]))) {
        c.invalid(at, keys[i], "exists in both matchLabelKeys and mismatchLabelKeys");
      }
      if (!both && selected.contains(as_text(keys[i]))) c.invalid(at, keys[i], "exists in both matchLabelKeys and labelSelector");
    }
  }
}

void pod_affinity_term(Checker& c, const object& term, const std::string& path) {
  if (std::string_view key = text(term, "topologyKey"); !key.empty()) c.check_text(path + ".topologyKey", key, check_qualified_name(key));
  for (const value& ns : list(term, "namespaces")) c.check_text(path + ".namespace", as_text(ns), check_dns1123_label(as_text(ns)));
  check_label_keys(c, term, path, true);
}

void topology_spread_constraint(Checker& c, const object& o, const std::string& path) {
  if (std::string_view key = text(o, "topologyKey"); !key.empty()) c.check_text(path + ".topologyKey", key, check_qualified_name(key));
  if (const value* domains = o.if_contains("minDomains"); domains && domains->is_int64()) {
    std::string_view action = text(o, "whenUnsatisfiable");
    if (domains->get_int64() <= 0) c.invalid(path + ".minDomains", *domains, "must be greater than zero");
    if (action != "DoNotSchedule") {
      c.invalid(path + ".minDomains", *domains, fmt::format("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", action));
    }
  }
  check_label_keys(c, o, path, false);
}

constexpr TypeRule type_rules[] = {
    {"core.v1.NodeSelectorTerm", node_selector_term},
    {"core.v1.PodAffinityTerm", pod_affinity_term},
    {"core.v1.TopologySpreadConstraint", topology_spread_constraint},
    {"core.v1.Toleration", check_toleration},
};

}  // namespace

std::span<const TypeRule> scheduling_type_rules() { return type_rules; }

void check_toleration(Checker& c, const object& t, const std::string& at) {
  std::string_view key = text(t, "key"), op = text(t, "operator"), v = text(t, "value");
  if (!key.empty()) c.check_text(at + ".key", key, check_qualified_name(key));
  if (key.empty() && op != "Exists") {
    c.invalid_text(at + ".operator", op, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
  }
  if (has(t, "tolerationSeconds") && text(t, "effect") != "NoExecute") {
    c.invalid_text(at + ".effect", text(t, "effect"), "effect must be 'NoExecute' when `tolerationSeconds` is set");
  }
  if (op == "Exists") {
    if (!v.empty()) c.invalid(at + ".operator", value(t), "value must be empty when `operator` is 'Exists'");
  } else if (op == "Equal" || op.empty()) {
    if (std::string wrong = check_label_value(v); !wrong.empty()) c.invalid_text(at + ".operator", v, wrong);
  } else if (op == "Lt" || op == "Gt") {
    bool good = !v.empty() && v.find_first_not_of("0123456789", v.front() == '-' ? 1 : 0) == std::string_view::npos;
    if (!good) c.invalid_text(at + ".value", v, fmt::format("value must be a valid integer when `operator` is '{}'", op));
  }
}

void check_scheduling(Checker& c, const object& spec, const std::string& path) {
  std::set<std::string> pairs;
  const array& spread = list(spec, "topologySpreadConstraints");
  for (size_t i = 0; i < spread.size(); ++i) {
    const object& o = as_object(spread[i]);
    std::string pair = fmt::format("{{{}, {}}}", text(o, "topologyKey"), text(o, "whenUnsatisfiable"));
    if (!pairs.insert(pair).second)
      c.duplicate(fmt::format("{}.topologySpreadConstraints[{}].{{topologyKey, whenUnsatisfiable}}", path, i), pair);
  }
  const array& gates = list(spec, "schedulingGates");
  std::set<std::string_view> names;
  for (size_t i = 0; i < gates.size(); ++i) {
    std::string_view name = text(as_object(gates[i]), "name");
    std::string at = fmt::format("{}.schedulingGates[{}]", path, i);
    if (!name.empty()) c.check_text(at, name, check_qualified_name(name));
    if (!names.insert(name).second) c.duplicate(at, name);
  }
  if (!gates.empty() && !text(spec, "nodeName").empty()) {
    c.forbidden(path + ".nodeName", "cannot be set until all schedulingGates have been cleared");
  }
}

}  // namespace api::validation
