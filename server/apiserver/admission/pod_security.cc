// PodSecurity: labels of the namespace (pod-security.kubernetes.io/enforce, -audit, -warn and their -version) say which of the Pod Security Standards its pods
// keep. Templates of workloads are warned of and audited, pods refused. Nobody is exempt.
#include <fmt/format.h>

#include <map>

#include "server/apiserver/admission/all.h"
#include "server/apiserver/admission/pod_security_policy.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

constexpr std::string_view prefix = "pod-security.kubernetes.io/";

struct Policy {
  SecurityLevel level = SecurityLevel::privileged;
  int version = latest_security;
  std::string text = "privileged:latest";
  bool operator==(const Policy& o) const { return level == o.level && version == o.version; }
};

// Of one mode; what cannot be understood is the strictest, as in Kubernetes.
Policy policy_of(const object* labels, std::string_view mode) {
  auto text = [&](std::string_view suffix) {
    return labels ? text_of(*labels, fmt::format("{}{}{}", prefix, mode, suffix)) : std::string_view();
  };
  std::string_view level = text(""), version = text("-version");
  Policy out;
  if (level.empty()) return out;
  auto l = parse_security_level(level);
  auto v = version.empty() ? std::optional(latest_security) : parse_security_version(version);
  out.level = l.value_or(SecurityLevel::restricted);
  out.version = v.value_or(latest_security);
  out.text = fmt::format("{}:{}", l ? level : "restricted", v && !version.empty() ? version : "latest");
  return out;
}

class PodSecurity final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "PodSecurity"; }
  bool handles(const Admit& a) const override {
    if (!a.object) return false;
    const bool create = a.operation == Operation::create, update = a.operation == Operation::update;
    if (is_resource(a, "", "namespaces")) return (create || update) && a.attempt.subresource.empty();
    // What may change of a pod is harmless, but for new containers.
    if (is_resource(a, "", "pods")) return create || (update && a.attempt.subresource == "ephemeralcontainers");
    return (create || update) && a.attempt.subresource.empty() && pod_path(a.attempt.resource);
  }

  base::Task<Result<>> validate(Admit a) override {
    if (is_resource(a, "", "namespaces")) co_return co_await check_namespace(a);
    datastore::RecordPtr record = a.attempt.store.get(object_key("", "namespaces", {}, a.attempt.ns));
    // Most namespaces have no such labels: their text says so.
    if (!record || record->value->find(prefix) == std::string::npos) co_return Result<>{};
    CO_TRY(value ns, base::parse_json(*record->value));
    const object* labels = base::find_object(ns, "metadata.labels");
    std::string_view path = *pod_path(a.attempt.resource);
    const value* pod = path.empty() ? a.object : base::find(*a.object, path);
    if (!pod) co_return Result<>{};
    const bool is_pod = path.empty();
    const Policy enforce = policy_of(labels, "enforce"), audit = policy_of(labels, "audit"), warned = policy_of(labels, "warn");
    auto note = [&](std::string_view what, std::string text) {
      std::string key = fmt::format("{}{}", prefix, what);
      auto& all = a.attempt.call.audit;
      std::erase_if(all, [&](const auto& n) { return n.first == key; });
      all.emplace_back(std::move(key), std::move(text));
    };
    std::string refusal;
    if (is_pod) {
      note("enforce-policy", enforce.text);
      refusal = security_violations(*pod, enforce.level, enforce.version);
    }
    if (std::string found = security_violations(*pod, audit.level, audit.version); !found.empty())
      note("audit-violations", fmt::format("would violate PodSecurity \"{}\": {}", audit.text, found));
    if (!refusal.empty())
      co_return base::forbidden(a.attempt.resource.qualified, a.attempt.name,
                                fmt::format("violates PodSecurity \"{}\": {}", enforce.text, refusal));
    if (std::string found = security_violations(*pod, warned.level, warned.version); !found.empty())
      warn(a, fmt::format("would violate PodSecurity \"{}\": {}", warned.text, found));
    co_return Result<>{};
  }

 private:
  // Labels must be understood; pods that a new policy would not let in are named.
  static base::Task<Result<>> check_namespace(Admit a) {
    const object *now = base::find_object(*a.object, "metadata.labels"),
                 *was = a.before ? base::find_object(*a.before, "metadata.labels") : nullptr;
    std::vector<base::Cause> causes;
    for (std::string_view mode : {"enforce", "audit", "warn"})
      for (bool version : {false, true}) {
        std::string label = fmt::format("{}{}{}", prefix, mode, version ? "-version" : "");
        const value* v = now ? now->if_contains(label) : nullptr;
        if (!v || (was && was->if_contains(label) && *was->if_contains(label) == *v)) continue;
        std::string_view text = v->is_string() ? std::string_view(v->get_string()) : std::string_view();
        bool known = version ? parse_security_version(text).has_value() : parse_security_level(text).has_value();
        if (!known)
          causes.push_back(invalid_value(fmt::format("metadata.labels[{}]", label), *v,
                                         version ? "must be \"latest\" or \"v1.x\"" : "must be one of privileged, baseline, restricted"));
      }
    if (!causes.empty()) co_return base::invalid("Namespace", a.attempt.name, std::move(causes));
    const Policy before = policy_of(was, "enforce"), after = policy_of(now, "enforce");
    if (!a.before || before == after || after.level == SecurityLevel::privileged ||
        (before.version == after.version && after.level <= before.level))
      co_return Result<>{};
    auto pods = co_await a.attempt.store.list(collection_prefix("", "pods", a.attempt.name));
    if (!pods) co_return std::unexpected(std::move(pods).error());
    std::map<std::string, std::vector<std::string>> found;  // pods by what is wrong with them
    constexpr size_t most = 3000;                           // as many as Kubernetes looks at
    for (size_t i = 0; i < std::min(pods->records.size(), most); ++i) {
      CO_TRY(value pod, base::parse_json(*pods->records[i]->value, 256));
      if (std::string wrong = security_violations(pod, after.level, after.version, true); !wrong.empty())
        found[wrong].emplace_back(name_in_key(pods->records[i]->key));
    }
    if (found.empty()) co_return Result<>{};
    warn(a, fmt::format("existing pods in namespace \"{}\" violate the new PodSecurity enforce level \"{}\"", a.attempt.name, after.text));
    for (const auto& [wrong, names] : found) {
      std::string others = names.size() == 1 ? "" : fmt::format(" (and {} other {})", names.size() - 1, names.size() == 2 ? "pod" : "pods");
      warn(a, fmt::format("{}{}: {}", names.front(), others, wrong));
    }
    co_return Result<>{};
  }
};

}  // namespace

Plugin make_pod_security_admission() { return std::make_unique<PodSecurity>(); }

}  // namespace server
