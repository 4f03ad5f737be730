// What may change in a pod that exists.
#include <algorithm>
#include <set>

#include "api/quantity.h"
#include "api/validation/checker.h"

namespace api::validation {
namespace {

constexpr std::string_view unchangeable =
    "pod updates may not change fields other than "
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

void put_back(object& out, const object& before, std::string_view name) {
  if (const value* v = before.if_contains(name)) out[name] = *v;
  else out.erase(name);
}

void check_tolerations(Checker& c, const object& old, const object& now) {
  const array& have = list(now, "tolerations");
  auto kept = [&](const value& was) {
    object wanted = as_object(was);
    wanted.erase("tolerationSeconds");
    return std::any_of(have.begin(), have.end(), [&](const value& v) {
      object candidate = as_object(v);
      candidate.erase("tolerationSeconds");
      return candidate == wanted;
    });
  };
  const array& had = list(old, "tolerations");
  if (!std::all_of(had.begin(), had.end(), kept)) {
    c.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
  }
}

void check_deadline(Checker& c, const object& old, const object& now) {
  const value* was = old.if_contains("activeDeadlineSeconds");
  const value* is = now.if_contains("activeDeadlineSeconds");
  if (!was || !was->is_int64()) return;
  if (!is || is->is_null()) c.invalid("spec.activeDeadlineSeconds", value(), "must not update from a positive integer to nil value");
  else if (is->is_int64() && is->get_int64() > was->get_int64())
    c.invalid("spec.activeDeadlineSeconds", *is, "must be less than or equal to previous value");
}

// A pod held by gates may be narrowed down to fewer nodes.
void check_gated_placement(Checker& c, const object& old, const object& now) {
  const object& selector = map(now, "nodeSelector");
  for (const auto& [key, v] : map(old, "nodeSelector")) {
    if (text(selector, key) == as_text(v) && selector.contains(key)) continue;
    c.invalid("spec.nodeSelector", value(selector), "only additions are allowed for nodeSelector");
    break;
  }
  constexpr std::string_view hard = "requiredDuringSchedulingIgnoredDuringExecution";
  const array& then = list(map(map(map(old, "affinity"), "nodeAffinity"), hard), "nodeSelectorTerms");
  const array& terms = list(map(map(map(now, "affinity"), "nodeAffinity"), hard), "nodeSelectorTerms");
  if (then.empty()) return;
  std::string at = fmt::format("spec.affinity.nodeAffinity.{}.nodeSelectorTerms", hard);
  if (then.size() != terms.size()) {
    c.invalid(at, value(terms), "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
    return;
  }
  for (size_t i = 0; i < then.size(); ++i) {
    for (std::string_view member : {"matchExpressions", "matchFields"}) {
      const array& was = list(as_object(then[i]), member);
      const array& is = list(as_object(terms[i]), member);
      bool prefix = is.size() >= was.size() && std::equal(was.begin(), was.end(), is.begin());
      if (!prefix) c.invalid(fmt::format("{}[{}]", at, i), terms[i], "only additions are allowed (no mutations or deletions)");
    }
  }
}

void update(Checker& c, const object& old, const object& now) {
  object rest = now;
  for (std::string_view name : {"containers", "initContainers"}) {
    const array& had = list(old, name);
    if (list(now, name).size() != had.size()) {
      c.forbidden(fmt::format("spec.{}", name), "pod updates may not add or remove containers");
      return;
    }
    if (had.empty()) continue;
    array& out = rest[name].get_array();
    for (size_t i = 0; i < out.size(); ++i) {
      if (!out[i].is_object()) continue;
      put_back(out[i].get_object(), as_object(had[i]), "image");
    }
  }
  check_deadline(c, old, now);
  put_back(rest, old, "activeDeadlineSeconds");
  check_tolerations(c, old, now);
  put_back(rest, old, "tolerations");
  if (number(old, "terminationGracePeriodSeconds") < 0 && number(now, "terminationGracePeriodSeconds") == 1) {
    put_back(rest, old, "terminationGracePeriodSeconds");
  }
  const array& gates = list(old, "schedulingGates");
  const array& left = list(now, "schedulingGates");
  for (const value& g : left) {
    if (std::find(gates.begin(), gates.end(), g) != gates.end()) continue;
    c.forbidden("spec.schedulingGates",
                fmt::format("only deletion is allowed, but found new scheduling gate '{}'", text(as_object(g), "name")));
  }
  put_back(rest, old, "schedulingGates");
  if (!gates.empty()) {
    check_gated_placement(c, old, now);
    put_back(rest, old, "nodeSelector");
    // Of the affinity only the part about nodes is free.
    object affinity = map(rest, "affinity");
    put_back(affinity, map(old, "affinity"), "nodeAffinity");
    if (affinity.empty()) put_back(rest, old, "affinity");
    else rest["affinity"] = std::move(affinity);
  }
  if (rest != old) c.forbidden("spec", unchangeable);
}

void add_ephemeral(Checker& c, const object& old, const object& now) {
  const array& had = list(old, "ephemeralContainers");
  const array& have = list(now, "ephemeralContainers");
  for (size_t i = 0; i < had.size(); ++i) {
    std::string_view name = text(as_object(had[i]), "name");
    auto it = std::find_if(have.begin(), have.end(), [&](const value& v) { return text(as_object(v), "name") == name; });
    if (it == have.end())
      c.forbidden("spec.ephemeralContainers", fmt::format("existing ephemeral containers \"{}\" may not be removed\n", name));
    else if (*it != had[i])
      c.forbidden("spec.ephemeralContainers", fmt::format("existing ephemeral containers \"{}\" may not be changed\n", name));
  }
}

bool is_resizable(std::string_view resource) { return resource == "cpu" || resource == "memory"; }

void resize(Checker& c, const object& old, const object& now) {
  if (text(map(old, "os"), "name") == "windows") {
    c.forbidden("spec", "windows pods cannot be resized");
    return;
  }
  object rest = now;
  for (std::string_view name : {"containers", "initContainers"}) {
    const array& had = list(old, name);
    const array& have = list(now, name);
    if (had.size() != have.size()) {
      c.forbidden(fmt::format("spec.{}", name), "pod updates may not add or remove containers");
      return;
    }
    if (had.empty()) continue;
    array& out = rest[name].get_array();
    for (size_t i = 0; i < had.size(); ++i) {
      const object& was = as_object(had[i]);
      if (name == "initContainers" && text(was, "restartPolicy") != "Always") continue;
      std::string at = fmt::format("spec.{}[{}].resources", name, i);
      object merged = map(out[i].get_object(), "resources");
      for (std::string_view kind : {"limits", "requests"}) {
        const object& before = map(map(was, "resources"), kind);
        object amounts = map(merged, kind);
        for (const auto& [resource, v] : before) {
          if (is_resizable(resource) && !amounts.contains(resource)) {
            c.forbidden(fmt::format("{}.{}", at, kind), fmt::format("resource {} cannot be removed", kind));
          }
        }
        for (std::string_view resource : {"cpu", "memory"}) put_back(amounts, before, resource);
        if (amounts.empty() && !map(was, "resources").contains(kind)) merged.erase(kind);
        else merged[kind] = std::move(amounts);
      }
      if (merged.empty() && !was.contains("resources")) out[i].get_object().erase("resources");
      else out[i].get_object()["resources"] = std::move(merged);
    }
  }
  if (rest != old) c.forbidden("spec", "only cpu and memory resources are mutable");
}

}  // namespace

void check_pod_update(Checker& c, const object& before, const object& after, std::string_view subresource) {
  const object& old = map(before, "spec");
  const object& now = map(after, "spec");
  if (subresource == "ephemeralcontainers") add_ephemeral(c, old, now);
  else if (subresource == "resize") resize(c, old, now);
  else if (subresource.empty() && old != now) update(c, old, now);
}

}  // namespace api::validation
