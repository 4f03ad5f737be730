// Warnings: what is accepted and yet deprecated, ignored, or hardly meant so. Words of Kubernetes' own warnings. Changes and refuses nothing.
#include <fmt/format.h>

#include "api/quantity.h"
#include "server/apiserver/admission/all.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

struct Replaced {
  std::string_view name, text;
};
constexpr Replaced node_labels[] = {
    {"beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"},
    {"beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"},
    {"failure-domain.beta.kubernetes.io/region", "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"},
    {"failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"},
    {"beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"},
};
constexpr Replaced pod_annotations[] = {  // by prefix
    {"scheduler.alpha.kubernetes.io/critical-pod", "non-functional in v1.16+; use the \"priorityClassName\" field instead"},
    {"seccomp.security.alpha.kubernetes.io/pod", "non-functional in v1.27+; use the \"seccompProfile\" field instead"},
    {"container.seccomp.security.alpha.kubernetes.io/", "non-functional in v1.27+; use the \"seccompProfile\" field instead"},
    {"container.apparmor.security.beta.kubernetes.io/", "deprecated since v1.30; use the \"appArmorProfile\" field instead"},
    {"security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"},
    {"security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"},
};
constexpr Replaced volume_sources[] = {
    {"gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"},
    {"storageos", "deprecated in v1.22, non-functional in v1.25+"},
    {"flocker", "deprecated in v1.22, non-functional in v1.25+"},
    {"quobyte", "deprecated in v1.22, non-functional in v1.25+"},
    {"scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
    {"glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
    {"cephfs", "deprecated in v1.28, non-functional in v1.31+"},
    {"rbd", "deprecated in v1.28, non-functional in v1.31+"},
};

template <class F>
void each(const value& from, std::string_view path, F f) {
  if (const array* list = base::find_array(from, path))
    for (size_t i = 0; i < list->size(); ++i) f((*list)[i], i);
}

void fractions(const Admit& a, const std::string& at, const value& resources) {
  for (std::string_view list : {"requests", "limits"})
    for (std::string_view name : {"memory", "ephemeral-storage", "storage"}) {
      const object* amounts = base::find_object(resources, list);
      std::string_view text = amounts ? text_of(*amounts, name) : std::string_view();
      if (text.empty()) continue;
      api::Quantity q = api::Quantity::of(text);
      if (q != api::Quantity::of_value(q.value()))
        warn(a, fmt::format("{}.{}[{}]: fractional byte value \"{}\" is invalid, must be an integer", at, list, name, text));
    }
}

void container(const Admit& a, const std::string& at, const value& c) {
  std::vector<std::string_view> seen;
  each(c, "env", [&](const value& e, size_t i) {
    std::string_view name = base::get_string(e, "name");
    if (std::find(seen.begin(), seen.end(), name) != seen.end())
      warn(a, fmt::format("{}.env[{}]: hides previous definition of \"{}\", which may be dropped when using apply", at, i, name));
    seen.push_back(name);
  });
  each(c, "ports", [&](const value& p, size_t i) {
    each(c, "ports", [&](const value& q, size_t k) {
      auto same = [&](const char* n) { return base::get_int(p, n) == base::get_int(q, n); };
      if (k < i && same("containerPort") && same("hostPort") && base::get_string(p, "protocol") == base::get_string(q, "protocol") &&
          base::get_string(p, "hostIP") == base::get_string(q, "hostIP"))
        warn(a, fmt::format("{0}.ports[{1}]: duplicate port definition with {0}.ports[{2}]", at, i, k));
    });
  });
  if (const value* resources = base::find(c, "resources")) fractions(a, at + ".resources", *resources);
}

void old_labels(const Admit& a, const std::string& at, std::string_view label) {
  for (const Replaced& r : node_labels)
    if (r.name == label) warn(a, fmt::format("{}: {}", at, r.text));
}

void pod(const Admit& a, const value& p, const std::string& before) {
  const std::string spec_path = before + "spec";
  const value* spec = base::find(p, "spec");
  if (!spec) return;
  if (const object* annotations = base::find_object(p, "metadata.annotations"))
    for (const auto& [name, v] : *annotations)
      for (const Replaced& r : pod_annotations)
        if (r.name.ends_with('/') ? std::string_view(name).starts_with(r.name) : std::string_view(name) == r.name)
          warn(a, fmt::format("{}metadata.annotations[{}]: {}", before, std::string_view(name), r.text));
  if (const object* selector = base::find_object(*spec, "nodeSelector"))
    for (const auto& [name, v] : *selector) old_labels(a, fmt::format("{}.nodeSelector[{}]", spec_path, std::string_view(name)), name);
  const std::string_view required = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
  each(*spec, required, [&](const value& term, size_t i) {
    each(term, "matchExpressions", [&](const value& e, size_t k) {
      old_labels(a, fmt::format("{}.{}[{}].matchExpressions[{}].key", spec_path, required, i, k), base::get_string(e, "key"));
    });
  });
  each(*spec, "volumes", [&](const value& v, size_t i) {
    for (const Replaced& r : volume_sources)
      if (v.is_object() && v.get_object().contains(r.name)) warn(a, fmt::format("{}.volumes[{}].{}: {}", spec_path, i, r.name, r.text));
    if (const value* amounts = base::find(v, "ephemeral.volumeClaimTemplate.spec.resources"))
      fractions(a, fmt::format("{}.volumes[{}].ephemeral.volumeClaimTemplate.spec.resources", spec_path, i), *amounts);
  });
  std::vector<std::string_view> hosts, pulls;
  each(*spec, "hostAliases", [&](const value& h, size_t i) {
    std::string_view ip = base::get_string(h, "ip");
    if (auto it = std::find(hosts.begin(), hosts.end(), ip); it != hosts.end())
      warn(a, fmt::format("{0}.hostAliases[{1}].ip: duplicate ip \"{2}\"", spec_path, i, ip));
    hosts.push_back(ip);
  });
  each(*spec, "imagePullSecrets", [&](const value& s, size_t i) {
    std::string_view name = base::get_string(s, "name");
    if (name.empty()) warn(a, fmt::format("{}.imagePullSecrets[{}].name: invalid empty name \"\"", spec_path, i));
    else if (std::find(pulls.begin(), pulls.end(), name) != pulls.end())
      warn(a, fmt::format("{}.imagePullSecrets[{}].name: duplicate name \"{}\"", spec_path, i, name));
    pulls.push_back(name);
  });
  for (const char* list : {"initContainers", "containers", "ephemeralContainers"})
    each(*spec, list, [&](const value& c, size_t i) { container(a, fmt::format("{}.{}[{}]", spec_path, list, i), c); });
  if (base::get_int(*spec, "terminationGracePeriodSeconds") < 0)
    warn(a, fmt::format("{}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1", spec_path));
  each(*spec, "topologySpreadConstraints", [&](const value& c, size_t i) {
    if (!base::find(c, "labelSelector"))
      warn(a, fmt::format("{}.topologySpreadConstraints[{}].labelSelector: a null labelSelector results in matching no pod", spec_path, i));
  });
}

void service(const Admit& a, const value& o) {
  if (base::get_string(o, "spec.clusterIP") == "None") {
    if (!base::get_string(o, "spec.loadBalancerIP").empty()) warn(a, "spec.loadBalancerIP is ignored for headless services");
    if (const array* ips = base::find_array(o, "spec.externalIPs"); ips && !ips->empty())
      warn(a, "spec.externalIPs is ignored for headless services");
    if (std::string_view s = base::get_string(o, "spec.sessionAffinity"); !s.empty() && s != "None")
      warn(a, "spec.SessionAffinity is ignored for headless services");
  }
  if (base::get_string(o, "spec.type") != "ExternalName" && !base::get_string(o, "spec.externalName").empty())
    warn(a, "spec.externalName is ignored when spec.type is not \"ExternalName\"");
}

class Warnings final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "Warnings"; }
  bool handles(const Admit& a) const override {
    return a.object && a.attempt.subresource.empty() && (a.operation == Operation::create || a.operation == Operation::update);
  }

  base::Task<Result<>> validate(Admit a) override {
    const value& o = *a.object;
    if (a.before && base::find(o, "metadata.deletionTimestamp")) co_return Result<>{};
    const object* annotations = base::find_object(o, "metadata.annotations");
    auto annotated = [&](std::string_view name) { return annotations && annotations->contains(name); };
    if (auto path = pod_path(a.attempt.resource)) {
      const value* p = path->empty() ? &o : base::find(o, *path);
      // Templates are looked at again only when they change.
      const value* was = a.before ? (path->empty() ? a.before : base::find(*a.before, *path)) : nullptr;
      if (p && !(was && *was == *p) && !(was && path->empty())) pod(a, *p, path->empty() ? std::string() : std::string(*path) + ".");
      const bool names_pods = !is_resource(a, "batch", "cronjobs") && !is_resource(a, "", "podtemplates");
      if (!a.before && names_pods && a.attempt.name.find('.') != std::string::npos)
        warn(a,
             "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: "
             "[must not contain dots]");
    } else if (is_resource(a, "", "services")) {
      service(a, o);
    } else if (is_resource(a, "networking.k8s.io", "ingresses")) {
      if (annotated("kubernetes.io/ingress.class"))
        warn(a, "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead");
    } else if (is_resource(a, "", "persistentvolumes") || is_resource(a, "", "persistentvolumeclaims")) {
      if (annotated("volume.beta.kubernetes.io/storage-class"))
        warn(a,
             "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute "
             "instead");
      if (base::get_string(o, "spec.persistentVolumeReclaimPolicy") == "Recycle")
        warn(a,
             "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use "
             "dynamic provisioning.");
      if (const value* amounts = base::find(o, "spec.resources")) fractions(a, "spec.resources", *amounts);
    }
    co_return Result<>{};
  }
};

}  // namespace

Plugin make_warnings_admission() { return std::make_unique<Warnings>(); }

}  // namespace server
