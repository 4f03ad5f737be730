// The rules of pod specs, in pods and in templates.
#include <algorithm>
#include <map>
#include <set>

#include "api/quantity.h"
#include "api/validate_names.h"
#include "api/validation/checker.h"

namespace api::validation {
namespace {

// Names of the members of `o` that are among `names`.
std::vector<std::string_view> present(const object& o, std::initializer_list<std::string_view> names) {
  std::vector<std::string_view> out;
  for (std::string_view n : names) {
    if (has(o, n)) out.push_back(n);
  }
  return out;
}

void check_relative_path(Checker& c, const std::string& path, std::string_view p) {
  if (p.starts_with('/')) c.invalid_text(path, p, "must be a relative path");
  for (size_t at = 0; at <= p.size();) {
    size_t end = std::min(p.find('/', at), p.size());
    if (p.substr(at, end - at) == "..") {
      c.invalid_text(path, p, "must not contain '..'");
      return;
    }
    at = end + 1;
  }
}

void check_mode(Checker& c, const object& o, std::string_view name, const std::string& path) {
  const value* v = o.if_contains(name);
  if (v && v->is_int64() && (v->get_int64() < 0 || v->get_int64() > 0777)) {
    c.invalid(fmt::format("{}.{}", path, name), *v, "must be a number between 0 and 0777 (octal), both inclusive");
  }
}

void check_items(Checker& c, const object& source, const std::string& path) {
  const array& items = list(source, "items");
  for (size_t i = 0; i < items.size(); ++i) {
    const object& item = as_object(items[i]);
    std::string at = fmt::format("{}.items[{}]", path, i);
    check_mode(c, item, "mode", at);
    if (!text(item, "path").empty()) check_relative_path(c, at + ".path", text(item, "path"));
  }
}

void check_volume(Checker& c, const object& volume, const std::string& path) {
  std::vector<std::string_view> sources;
  for (const auto& [key, v] : volume) {
    if (key != "name" && !v.is_null()) sources.emplace_back(key);
  }
  if (sources.empty()) c.required(path, "must specify a volume type");
  for (size_t i = 1; i < sources.size(); ++i) c.forbidden(fmt::format("{}.{}", path, sources[i]), "may not specify more than 1 volume type");
  for (std::string_view name : {"configMap", "secret"}) {
    if (!has(volume, name)) continue;
    const object& source = map(volume, name);
    std::string at = fmt::format("{}.{}", path, name), member = name == "secret" ? "secretName" : "name";
    if (text(source, member).empty()) c.required(at + "." + member);
    check_mode(c, source, "defaultMode", at);
    check_items(c, source, at);
  }
  if (has(volume, "projected")) {
    const object& projected = map(volume, "projected");
    check_mode(c, projected, "defaultMode", path + ".projected");
    const array& all = list(projected, "sources");
    for (size_t i = 0; i < all.size(); ++i) {
      std::string at = fmt::format("{}.projected.sources[{}]", path, i);
      const object& source = as_object(all[i]);
      if (source.size() != 1) c.forbidden(at, "may not specify more than 1 volume type");
      for (std::string_view name : {"configMap", "secret"}) {
        if (has(source, name)) check_items(c, map(source, name), fmt::format("{}.{}", at, name));
      }
      if (has(source, "serviceAccountToken")) {
        int64_t seconds = number(map(source, "serviceAccountToken"), "expirationSeconds", 3600);
        if (seconds < 600) {
          c.invalid(at + ".serviceAccountToken.expirationSeconds", value(seconds), "may not specify a duration less than 10 minutes");
        }
      }
    }
  }
  if (has(volume, "downwardAPI")) check_items(c, map(volume, "downwardAPI"), path + ".downwardAPI");
  if (has(volume, "hostPath") && text(map(volume, "hostPath"), "path").find("..") != std::string_view::npos) {
    check_relative_path(c, path + ".hostPath.path", text(map(volume, "hostPath"), "path").substr(1));
  }
  if (has(volume, "emptyDir")) {
    std::string_view limit = text(map(volume, "emptyDir"), "sizeLimit");
    if (!limit.empty() && Quantity::of(limit).sign() < 0) c.forbidden(path + ".emptyDir.sizeLimit", "SizeLimit field must be a valid resource quantity");
  }
}

void check_env(Checker& c, const object& container, const std::string& path) {
  const array& env = list(container, "env");
  for (size_t i = 0; i < env.size(); ++i) {
    const object& e = as_object(env[i]);
    std::string at = fmt::format("{}.env[{}]", path, i);
    if (!text(e, "name").empty()) c.check_text(at + ".name", text(e, "name"), check_env_name(text(e, "name")));
    if (!has(e, "valueFrom")) continue;
    auto sources = present(map(e, "valueFrom"), {"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"});
    if (!text(e, "value").empty()) c.invalid(at + ".valueFrom", "", "may not be specified when `value` is not empty");
    else if (sources.empty()) {
      c.invalid(at + ".valueFrom", "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`");
    } else if (sources.size() > 1) {
      c.invalid(at + ".valueFrom", "", "may not have more than one field specified at a time");
    }
    for (std::string_view ref : {"configMapKeyRef", "secretKeyRef"}) {
      if (!has(map(e, "valueFrom"), ref)) continue;
      const object& source = map(map(e, "valueFrom"), ref);
      if (text(source, "name").empty()) c.required(fmt::format("{}.valueFrom.{}.name", at, ref));
    }
  }
  const array& from = list(container, "envFrom");
  for (size_t i = 0; i < from.size(); ++i) {
    const object& e = as_object(from[i]);
    std::string at = fmt::format("{}.envFrom[{}]", path, i);
    auto sources = present(e, {"configMapRef", "secretRef"});
    if (sources.empty()) c.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`");
    if (sources.size() > 1) c.invalid(at, "", "may not have more than one field specified at a time");
    for (std::string_view s : sources) {
      if (text(map(e, s), "name").empty()) c.required(fmt::format("{}.{}.name", at, s));
    }
  }
}

void check_ports(Checker& c, const object& container, const std::string& path, bool host_network) {
  std::set<std::string> names;
  const array& ports = list(container, "ports");
  for (size_t i = 0; i < ports.size(); ++i) {
    const object& p = as_object(ports[i]);
    std::string at = fmt::format("{}.ports[{}]", path, i);
    if (std::string_view name = text(p, "name"); !name.empty()) {
      c.check_text(at + ".name", name, check_port_name(name));
      if (!names.emplace(name).second) c.duplicate(at + ".name", name);
    }
    int64_t inside = number(p, "containerPort"), host = number(p, "hostPort");
    if (inside == 0) c.required(at + ".containerPort");
    else c.port(at + ".containerPort", inside);
    if (host != 0) c.port(at + ".hostPort", host);
    if (host_network && host != 0 && host != inside) {
      c.invalid(at + ".hostPort", value(host), "must match `containerPort` when `hostNetwork` is true");
    }
  }
}

void check_handler(Checker& c, const object& handler, const std::string& path, std::initializer_list<std::string_view> kinds) {
  auto chosen = present(handler, kinds);
  if (chosen.empty()) c.required(path, "must specify a handler type");
  for (size_t i = 1; i < chosen.size(); ++i) c.forbidden(fmt::format("{}.{}", path, chosen[i]), "may not specify more than 1 handler type");
  if (has(handler, "exec") && list(map(handler, "exec"), "command").empty()) c.required(path + ".exec.command");
  for (std::string_view kind : {"httpGet", "tcpSocket"}) {
    if (!has(handler, kind)) continue;
    const object& h = map(handler, kind);
    std::string at = fmt::format("{}.{}.port", path, kind);
    const value* port = h.if_contains("port");
    if (port && port->is_int64()) c.port(at, port->get_int64());
    else if (port && port->is_string()) c.check_text(at, as_text(*port), check_port_name(as_text(*port)));
  }
  if (has(handler, "grpc")) c.port(path + ".grpc.port", number(map(handler, "grpc"), "port"));
}

void check_probe(Checker& c, const object& container, std::string_view name, const std::string& container_path) {
  if (!has(container, name)) return;
  const object& probe = map(container, name);
  std::string path = fmt::format("{}.{}", container_path, name);
  check_handler(c, probe, path, {"exec", "httpGet", "tcpSocket", "grpc"});
  for (std::string_view n : {"initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"}) {
    c.non_negative(probe, n, path);
  }
  if (name != "readinessProbe" && number(probe, "successThreshold", 1) != 1) {
    c.invalid(path + ".successThreshold", value(number(probe, "successThreshold")), "must be 1");
  }
  if (has(probe, "terminationGracePeriodSeconds")) {
    if (name == "readinessProbe") {
      c.invalid(path + ".terminationGracePeriodSeconds", *probe.if_contains("terminationGracePeriodSeconds"), "must not be set for readinessProbes");
    } else if (number(probe, "terminationGracePeriodSeconds") <= 0) {
      c.invalid(path + ".terminationGracePeriodSeconds", value(number(probe, "terminationGracePeriodSeconds")), "must be greater than 0");
    }
  }
}

void check_mounts(Checker& c, const object& container, const std::string& path, const std::set<std::string, std::less<>>& volumes) {
  std::set<std::string> paths;
  const array& mounts = list(container, "volumeMounts");
  for (size_t i = 0; i < mounts.size(); ++i) {
    const object& m = as_object(mounts[i]);
    std::string at = fmt::format("{}.volumeMounts[{}]", path, i);
    std::string_view name = text(m, "name"), where = text(m, "mountPath");
    if (!name.empty() && !volumes.contains(name)) c.not_found(at + ".name", name);
    if (!where.empty() && !paths.emplace(where).second) c.invalid_text(at + ".mountPath", where, "must be unique");
    if (std::string_view sub = text(m, "subPath"); !sub.empty()) {
      if (!text(m, "subPathExpr").empty()) c.invalid_text(at + ".subPathExpr", text(m, "subPathExpr"), "subPathExpr and subPath are mutually exclusive");
      check_relative_path(c, at + ".subPath", sub);
    }
    if (std::string_view sub = text(m, "subPathExpr"); !sub.empty()) check_relative_path(c, at + ".subPathExpr", sub);
  }
  const array& devices = list(container, "volumeDevices");
  for (size_t i = 0; i < devices.size(); ++i) {
    std::string_view name = text(as_object(devices[i]), "name");
    if (!name.empty() && !volumes.contains(name)) c.not_found(fmt::format("{}.volumeDevices[{}].name", path, i), name);
  }
}

void check_security_context(Checker& c, const object& o, const std::string& path) {
  for (std::string_view n : {"runAsUser", "runAsGroup", "fsGroup"}) {
    const value* v = o.if_contains(n);
    if (v && v->is_int64() && (v->get_int64() < 0 || v->get_int64() > INT32_MAX)) {
      c.invalid(fmt::format("{}.{}", path, n), *v, "must be between 0 and 2147483647, inclusive");
    }
  }
  if (flag(o, "privileged") && has(o, "allowPrivilegeEscalation") && !flag(o, "allowPrivilegeEscalation")) {
    c.invalid(path, value(o), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
  }
  if (const object& seccomp = map(o, "seccompProfile"); !seccomp.empty()) {
    bool local = text(seccomp, "type") == "Localhost", named = !text(seccomp, "localhostProfile").empty();
    if (local && !named) c.required(path + ".seccompProfile.localhostProfile", "must be set when seccomp type is Localhost");
    if (!local && named) {
      c.invalid_text(path + ".seccompProfile.localhostProfile", text(seccomp, "localhostProfile"), "can only be set when seccomp type is Localhost");
    }
  }
}

enum class Role { regular, init, ephemeral };

void check_container(Checker& c, const object& o, const std::string& path, Role role, const object& spec,
                     const std::set<std::string, std::less<>>& volumes) {
  bool sidecar = role == Role::init && text(o, "restartPolicy") == "Always";
  std::string_view image = text(o, "image");
  if (image.empty()) c.required(path + ".image");
  else if (image.front() == ' ' || image.back() == ' ' || image.back() == '\n') {
    c.invalid_text(path + ".image", image, "must not have leading or trailing whitespace");
  }
  if (role == Role::init && !sidecar) {
    for (std::string_view n : {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"}) {
      if (has(o, n)) c.forbidden(fmt::format("{}.{}", path, n), "may not be set for init containers without restartPolicy=Always");
    }
  }
  check_env(c, o, path);
  check_ports(c, o, path, flag(spec, "hostNetwork"));
  check_mounts(c, o, path, volumes);
  for (std::string_view n : {"livenessProbe", "readinessProbe", "startupProbe"}) check_probe(c, o, n, path);
  const object& lifecycle = map(o, "lifecycle");
  for (std::string_view n : {"postStart", "preStop"}) {
    if (has(lifecycle, n)) check_handler(c, map(lifecycle, n), fmt::format("{}.lifecycle.{}", path, n), {"exec", "httpGet", "tcpSocket", "sleep"});
  }
  check_resources(c, map(o, "resources"), path + ".resources");
  check_security_context(c, map(o, "securityContext"), path + ".securityContext");
}

void check_tolerations(Checker& c, const object& spec, const std::string& path) {
  const array& all = list(spec, "tolerations");
  for (size_t i = 0; i < all.size(); ++i) {
    const object& t = as_object(all[i]);
    std::string at = fmt::format("{}.tolerations[{}]", path, i);
    std::string_view key = text(t, "key"), op = text(t, "operator");
    if (!key.empty()) c.check_text(at + ".key", key, check_qualified_name(key));
    if (key.empty() && op != "Exists") {
      c.invalid_text(at + ".operator", op, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
    }
    if (op == "Exists" && !text(t, "value").empty()) c.invalid(at + ".operator", all[i], "value must be empty when `operator` is 'Exists'");
    if (has(t, "tolerationSeconds") && text(t, "effect") != "NoExecute") {
      c.invalid_text(at + ".effect", text(t, "effect"), "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
  }
}

void check_node_term(Checker& c, const object& term, const std::string& path) {
  for (std::string_view member : {"matchExpressions", "matchFields"}) {
    const array& all = list(term, member);
    for (size_t i = 0; i < all.size(); ++i) {
      const object& e = as_object(all[i]);
      std::string at = fmt::format("{}.{}[{}]", path, member, i);
      std::string_view op = text(e, "operator");
      size_t values = list(e, "values").size();
      if ((op == "In" || op == "NotIn") && values == 0) c.required(at + ".values", "must be specified when `operator` is 'In' or 'NotIn'");
      if ((op == "Exists" || op == "DoesNotExist") && values != 0) {
        c.forbidden(at + ".values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
      }
      if ((op == "Gt" || op == "Lt") && values != 1) {
        c.required(at + ".values", "must be specified single value when `operator` is 'Lt' or 'Gt'");
      }
      if (member == "matchExpressions") c.check_text(at + ".key", text(e, "key"), check_qualified_name(text(e, "key")));
    }
  }
}

void check_pod_term(Checker& c, const object& term, const std::string& path) {
  check_label_selector(c, map(term, "labelSelector"), path + ".labelSelector");
  if (std::string_view key = text(term, "topologyKey"); !key.empty()) c.check_text(path + ".topologyKey", key, check_qualified_name(key));
}

void check_affinity(Checker& c, const object& affinity, const std::string& path) {
  constexpr std::string_view hard = "requiredDuringSchedulingIgnoredDuringExecution", soft = "preferredDuringSchedulingIgnoredDuringExecution";
  auto weight = [&](const object& o, const std::string& at) {
    int64_t w = number(o, "weight");
    if (w < 1 || w > 100) c.invalid(at + ".weight", value(w), "must be in the range 1-100");
  };
  const object& node = map(affinity, "nodeAffinity");
  const array& terms = list(map(node, hard), "nodeSelectorTerms");
  for (size_t i = 0; i < terms.size(); ++i) {
    check_node_term(c, as_object(terms[i]), fmt::format("{}.nodeAffinity.{}.nodeSelectorTerms[{}]", path, hard, i));
  }
  const array& preferred = list(node, soft);
  for (size_t i = 0; i < preferred.size(); ++i) {
    std::string at = fmt::format("{}.nodeAffinity.{}[{}]", path, soft, i);
    weight(as_object(preferred[i]), at);
    check_node_term(c, map(as_object(preferred[i]), "preference"), at + ".preference");
  }
  for (std::string_view kind : {"podAffinity", "podAntiAffinity"}) {
    const object& pods = map(affinity, kind);
    const array& must = list(pods, hard);
    for (size_t i = 0; i < must.size(); ++i) check_pod_term(c, as_object(must[i]), fmt::format("{}.{}.{}[{}]", path, kind, hard, i));
    const array& should = list(pods, soft);
    for (size_t i = 0; i < should.size(); ++i) {
      std::string at = fmt::format("{}.{}.{}[{}]", path, kind, soft, i);
      weight(as_object(should[i]), at);
      check_pod_term(c, map(as_object(should[i]), "podAffinityTerm"), at + ".podAffinityTerm");
    }
  }
}

void check_containers(Checker& c, const object& spec, const std::string& path, const std::set<std::string, std::less<>>& volumes) {
  std::set<std::string, std::less<>> names;
  static constexpr std::pair<std::string_view, Role> lists[] = {
      {"initContainers", Role::init}, {"containers", Role::regular}, {"ephemeralContainers", Role::ephemeral}};
  if (list(spec, "containers").empty()) c.required(path + ".containers");
  for (auto [name, role] : lists) {
    const array& all = list(spec, name);
    for (size_t i = 0; i < all.size(); ++i) {
      const object& o = as_object(all[i]);
      std::string at = fmt::format("{}.{}[{}]", path, name, i);
      std::string_view own = text(o, "name");
      if (own.empty()) c.required(at + ".name");
      else {
        c.check_text(at + ".name", own, check_dns1123_label(own));
        if (!names.emplace(own).second) c.duplicate(at + ".name", own);
      }
      check_container(c, o, at, role, spec, volumes);
    }
  }
}

void check_dns(Checker& c, const object& spec, const std::string& path) {
  const object& config = map(spec, "dnsConfig");
  if (text(spec, "dnsPolicy") == "None") {
    if (!has(spec, "dnsConfig")) c.required(path + ".dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None");
    else if (list(config, "nameservers").empty()) {
      c.required(path + ".dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
  }
  const array& servers = list(config, "nameservers");
  for (size_t i = 0; i < servers.size(); ++i) {
    c.check_text(fmt::format("{}.dnsConfig.nameservers[{}]", path, i), as_text(servers[i]), check_ip(as_text(servers[i])));
  }
}

// What an update may change is brought to what it was; anything that still differs is forbidden.
object without_mutable(const object& before, const object& after) {
  object out = after;
  for (std::string_view name : {"containers", "initContainers"}) {
    const array& old = list(before, name);
    if (old.empty() || list(out, name).size() != old.size()) continue;
    array& now = out[name].get_array();
    for (size_t i = 0; i < now.size(); ++i) {
      if (!now[i].is_object() || text(as_object(old[i]), "image").empty()) continue;
      now[i].get_object()["image"] = text(as_object(old[i]), "image");
    }
  }
  auto restore = [&](std::string_view name) {
    if (const value* v = before.if_contains(name)) out[name] = *v;
    else out.erase(name);
  };
  const value* deadline = after.if_contains("activeDeadlineSeconds");
  if (deadline && (!has(before, "activeDeadlineSeconds") || number(after, "activeDeadlineSeconds") <= number(before, "activeDeadlineSeconds"))) {
    restore("activeDeadlineSeconds");
  }
  const array& had = list(before, "tolerations");
  const array& have = list(after, "tolerations");
  bool kept = std::all_of(had.begin(), had.end(), [&](const value& t) { return std::find(have.begin(), have.end(), t) != have.end(); });
  if (kept) restore("tolerations");
  if (number(before, "terminationGracePeriodSeconds") < 0 && number(after, "terminationGracePeriodSeconds") == 1) restore("terminationGracePeriodSeconds");
  const array& gates = list(before, "schedulingGates");
  const array& left = list(after, "schedulingGates");
  bool fewer = std::all_of(left.begin(), left.end(), [&](const value& g) { return std::find(gates.begin(), gates.end(), g) != gates.end(); });
  if (fewer) {
    restore("schedulingGates");
    if (!gates.empty()) {
      restore("nodeSelector");
      restore("affinity");
    }
  }
  return out;
}

}  // namespace

void check_resources(Checker& c, const object& resources, const std::string& path) {
  const object& limits = map(resources, "limits");
  for (std::string_view kind : {"limits", "requests"}) {
    for (const auto& [name, amount] : map(resources, kind)) {
      std::string at = fmt::format("{}.{}[{}]", path, kind, std::string_view(name));
      auto q = Quantity::parse(as_text(amount));
      if (!q) continue;
      if (q->sign() < 0) c.invalid(at, amount, "must be greater than or equal to 0");
      bool standard = name == "cpu" || name == "memory" || name == "ephemeral-storage" || std::string_view(name).starts_with("hugepages-");
      if (!standard && std::string_view(name).find('/') == std::string_view::npos) {
        c.invalid_text(at, name, "must be a standard resource for containers");
      }
      if (!standard && q->milli_value() % 1000 != 0) c.invalid(at, amount, "must be an integer");
    }
  }
  for (const auto& [name, amount] : map(resources, "requests")) {
    const value* limit = limits.if_contains(name);
    if (!limit) continue;
    auto r = Quantity::parse(as_text(amount)), l = Quantity::parse(as_text(*limit));
    if (r && l && *r > *l) {
      c.invalid(path + ".requests", amount, fmt::format("must be less than or equal to {} limit of {}", std::string_view(name), as_text(*limit)));
    }
  }
}

void check_pod_spec(Checker& c, const object& spec, const std::string& path, const PodRules& rules) {
  std::set<std::string, std::less<>> volumes;
  const array& all = list(spec, "volumes");
  for (size_t i = 0; i < all.size(); ++i) {
    const object& v = as_object(all[i]);
    std::string at = fmt::format("{}.volumes[{}]", path, i);
    std::string_view name = text(v, "name");
    if (!name.empty()) {
      c.check_text(at + ".name", name, check_dns1123_label(name));
      if (!volumes.emplace(name).second) c.duplicate(at + ".name", name);
    }
    check_volume(c, v, at);
  }
  check_containers(c, spec, path, volumes);
  std::string_view policy = text(spec, "restartPolicy");
  if (!rules.restart_policies.empty() && std::find(rules.restart_policies.begin(), rules.restart_policies.end(), policy) == rules.restart_policies.end()) {
    c.unsupported(path + ".restartPolicy", policy, rules.restart_policies);
  }
  c.non_negative(spec, "terminationGracePeriodSeconds", path);
  if (const value* v = spec.if_contains("activeDeadlineSeconds"); v && v->is_int64()) {
    if (v->get_int64() < 1 || v->get_int64() > INT32_MAX) c.invalid(path + ".activeDeadlineSeconds", *v, "must be between 1 and 2147483647, inclusive");
    else if (rules.is_template && policy == "Always") c.forbidden(path + ".activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported");
  }
  check_dns(c, spec, path);
  check_labels(c, map(spec, "nodeSelector"), path + ".nodeSelector");
  check_tolerations(c, spec, path);
  check_affinity(c, map(spec, "affinity"), path + ".affinity");
  check_security_context(c, map(spec, "securityContext"), path + ".securityContext");
  if (flag(spec, "shareProcessNamespace") && flag(spec, "hostPID")) {
    c.invalid(path + ".securityContext.shareProcessNamespace", true, "ShareProcessNamespace and HostPID cannot both be enabled");
  }
  auto named = [&](std::string_view member, std::string (*check)(std::string_view)) {
    if (std::string_view v = text(spec, member); !v.empty()) c.check_text(fmt::format("{}.{}", path, member), v, check(v));
  };
  named("serviceAccountName", check_dns1123_subdomain);
  named("nodeName", check_dns1123_subdomain);
  named("hostname", check_dns1123_label);
  named("subdomain", check_dns1123_label);
  named("priorityClassName", check_dns1123_subdomain);
  named("runtimeClassName", check_dns1123_subdomain);
  const array& aliases = list(spec, "hostAliases");
  for (size_t i = 0; i < aliases.size(); ++i) {
    std::string_view ip = text(as_object(aliases[i]), "ip");
    if (!ip.empty()) c.check_text(fmt::format("{}.hostAliases[{}].ip", path, i), ip, check_ip(ip));
  }
  const array& spread = list(spec, "topologySpreadConstraints");
  for (size_t i = 0; i < spread.size(); ++i) {
    std::string at = fmt::format("{}.topologySpreadConstraints[{}]", path, i);
    int64_t skew = number(as_object(spread[i]), "maxSkew");
    if (skew <= 0) c.invalid(at + ".maxSkew", value(skew), "must be greater than zero");
    check_label_selector(c, map(as_object(spread[i]), "labelSelector"), at + ".labelSelector");
  }
}

void check_pod_update(Checker& c, const object& before, const object& after, std::string_view subresource) {
  const object& old = map(before, "spec");
  const object& now = map(after, "spec");
  if (subresource == "ephemeralcontainers") {
    const array& had = list(old, "ephemeralContainers");
    const array& have = list(now, "ephemeralContainers");
    for (const value& e : had) {
      if (std::find(have.begin(), have.end(), e) == have.end()) {
        c.forbidden("spec.ephemeralContainers", "existing ephemeral containers may not be removed or changed");
        return;
      }
    }
    return;
  }
  if (!subresource.empty()) return;
  if (old == without_mutable(old, now)) return;
  c.forbidden("spec",
              "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
              "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
              "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)");
}

}  // namespace api::validation
