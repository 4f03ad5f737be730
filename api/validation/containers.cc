// Containers of pods: images, environment, ports, mounts, probes, hooks, resources, security contexts.
#include "api/validation/containers.h"

#include <algorithm>
#include <map>

#include "api/quantity.h"
#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

using Names = std::initializer_list<std::string_view>;

bool is_one_of(std::string_view s, Names names) { return std::find(names.begin(), names.end(), s) != names.end(); }

// "metadata.annotations['a.b/c']" is {"metadata.annotations", "a.b/c"}.
std::pair<std::string_view, std::string_view> subscript_of(std::string_view path) {
  if (!path.ends_with("']")) return {path, {}};
  size_t open = path.find("['");
  if (open == std::string_view::npos) return {path, {}};
  return {path.substr(0, open), path.substr(open + 2, path.size() - open - 4)};
}

void check_divisor(Checker& c, const object& ref, const std::string& path, std::string_view resource) {
  std::string_view divisor = text(ref, "divisor");
  if (divisor.empty() || divisor == "0") return;
  if (resource.ends_with(".cpu")) {
    if (!is_one_of(divisor, {"1m", "1"}))
      c.invalid_text(path + ".divisor", divisor, "only divisor's values 1m and 1 are supported with the cpu resource");
    return;
  }
  std::string_view name = resource.substr(resource.find('.') + 1);
  if (!is_one_of(divisor, {"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"})) {
    if (name.starts_with("hugepages-")) name = "hugepages";
    else if (name == "ephemeral-storage") name = "local ephemeral storage";
    c.invalid_text(
        path + ".divisor", divisor,
        fmt::format("only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the {} resource",
                    name));
  }
}

void check_env_source(Checker& c, const object& from, const std::string& path) {
  auto sources = present(from, {"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"});
  if (sources.empty()) {
    c.invalid_text(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`");
  } else if (sources.size() > 1) {
    c.invalid_text(path, "", "may not have more than one field specified at a time");
  }
  if (has(from, "fieldRef")) {
    check_field_ref(c, map(from, "fieldRef"), path + ".fieldRef",
                    {"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
                     "status.podIP", "status.hostIPs", "status.podIPs"});
  }
  if (has(from, "resourceFieldRef")) check_resource_ref(c, map(from, "resourceFieldRef"), path + ".resourceFieldRef", false);
  for (std::string_view ref : {"configMapKeyRef", "secretKeyRef"}) {
    if (!has(from, ref)) continue;
    std::string_view name = text(map(from, ref), "name"), key = text(map(from, ref), "key");
    c.check_text(fmt::format("{}.{}.name", path, ref), name, check_dns1123_subdomain(name));
    if (!key.empty()) c.check_text(fmt::format("{}.{}.key", path, ref), key, check_config_key(key));
  }
}

void env_var(Checker& c, const object& e, const std::string& path) {
  if (!has(e, "valueFrom")) return;
  if (!text(e, "value").empty()) c.invalid_text(path + ".valueFrom", "", "may not be specified when `value` is not empty");
  check_env_source(c, map(e, "valueFrom"), path + ".valueFrom");
}

void env_from(Checker& c, const object& e, const std::string& path) {
  auto sources = present(e, {"configMapRef", "secretRef"});
  if (sources.empty()) c.invalid_text(path, "", "must specify one of: `configMapRef` or `secretRef`");
  if (sources.size() > 1) c.invalid_text(path, "", "may not have more than one field specified at a time");
  for (std::string_view s : sources) {
    std::string_view name = text(map(e, s), "name");
    std::string at = fmt::format("{}.{}.name", path, s);
    if (name.empty()) c.required(at);
    else c.check_text(at, name, check_dns1123_subdomain(name));
  }
}

void container_port(Checker& c, const object& p, const std::string& path) {
  int64_t inside = number(p, "containerPort"), host = number(p, "hostPort");
  if (inside == 0) c.required(path + ".containerPort");
  else c.port(path + ".containerPort", inside);
  if (host != 0) c.port(path + ".hostPort", host);
}

void check_port_ref(Checker& c, const object& o, const std::string& path) {
  const value* port = o.if_contains("port");
  if (!port || (port->is_string() && port->get_string().empty())) c.port(path + ".port", 0);
  else if (port->is_int64()) c.port(path + ".port", port->get_int64());
  else if (port->is_string()) c.check_text(path + ".port", as_text(*port), check_port_name(as_text(*port)));
}

void http_get(Checker& c, const object& o, const std::string& path) {
  check_port_ref(c, o, path);
  for (const value& h : list(o, "httpHeaders")) {
    std::string_view name = text(as_object(h), "name");
    bool good = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char ch) { return std::isalnum(ch) || ch == '-'; });
    if (!good) {
      c.invalid_text(path + ".httpHeaders", name,
                     "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation "
                     "is '[-A-Za-z0-9]+')");
    }
  }
}

void handler(Checker& c, const object& o, const std::string& path, Names kinds) {
  auto chosen = present(o, kinds);
  if (chosen.empty()) c.required(path, "must specify a handler type");
  for (size_t i = 1; i < chosen.size(); ++i) c.forbidden(fmt::format("{}.{}", path, chosen[i]), "may not specify more than 1 handler type");
  if (has(o, "exec") && list(map(o, "exec"), "command").empty()) c.required(path + ".exec.command");
}

void probe(Checker& c, const object& o, const std::string& path) { handler(c, o, path, {"exec", "httpGet", "tcpSocket", "grpc"}); }
void lifecycle_handler(Checker& c, const object& o, const std::string& path) {
  handler(c, o, path, {"exec", "httpGet", "tcpSocket", "sleep"});
}

void check_probes(Checker& c, const object& container, const std::string& path) {
  for (std::string_view name : {"livenessProbe", "readinessProbe", "startupProbe"}) {
    if (!has(container, name)) continue;
    const object& p = map(container, name);
    std::string at = fmt::format("{}.{}", path, name);
    if (name != "readinessProbe" && number(p, "successThreshold", 1) != 1) {
      c.invalid(at + ".successThreshold", value(number(p, "successThreshold")), "must be 1");
    }
    const value* grace = p.if_contains("terminationGracePeriodSeconds");
    if (!grace || !grace->is_int64()) continue;
    if (name == "readinessProbe") c.invalid(at + ".terminationGracePeriodSeconds", *grace, "must not be set for readinessProbes");
    else if (grace->get_int64() <= 0) c.invalid(at + ".terminationGracePeriodSeconds", *grace, "must be greater than 0");
  }
}

void check_hooks(Checker& c, const object& container, const object& spec, const std::string& path) {
  int64_t grace = number(spec, "terminationGracePeriodSeconds", 30);
  for (std::string_view n : {"postStart", "preStop"}) {
    const object& hook = map(map(container, "lifecycle"), n);
    if (!has(hook, "sleep")) continue;
    int64_t seconds = number(map(hook, "sleep"), "seconds");
    if (seconds < 0 || seconds > grace) {
      c.invalid(fmt::format("{}.lifecycle.{}.sleep", path, n), value(seconds),
                fmt::format("must be non-negative and less than terminationGracePeriodSeconds ({})", grace));
    }
  }
}

void check_mounts(Checker& c, const object& o, const std::string& path, const PodView& pod, Role role) {
  std::set<std::string_view> paths, device_paths, device_names;
  for (const value& d : list(o, "volumeDevices")) {
    device_paths.insert(text(as_object(d), "devicePath"));
    device_names.insert(text(as_object(d), "name"));
  }
  const array& mounts = list(o, "volumeMounts");
  std::set<std::string_view> mounted;
  for (size_t i = 0; i < mounts.size(); ++i) {
    const object& m = as_object(mounts[i]);
    std::string at = fmt::format("{}.volumeMounts[{}]", path, i);
    std::string_view name = text(m, "name"), where = text(m, "mountPath");
    mounted.insert(name);
    if (!name.empty() && !pod.volumes.contains(name)) c.not_found(at + ".name", name);
    if (!where.empty() && !paths.insert(where).second) c.invalid_text(at + ".mountPath", where, "must be unique");
    if (device_names.contains(name)) c.invalid_text(at + ".name", name, "must not already exist in volumeDevices");
    if (device_paths.contains(where)) c.invalid_text(at + ".mountPath", where, "must not already exist as a path in volumeDevices");
    std::string_view sub = text(m, "subPath"), expression = text(m, "subPathExpr");
    if (!sub.empty()) check_relative_path(c, at + ".subPath", sub);
    if (!expression.empty()) {
      if (!sub.empty()) c.invalid_text(at + ".subPathExpr", expression, "subPathExpr and subPath are mutually exclusive");
      check_relative_path(c, at + ".subPathExpr", expression);
    }
    if (role == Role::ephemeral) {
      if (!sub.empty()) c.forbidden(at + ".subPath", "cannot be set for an Ephemeral Container");
      if (!expression.empty()) c.forbidden(at + ".subPathExpr", "cannot be set for an Ephemeral Container");
    }
    std::string_view propagation = text(m, "mountPropagation"), recursive = text(m, "recursiveReadOnly");
    if (propagation == "Bidirectional" && !flag(map(o, "securityContext"), "privileged")) {
      c.forbidden(at + ".mountPropagation", "Bidirectional mount propagation is available only to privileged containers");
    }
    if (recursive == "Enabled" || recursive == "IfPossible") {
      if (!flag(m, "readOnly")) c.forbidden(at + ".recursiveReadOnly", "may only be specified when readOnly is true");
      if (!propagation.empty() && propagation != "None") {
        c.forbidden(at + ".recursiveReadOnly", "may only be specified when mountPropagation is None or not specified");
      }
    }
  }
  std::set<std::string_view> names, places;
  const array& devices = list(o, "volumeDevices");
  for (size_t i = 0; i < devices.size(); ++i) {
    const object& d = as_object(devices[i]);
    std::string at = fmt::format("{}.volumeDevices[{}]", path, i);
    std::string_view name = text(d, "name"), where = text(d, "devicePath");
    if (!name.empty()) {
      if (!names.insert(name).second) c.invalid_text(at + ".name", name, "must be unique");
      if (!pod.volumes.contains(name)) c.not_found(at + ".name", name);
      else if (!pod.claims.contains(name)) {
        c.invalid_text(at + ".name", name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode");
      }
      if (mounted.contains(name)) c.invalid_text(at + ".name", name, "must not already exist in volumeMounts");
    }
    if (where.empty()) continue;
    if (!places.insert(where).second) c.invalid_text(at + ".devicePath", where, "must be unique");
    if (where.find("..") != std::string_view::npos) c.invalid_text(at + ".devicePath", where, "can not contain backsteps ('..')");
    else if (paths.contains(where)) c.invalid_text(at + ".devicePath", where, "must not already exist as a path in volumeMounts");
  }
}

void check_resize_policy(Checker& c, const object& o, const std::string& path, std::string_view restart_policy) {
  std::set<std::string_view> seen;
  for (const value& v : list(o, "resizePolicy")) {
    std::string at = path + ".resizePolicy";
    std::string_view name = text(as_object(v), "resourceName");
    if (!seen.insert(name).second) c.duplicate(at, name);
    if (!name.empty() && name != "cpu" && name != "memory") c.unsupported(at, name, {"cpu", "memory"});
    if (restart_policy == "Never" && text(as_object(v), "restartPolicy") == "RestartContainer") {
      c.invalid_text(at, "RestartContainer", "must be 'NotRequired' when `restartPolicy` is 'Never'");
    }
  }
}

void check_restart_rules(Checker& c, const object& o, const std::string& path) {
  const array& rules = list(o, "restartPolicyRules");
  if (rules.empty()) return;
  if (text(o, "restartPolicy").empty()) c.required(path + ".restartPolicy", "must specify restartPolicy when restart rules are used");
  if (rules.size() > 20) c.too_many(path + ".restartPolicyRules", rules.size(), 20);
  for (size_t i = 0; i < rules.size(); ++i) {
    const object& r = as_object(rules[i]);
    std::string at = fmt::format("{}.restartPolicyRules[{}]", path, i);
    if (text(r, "action").empty()) c.required(at + ".action");
    if (!has(r, "exitCodes")) {
      c.required(at + ".exitCodes", "must be specified");
      continue;
    }
    if (text(map(r, "exitCodes"), "operator").empty()) c.required(at + ".exitCodes.operator");
    size_t count = list(map(r, "exitCodes"), "values").size();
    if (count == 0) c.required(at + ".exitCodes.values");
    if (count > 255) c.too_many(at + ".exitCodes.values", count, 255);
  }
}

void seccomp_profile(Checker& c, const object& o, const std::string& path) {
  std::string_view profile = text(o, "localhostProfile");
  if (text(o, "type") == "Localhost") {
    if (profile.empty()) c.required(path + ".localhostProfile", "must be set when seccomp type is Localhost");
    else check_relative_path(c, path + ".localhostProfile", profile);
  } else if (has(o, "localhostProfile")) {
    c.invalid_text(path + ".localhostProfile", profile, "can only be set when seccomp type is Localhost");
  }
}

void apparmor_profile(Checker& c, const object& o, const std::string& path) {
  std::string_view profile = text(o, "localhostProfile");
  if (text(o, "type") == "Localhost") {
    if (profile.find_first_not_of(" \t\n") == std::string_view::npos)
      c.required(path + ".localhostProfile", "must be set when AppArmor type is Localhost");
    else if (profile.front() == ' ' || profile.back() == ' ')
      c.invalid_text(path + ".localhostProfile", profile, "must not be padded with whitespace");
    if (profile.size() > 4095) c.too_long(path + ".localhostProfile", 4095);
  } else if (has(o, "localhostProfile")) {
    c.invalid_text(path + ".localhostProfile", profile, "can only be set when AppArmor type is Localhost");
  }
}

void security_context(Checker& c, const object& o, const std::string& path) {
  if (has(o, "allowPrivilegeEscalation") && !flag(o, "allowPrivilegeEscalation")) {
    if (flag(o, "privileged")) c.invalid(path, value(o), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    for (const value& cap : list(map(o, "capabilities"), "add")) {
      if (as_text(cap) == "CAP_SYS_ADMIN")
        c.invalid(path, value(o), "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
    }
  }
}

void windows_options(Checker& c, const object& o, const std::string& path) {
  if (const value* name = o.if_contains("runAsUserName"); name && name->is_string()) {
    std::string_view s = name->get_string();
    if (s.empty()) c.invalid_text(path + ".runAsUserName", s, "runAsUserName cannot be an empty string");
    else if (s.find('\\') != std::string_view::npos && s.find('\\') != s.rfind('\\')) {
      c.invalid_text(path + ".runAsUserName", s, "runAsUserName cannot contain more than one backslash");
    }
  }
  if (std::string_view name = text(o, "gmsaCredentialSpecName"); !name.empty()) {
    c.check_text(path + ".gmsaCredentialSpecName", name, check_dns1123_subdomain(name));
  }
  if (const value* spec = o.if_contains("gmsaCredentialSpec"); spec && spec->is_string()) {
    if (spec->get_string().empty()) c.invalid_text(path + ".gmsaCredentialSpec", "", "gmsaCredentialSpec cannot be an empty string");
    else if (spec->get_string().size() > 64 * 1024)
      c.invalid_text(path + ".gmsaCredentialSpec", spec->get_string(), "gmsaCredentialSpec size must be under 64 KiB");
  }
}

constexpr TypeRule type_rules[] = {
    {"core.v1.EnvVar", env_var},
    {"core.v1.EnvFromSource", env_from},
    {"core.v1.ContainerPort", container_port},
    {"core.v1.HTTPGetAction", http_get},
    {"core.v1.TCPSocketAction", check_port_ref},
    {"core.v1.Probe", probe},
    {"core.v1.LifecycleHandler", lifecycle_handler},
    {"core.v1.SeccompProfile", seccomp_profile},
    {"core.v1.AppArmorProfile", apparmor_profile},
    {"core.v1.SecurityContext", security_context},
    {"core.v1.WindowsSecurityContextOptions", windows_options},
    {"core.v1.ResourceRequirements", check_resources},
    {"meta.v1.LabelSelector", check_label_selector},
};

}  // namespace

std::span<const TypeRule> container_type_rules() { return type_rules; }

void check_field_ref(Checker& c, const object& ref, const std::string& path, std::vector<std::string_view> paths) {
  std::string_view field = text(ref, "fieldPath");
  if (field.empty()) return;
  if (std::string_view version = text(ref, "apiVersion"); version != "v1") {
    c.invalid_text(path + ".fieldPath", field, fmt::format("error converting fieldPath: unsupported pod version: {}", version));
    return;
  }
  auto [name, key] = subscript_of(field);
  if (name.size() != field.size()) {
    if (name == "metadata.annotations" || name == "metadata.labels") {
      std::string lower(key);
      if (name == "metadata.annotations")
        std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char ch) { return std::tolower(ch); });
      c.check_text(path, key, check_qualified_name(lower));
    } else {
      c.invalid_text(path, name, "does not support subscript");
    }
    return;
  }
  if (std::find(paths.begin(), paths.end(), name) == paths.end()) c.unsupported(path + ".fieldPath", name, std::move(paths));
}

void check_resource_ref(Checker& c, const object& ref, const std::string& path, bool for_volume) {
  if (for_volume && text(ref, "containerName").empty()) c.required(path + ".containerName");
  std::string_view resource = text(ref, "resource");
  if (resource.empty()) return;
  const Names known = {"limits.cpu",   "limits.ephemeral-storage",   "limits.memory",
                       "requests.cpu", "requests.ephemeral-storage", "requests.memory"};
  bool pages = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
  if (!pages && !is_one_of(resource, known)) c.unsupported(path + ".resource", resource, known);
  else check_divisor(c, ref, path, resource);
}

void check_container(Checker& c, const object& o, const std::string& path, Role role, const PodView& pod) {
  const bool sidecar = role == Role::init && text(o, "restartPolicy") == "Always";
  std::string_view image = text(o, "image");
  if (image.empty()) {
    // A template may leave the image to whoever uses it no more than a pod may.
    c.required(path + ".image");
  } else if (std::isspace(static_cast<unsigned char>(image.front())) || std::isspace(static_cast<unsigned char>(image.back()))) {
    c.invalid_text(path + ".image", image, "must not have leading or trailing whitespace");
  }
  if (role == Role::init && !sidecar) {
    for (std::string_view n : {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"}) {
      if (has(o, n)) c.forbidden(fmt::format("{}.{}", path, n), "may not be set for init containers without restartPolicy=Always");
    }
  }
  if (role == Role::ephemeral) {
    for (std::string_view n : {"ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy",
                               "restartPolicy", "restartPolicyRules"}) {
      const value* v = o.if_contains(n);
      bool empty = !v || v->is_null() || (v->is_object() && v->get_object().empty()) || (v->is_array() && v->get_array().empty());
      if (!empty) c.forbidden(fmt::format("{}.{}", path, n), "cannot be set for an Ephemeral Container");
    }
  }
  std::set<std::string_view> port_names;
  const array& ports = list(o, "ports");
  for (size_t i = 0; i < ports.size(); ++i) {
    const object& p = as_object(ports[i]);
    std::string at = fmt::format("{}.ports[{}]", path, i);
    if (std::string_view name = text(p, "name"); !name.empty()) {
      c.check_text(at + ".name", name, check_port_name(name));
      if (!port_names.insert(name).second) c.duplicate(at + ".name", name);
    }
    int64_t inside = number(p, "containerPort"), host = number(p, "hostPort");
    if (flag(pod.spec, "hostNetwork") && role != Role::ephemeral && host != inside && (host != 0 || !pod.is_template)) {
      c.invalid(at + ".containerPort", value(inside), "must match `hostPort` when `hostNetwork` is true");
    }
    if (host == 0 || role == Role::ephemeral) continue;
    std::string key = fmt::format("{}/{}/{}", text(p, "protocol"), text(p, "hostIP"), host);
    // Init containers run one after the other: their ports meet those of nobody.
    if ((role == Role::regular || sidecar) && !pod.host_ports.insert(key).second) c.duplicate(at + ".hostPort", key);
  }
  check_mounts(c, o, path, pod, role);
  check_probes(c, o, path);
  check_hooks(c, o, pod.spec, path);
  check_resize_policy(c, o, path, text(pod.spec, "restartPolicy"));
  check_restart_rules(c, o, path);
  if (role == Role::init && text(o, "restartPolicy") != "Always" && has(o, "restartPolicy") && list(o, "restartPolicyRules").empty() &&
      !pod.restart_rules) {
    c.unsupported(path + ".restartPolicy", text(o, "restartPolicy"), {"Always"});
  }
  const object& security = map(o, "securityContext");
  if (text(security, "procMount") == "Unmasked" && (!has(pod.spec, "hostUsers") || flag(pod.spec, "hostUsers"))) {
    c.invalid_text(path + ".securityContext.procMount", "Unmasked", "`hostUsers` must be false to use `Unmasked`");
  }
  std::set<std::string_view> claims;
  const array& wanted = list(map(o, "resources"), "claims");
  for (size_t i = 0; i < wanted.size(); ++i) {
    const object& claim = as_object(wanted[i]);
    std::string_view name = text(claim, "name"), request = text(claim, "request");
    std::string at = fmt::format("{}.resources.claims[{}]", path, i);
    if (name.empty()) continue;
    if (!claims.insert(name).second && request.empty()) c.duplicate(at, name);
    if (!pod.resource_claims.contains(name)) c.not_found(at + ".name", name);
  }
}

namespace {

bool is_standard_resource(std::string_view name) {
  return name == "cpu" || name == "memory" || name == "ephemeral-storage" || name.starts_with("hugepages-");
}

}  // namespace

void check_resource_name(Checker& c, std::string_view name, const std::string& path) {
  c.check_text(path, name, check_qualified_name(name));
  if (name.find('/') == std::string_view::npos) {
    if (!is_standard_resource(name)) c.invalid_text(path, name, "must be a standard resource for containers");
  } else if (name.starts_with("requests.") ||
             (name.substr(0, name.find('/')).ends_with("kubernetes.io") && !name.starts_with("attachable-volumes"))) {
    c.invalid_text(path, name, "doesn't follow extended resource name standard");
  }
}

void check_amount(Checker& c, std::string_view resource, const value& amount, const std::string& path) {
  auto q = Quantity::parse(as_text(amount));
  if (!q) return;
  if (q->sign() < 0) c.invalid(path, amount, "must be greater than or equal to 0");
  bool whole = resource == "pods" || resource == "services" || resource == "replicationcontrollers" || resource == "resourcequotas" ||
               resource == "secrets" || resource == "configmaps" || resource == "persistentvolumeclaims" ||
               resource == "services.nodeports" || resource == "services.loadbalancers" ||
               (resource.find('/') != std::string_view::npos && !resource.ends_with(".storageclass.storage.k8s.io/requests.storage"));
  if (whole && (*q - Quantity::of_value(q->value())).sign() != 0) c.invalid(path, amount, "must be an integer");
}

void check_resources(Checker& c, const object& resources, const std::string& path) {
  const object& limits = map(resources, "limits");
  const object& requests = map(resources, "requests");
  bool pages = false, base = false;
  for (std::string_view kind : {"limits", "requests"}) {
    for (const auto& [name, amount] : map(resources, kind)) {
      std::string at = fmt::format("{}.{}[{}]", path, kind, std::string_view(name));
      check_resource_name(c, name, at);
      check_amount(c, name, amount, at);
      pages |= std::string_view(name).starts_with("hugepages-");
      base |= name == "cpu" || name == "memory";
    }
  }
  for (const auto& [name, amount] : requests) {
    std::string_view resource = name;
    bool fixed =
        resource.starts_with("hugepages-") || (resource.find('/') != std::string_view::npos && !resource.starts_with("attachable-volumes"));
    const value* limit = limits.if_contains(name);
    if (!limit) {
      if (fixed) c.required(path + ".limits", "Limit must be set for non overcommitable resources");
      continue;
    }
    auto r = Quantity::parse(as_text(amount)), l = Quantity::parse(as_text(*limit));
    if (!r || !l) continue;
    if (fixed && *r != *l) c.invalid(path + ".requests", amount, fmt::format("must be equal to {} limit of {}", resource, as_text(*limit)));
    else if (!fixed && *r > *l)
      c.invalid(path + ".requests", amount, fmt::format("must be less than or equal to {} limit of {}", resource, as_text(*limit)));
  }
  if (pages && !base) c.forbidden(path, "HugePages require cpu or memory");
}

}  // namespace api::validation
