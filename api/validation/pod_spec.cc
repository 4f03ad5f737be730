// The rules of pod specs, in pods and in templates, that concern more than one container or volume.
#include <algorithm>
#include <set>

#include "api/quantity.h"
#include "api/validate_names.h"
#include "api/validation/containers.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void check_containers(Checker& c, const object& spec, const std::string& path, const PodRules& rules) {
  PodView pod{.spec = spec, .volumes = {}, .claims = {}, .resource_claims = {}, .is_template = rules.is_template, .host_ports = {}};
  for (const value& v : list(spec, "volumes")) {
    std::string_view name = text(as_object(v), "name");
    pod.volumes.insert(name);
    if (has(as_object(v), "persistentVolumeClaim") || has(as_object(v), "ephemeral")) pod.claims.insert(name);
  }
  for (const value& v : list(spec, "resourceClaims")) pod.resource_claims.insert(text(as_object(v), "name"));
  std::set<std::string_view> names, targets;
  static constexpr std::pair<std::string_view, Role> lists[] = {
      {"containers", Role::regular}, {"initContainers", Role::init}, {"ephemeralContainers", Role::ephemeral}};
  for (auto [member, role] : lists) {
    const array& all = list(spec, member);
    for (size_t i = 0; i < all.size(); ++i) {
      const object& o = as_object(all[i]);
      std::string at = fmt::format("{}.{}[{}]", path, member, i);
      std::string_view own = text(o, "name");
      if (!own.empty() && !names.insert(own).second) c.duplicate(at + ".name", own);
      if (role != Role::ephemeral) targets.insert(own);
      check_container(c, o, at, role, pod);
      std::string_view target = text(o, "targetContainerName");
      if (role == Role::ephemeral && !target.empty() && !targets.contains(target)) c.not_found(at + ".targetContainerName", target);
    }
  }
}

void check_dns(Checker& c, const object& spec, const std::string& path) {
  const object& config = map(spec, "dnsConfig");
  const array& servers = list(config, "nameservers");
  const array& searches = list(config, "searches");
  if (text(spec, "dnsPolicy") == "None") {
    if (!has(spec, "dnsConfig")) c.required(path + ".dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None");
    else if (servers.empty())
      c.required(path + ".dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None");
  }
  if (servers.size() > 3) c.invalid(path + ".dnsConfig.nameservers", value(servers), "must not have more than 3 nameservers");
  if (searches.size() > 32) c.invalid(path + ".dnsConfig.searches", value(searches), "must not have more than 32 search paths");
  size_t total = searches.empty() ? 0 : searches.size() - 1;
  for (size_t i = 0; i < searches.size(); ++i) {
    std::string_view s = as_text(searches[i]);
    total += s.size();
    if (s == ".") continue;
    if (s.ends_with('.')) s.remove_suffix(1);
    std::string plain(s);
    std::replace(plain.begin(), plain.end(), '_', 'a');
    if (std::string wrong = check_dns1123_subdomain(plain); !wrong.empty()) {
      c.invalid(fmt::format("{}.dnsConfig.searches[{}]", path, i), searches[i], wrong);
    }
  }
  if (total > 2048)
    c.invalid(path + ".dnsConfig.searches", value(searches),
              "must not have more than 2048 characters (including spaces) in the search list");
  const array& options = list(config, "options");
  for (size_t i = 0; i < options.size(); ++i) {
    if (text(as_object(options[i]), "name").empty()) c.required(fmt::format("{}.dnsConfig.options[{}]", path, i), "must not be empty");
  }
}

void check_host_namespaces(Checker& c, const object& spec, const std::string& path) {
  const std::string security = path + ".securityContext";
  if (flag(spec, "shareProcessNamespace") && flag(spec, "hostPID")) {
    c.invalid(security + ".shareProcessNamespace", true, "ShareProcessNamespace and HostPID cannot both be enabled");
  }
  if (has(spec, "hostUsers") && !flag(spec, "hostUsers")) {
    for (std::string_view n : {"hostNetwork", "hostPID", "hostIPC"}) {
      if (flag(spec, n)) c.forbidden(fmt::format("{}.{}", path, n), "when `hostUsers` is false");
    }
  }
  const array& sysctls = list(map(spec, "securityContext"), "sysctls");
  std::set<std::string> seen;
  for (size_t i = 0; i < sysctls.size(); ++i) {
    std::string name(text(as_object(sysctls[i]), "name"));
    if (name.empty()) continue;
    std::string at = fmt::format("{}.sysctls[{}]", security, i);
    if (size_t slash = name.find('/'); slash != std::string::npos && slash < name.find('.')) {
      for (char& ch : name) ch = ch == '/' ? '.' : ch == '.' ? '/' : ch;
    }
    if (!seen.insert(name).second) c.duplicate(at + ".name", text(as_object(sysctls[i]), "name"));
    if (flag(spec, "hostNetwork") && name.starts_with("net."))
      c.invalid_text(at + ".name", name, "may not be specified when 'hostNetwork' is true");
    bool ipc = name.starts_with("kernel.shm") || name.starts_with("kernel.msg") || name.starts_with("fs.mqueue.") || name == "kernel.sem";
    if (flag(spec, "hostIPC") && ipc) c.invalid_text(at + ".name", name, "may not be specified when 'hostIPC' is true");
  }
}

// A pod that says for which system it is may set nothing that only the other one has.
void check_os(Checker& c, const object& spec, const std::string& path) {
  std::string_view os = text(map(spec, "os"), "name");
  const bool windows = os == "windows";
  if (os.empty()) return;
  auto unwanted = [&](const object& o, const std::string& at, std::initializer_list<std::string_view> names) {
    for (std::string_view n : present(o, names)) {
      c.forbidden(fmt::format("{}.{}", at, n),
                  windows ? "cannot be set for a windows pod" : "windows options cannot be set for a linux pod");
    }
  };
  const object& security = map(spec, "securityContext");
  if (windows) {
    unwanted(security, path + ".securityContext",
             {"appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "shareProcessNamespace",
              "runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy"});
    for (std::string_view n : {"hostPID", "hostIPC", "shareProcessNamespace"}) {
      if (flag(spec, n)) c.forbidden(fmt::format("{}.{}", path, n), "cannot be set for a windows pod");
    }
    if (has(spec, "hostUsers")) c.forbidden(path + ".hostUsers", "cannot be set for a windows pod");
  } else {
    unwanted(security, path + ".securityContext", {"windowsOptions"});
  }
  for (std::string_view member : {"containers", "initContainers", "ephemeralContainers"}) {
    const array& all = list(spec, member);
    for (size_t i = 0; i < all.size(); ++i) {
      const object& o = map(as_object(all[i]), "securityContext");
      std::string at = fmt::format("{}.{}[{}].securityContext", path, member, i);
      if (!windows) unwanted(o, at, {"windowsOptions"});
      else unwanted(o, at, {"appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
                            "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup"});
    }
  }
}

void check_claims(Checker& c, const object& spec, const std::string& path) {
  const array& claims = list(spec, "resourceClaims");
  std::set<std::string_view> seen;
  for (size_t i = 0; i < claims.size(); ++i) {
    const object& o = as_object(claims[i]);
    std::string at = fmt::format("{}.resourceClaims[{}]", path, i);
    std::string_view name = text(o, "name"), claim = text(o, "resourceClaimName"), from = text(o, "resourceClaimTemplateName");
    if (!name.empty() && !seen.insert(name).second) c.duplicate(at, name);
    if (has(o, "resourceClaimName") && has(o, "resourceClaimTemplateName")) {
      c.invalid(at, claims[i], "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
    }
    if (claim.empty() && from.empty()) c.invalid(at, claims[i], "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
  }
}

// Resources of the pod as a whole.
void check_pod_resources(Checker& c, const object& spec, const std::string& path) {
  const object& resources = map(spec, "resources");
  if (!list(resources, "claims").empty()) c.forbidden(path + ".resources.claims", "claims may not be set for Resources at pod-level");
  for (std::string_view kind : {"limits", "requests"}) {
    for (const auto& [name, amount] : map(resources, kind)) {
      std::string_view n = name;
      if (n != "cpu" && n != "memory" && !n.starts_with("hugepages-")) {
        c.unsupported(fmt::format("{}.resources.{}[{}]", path, kind, n), n, {"cpu", "memory", "hugepages-"});
      }
    }
  }
  const object& wanted = map(resources, "requests");
  const object& most = map(resources, "limits");
  for (const auto& [name, amount] : wanted) {
    Quantity sum;
    for (const value& v : list(spec, "containers")) sum += Quantity::of(text(map(map(as_object(v), "resources"), "requests"), name));
    if (sum > Quantity::of(as_text(amount))) {
      c.invalid(fmt::format("{}.resources.requests[{}]", path, std::string_view(name)), amount,
                fmt::format("must be greater than or equal to aggregate container requests of {}", sum.to_string()));
    }
  }
  const array& containers = list(spec, "containers");
  for (const auto& [name, amount] : most) {
    for (size_t i = 0; i < containers.size(); ++i) {
      std::string_view limit = text(map(map(as_object(containers[i]), "resources"), "limits"), name);
      if (!limit.empty() && Quantity::of(limit) > Quantity::of(as_text(amount))) {
        c.invalid_text(fmt::format("{}.containers[{}].resources.limits[{}]", path, i, std::string_view(name)), limit,
                       fmt::format("must be less than or equal to pod limits of {}", as_text(amount)));
      }
    }
  }
}

// HTTP headers, host names of aliases and other lists of texts.
void check_aliases(Checker& c, const object& spec, const std::string& path) {
  const array& aliases = list(spec, "hostAliases");
  for (size_t i = 0; i < aliases.size(); ++i) {
    for (const value& name : list(as_object(aliases[i]), "hostnames")) {
      c.check_text(fmt::format("{}.hostAliases[{}].hostnames", path, i), as_text(name), check_dns1123_subdomain(as_text(name)));
    }
  }
}

void pod(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  if (!has(o, "spec")) c.required("spec.containers");
  check_pod_spec(c, spec, "spec", {.updated = before != nullptr});
  if (!before && !list(spec, "ephemeralContainers").empty()) c.forbidden("spec.ephemeralContainers", "cannot be set on create");
}

void pod_template(Checker& c, const object*, const object& o) { check_pod_template(c, o, "template", {.is_template = true}); }

// What a node reports must stay possible.
void pod_status(Checker& c, const object& before, const object& o) {
  if (text(map(before, "spec"), "restartPolicy") == "Always") return;
  static constexpr std::string_view lists[] = {"containerStatuses", "initContainerStatuses"};
  bool never = text(map(before, "spec"), "restartPolicy") == "Never";
  for (std::string_view name : lists) {
    const array& now = list(map(o, "status"), name);
    for (const value& old : list(map(before, "status"), name)) {
      const object& ended = map(map(as_object(old), "state"), "terminated");
      if (ended.empty() || (!never && number(ended, "exitCode") != 0)) continue;
      if (name == "initContainerStatuses") continue;  // a pod that is started anew runs them again; sidecars go on
      for (size_t i = 0; i < now.size(); ++i) {
        const object& n = as_object(now[i]);
        if (text(n, "name") != text(as_object(old), "name") || has(map(n, "state"), "terminated")) continue;
        bool own_policy = false;
        for (const value& v : list(map(before, "spec"), "containers")) {
          own_policy |= text(as_object(v), "name") == text(n, "name") && has(as_object(v), "restartPolicy");
        }
        if (!own_policy) c.forbidden(fmt::format("status.{}[{}].state", name, i), "may not be transitioned to non-terminated state");
      }
    }
  }
}

constexpr KindRule kind_rules[] = {{"", "Pod", pod, pod_status}, {"", "PodTemplate", pod_template}};

}  // namespace

std::span<const KindRule> pod_rules() { return kind_rules; }

void check_pod_spec(Checker& c, const object& spec, const std::string& path, const PodRules& rules) {
  check_volumes(c, spec, path);
  check_containers(c, spec, path, rules);
  std::string_view policy = text(spec, "restartPolicy");
  if (!rules.restart_policies.empty() &&
      std::find(rules.restart_policies.begin(), rules.restart_policies.end(), policy) == rules.restart_policies.end() &&
      (policy == "Always" || policy == "OnFailure" || policy == "Never")) {
    c.unsupported(path + ".restartPolicy", policy, rules.restart_policies);
  }
  if (const value* v = spec.if_contains("activeDeadlineSeconds"); v && v->is_int64()) {
    if (v->get_int64() < 1 || v->get_int64() > INT32_MAX)
      c.invalid(path + ".activeDeadlineSeconds", *v, "must be between 1 and 2147483647, inclusive");
    if (!rules.no_deadline_in.empty()) {
      c.forbidden(path + ".activeDeadlineSeconds", fmt::format("activeDeadlineSeconds in {} is not Supported", rules.no_deadline_in));
    }
  }
  check_dns(c, spec, path);
  check_labels(c, map(spec, "nodeSelector"), path + ".nodeSelector");
  check_scheduling(c, spec, path);
  check_host_namespaces(c, spec, path);
  check_os(c, spec, path);
  check_claims(c, spec, path);
  check_aliases(c, spec, path);
  if (has(spec, "resources")) check_pod_resources(c, spec, path);
  for (const auto& [name, amount] : map(spec, "overhead")) {
    std::string at = fmt::format("{}.overhead[{}]", path, std::string_view(name));
    check_resource_name(c, name, at);
    check_amount(c, name, amount, at);
  }
  if (std::string_view name = text(spec, "hostnameOverride"); !name.empty()) {
    if (name.size() > 64) c.invalid_text(path + ".hostnameOverride", name, "must be no more than 64 characters");
    if (flag(spec, "setHostnameAsFQDN")) c.forbidden(path + ".setHostnameAsFQDN", "may not be specified when `hostnameOverride` is set");
    if (flag(spec, "hostNetwork")) c.forbidden(path + ".hostNetwork", "may not be specified when `hostnameOverride` is set");
  }
}

void check_pod_template(Checker& c, const object& parent, const std::string& path, const PodRules& rules) {
  const object& t = map(parent, "template");
  check_labels(c, map(map(t, "metadata"), "labels"), path + ".metadata.labels");
  for (const auto& [key, v] : map(map(t, "metadata"), "annotations")) {
    std::string lower(key);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char ch) { return std::tolower(ch); });
    c.check_text(path + ".metadata.annotations", key, check_qualified_name(lower));
  }
  if (!has(t, "spec")) {
    c.required(path + ".spec.containers");
    return;
  }
  if (!list(map(t, "spec"), "ephemeralContainers").empty())
    c.forbidden(path + ".spec.ephemeralContainers", "ephemeral containers not allowed in pod template");
  PodRules in_template = rules;
  in_template.is_template = true;
  check_pod_spec(c, map(t, "spec"), path + ".spec", in_template);
}

}  // namespace api::validation
