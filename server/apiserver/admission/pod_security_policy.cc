#include "server/apiserver/admission/pod_security_policy.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <vector>

#include <fmt/format.h>

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;
using Names = std::vector<std::string>;

struct Finding {
  std::string reason, detail;  // no reason: nothing was found
};

std::string quoted(const Names& names) {
  std::string out;
  for (const std::string& n : names) out += fmt::format("{}\"{}\"", out.empty() ? "" : ", ", n);
  return out;
}
std::string quoted(const std::set<std::string>& names) { return quoted(Names(names.begin(), names.end())); }
std::string_view plural(std::string_view one, std::string_view many, size_t n) { return n == 1 ? one : many; }
std::string containers(const Names& names) { return fmt::format("{} {}", plural("container", "containers", names.size()), quoted(names)); }

template <class F>
void each_container(const value& pod, F f) {
  for (const char* list : {"spec.initContainers", "spec.containers", "spec.ephemeralContainers"})
    if (const array* all = base::find_array(pod, list))
      for (const value& c : *all) f(c, std::string(base::get_string(c, "name")));
}

// The settings of the pod and of its containers at one place below securityContext: who has one that is bad.
struct Setters {
  bool pod = false;
  Names names;
  std::set<std::string> bad;
  bool any() const { return pod || !names.empty(); }
  std::string text() const {
    std::string out = pod ? "pod" : "";
    if (!names.empty()) out += (pod ? " and " : "") + containers(names);
    return out;
  }
};
template <class Bad>
Setters setters(const value& pod, Bad bad) {
  Setters out;
  if (const value* c = base::find(pod, "spec.securityContext")) out.pod = bad(*c, out.bad);
  each_container(pod, [&](const value& container, const std::string& name) {
    if (const value* c = base::find(container, "securityContext"); c && bad(*c, out.bad)) out.names.push_back(name);
  });
  return out;
}

Finding app_armor(const value& pod, int) {
  auto allowed = [](std::string_view type) { return type == "RuntimeDefault" || type == "Localhost"; };
  Setters s = setters(pod, [&](const value& c, std::set<std::string>& bad) {
    std::string_view type = base::get_string(c, "appArmorProfile.type");
    if (type.empty() || allowed(type)) return false;
    bad.emplace(type);
    return true;
  });
  std::string who = s.text();
  if (const object* annotations = base::find_object(pod, "metadata.annotations"))
    for (const auto& [name, v] : *annotations) {
      constexpr std::string_view prefix = "container.apparmor.security.beta.kubernetes.io/";
      std::string_view profile = v.is_string() ? std::string_view(v.get_string()) : std::string_view();
      if (!std::string_view(name).starts_with(prefix) || profile.empty() || profile == "runtime/default" ||
          profile.starts_with("localhost/"))
        continue;
      who += fmt::format("{}annotation \"{}\"", who.empty() ? "" : " and ", std::string_view(name));
      s.bad.emplace(profile);
    }
  if (s.bad.empty()) return {};
  return {std::string(plural("forbidden AppArmor profile", "forbidden AppArmor profiles", s.bad.size())),
          fmt::format("{} must not set AppArmor profile type to {}", who, quoted(s.bad))};
}

// Containers whose added capabilities are not all allowed.
Finding added(const value& pod, std::initializer_list<std::string_view> allowed, std::string_view reason) {
  Names names;
  std::set<std::string> bad;
  each_container(pod, [&](const value& c, const std::string& name) {
    const array* list = base::find_array(c, "securityContext.capabilities.add");
    bool any = false;
    if (list)
      for (const value& v : *list)
        if (v.is_string() && std::find(allowed.begin(), allowed.end(), std::string_view(v.get_string())) == allowed.end()) {
          bad.emplace(v.get_string());
          any = true;
        }
    if (any) names.push_back(name);
  });
  if (names.empty()) return {};
  return {std::string(reason), fmt::format("{} must not include {} in securityContext.capabilities.add", containers(names), quoted(bad))};
}

Finding capabilities(const value& pod, int) {
  return added(pod,
               {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
                "SETPCAP", "SETUID", "SYS_CHROOT"},
               "non-default capabilities");
}

Finding host_namespaces(const value& pod, int) {
  Names found;
  for (const char* name : {"hostNetwork", "hostPID", "hostIPC"})
    if (base::get_bool(pod, std::string("spec.") + name)) found.push_back(std::string(name) + "=true");
  if (found.empty()) return {};
  return {"host namespaces", fmt::format("{}", fmt::join(found, ", "))};
}

Finding host_path(const value& pod, int) {
  Names found;
  if (const array* volumes = base::find_array(pod, "spec.volumes"))
    for (const value& v : *volumes)
      if (base::find(v, "hostPath")) found.emplace_back(base::get_string(v, "name"));
  if (found.empty()) return {};
  return {"hostPath volumes", fmt::format("{} {}", plural("volume", "volumes", found.size()), quoted(found))};
}

Finding host_ports(const value& pod, int) {
  Names names;
  std::set<int64_t> ports;
  each_container(pod, [&](const value& c, const std::string& name) {
    bool any = false;
    if (const array* list = base::find_array(c, "ports"))
      for (const value& p : *list)
        if (int64_t n = base::get_int(p, "hostPort"); n != 0) {
          ports.insert(n);
          any = true;
        }
    if (any) names.push_back(name);
  });
  if (names.empty()) return {};
  return {std::string(plural("hostPort", "hostPorts", ports.size())),
          fmt::format("{} {} {} {}", containers(names), plural("uses", "use", names.size()), plural("hostPort", "hostPorts", ports.size()),
                      fmt::join(ports, ", "))};
}

Finding probe_hosts(const value& pod, int) {
  Names names;
  std::set<std::string> hosts;
  each_container(pod, [&](const value& c, const std::string& name) {
    bool any = false;
    for (const char* at : {"livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"})
      for (const char* how : {"httpGet", "tcpSocket"})
        if (std::string_view host = base::get_string(c, fmt::format("{}.{}.host", at, how)); !host.empty()) {
          hosts.emplace(host);
          any = true;
        }
    if (any) names.push_back(name);
  });
  if (names.empty()) return {};
  return {"probe or lifecycle host",
          fmt::format("{} {} {} {}", containers(names), plural("uses", "use", names.size()),
                      plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.size()), quoted(hosts))};
}

Finding privileged(const value& pod, int) {
  Names names;
  each_container(pod, [&](const value& c, const std::string& name) {
    if (base::get_bool(c, "securityContext.privileged")) names.push_back(name);
  });
  if (names.empty()) return {};
  return {"privileged", containers(names) + " must not set securityContext.privileged=true"};
}

Finding proc_mount(const value& pod, int) {
  Names names;
  std::set<std::string> bad;
  each_container(pod, [&](const value& c, const std::string& name) {
    std::string_view type = base::get_string(c, "securityContext.procMount");
    if (type.empty() || type == "Default") return;
    names.push_back(name);
    bad.emplace(type);
  });
  if (names.empty()) return {};
  return {"procMount", fmt::format("{} must not set securityContext.procMount to {}", containers(names), quoted(bad))};
}

Finding se_linux(const value& pod, int version) {
  std::set<std::string> types;
  bool user = false, role = false;
  Setters s = setters(pod, [&](const value& c, std::set<std::string>&) {
    bool bad = false;
    std::string_view type = base::get_string(c, "seLinuxOptions.type");
    bool allowed = type.empty() || type == "container_t" || type == "container_init_t" || type == "container_kvm_t" ||
                   (type == "container_engine_t" && version >= 31);
    if (!allowed) types.emplace(type), bad = true;
    if (!base::get_string(c, "seLinuxOptions.user").empty()) user = bad = true;
    if (!base::get_string(c, "seLinuxOptions.role").empty()) role = bad = true;
    return bad;
  });
  if (!s.any()) return {};
  Names what;
  if (!types.empty()) what.push_back(fmt::format("{} {}", plural("type", "types", types.size()), quoted(types)));
  if (user) what.emplace_back("user may not be set");
  if (role) what.emplace_back("role may not be set");
  return {"seLinuxOptions", fmt::format("{} set forbidden securityContext.seLinuxOptions: {}", s.text(), fmt::join(what, "; "))};
}

Finding bad_seccomp(const value& pod) {
  Setters s = setters(pod, [](const value& c, std::set<std::string>& bad) {
    std::string_view type = base::get_string(c, "seccompProfile.type");
    if (type.empty() || type == "RuntimeDefault" || type == "Localhost") return false;
    bad.emplace(type);
    return true;
  });
  if (!s.any()) return {};
  return {"seccompProfile", fmt::format("{} must not set securityContext.seccompProfile.type to {}", s.text(), quoted(s.bad))};
}
Finding seccomp(const value& pod, int) { return bad_seccomp(pod); }

Finding sysctls(const value& pod, int version) {
  struct Allowed {
    std::string_view name;
    int since;
  };
  static constexpr Allowed allowed[] = {
      {"kernel.shm_rmid_forced", 0},        {"net.ipv4.ip_local_port_range", 0},        {"net.ipv4.tcp_syncookies", 0},     {"net.ipv4.ping_group_range", 0},
      {"net.ipv4.ip_unprivileged_port_start", 0}, {"net.ipv4.ip_local_reserved_ports", 27}, {"net.ipv4.tcp_keepalive_time", 29}, {"net.ipv4.tcp_fin_timeout", 29},
      {"net.ipv4.tcp_keepalive_intvl", 29}, {"net.ipv4.tcp_keepalive_probes", 29},      {"net.ipv4.tcp_rmem", 32},          {"net.ipv4.tcp_wmem", 32},
  };
  Names bad;
  if (const array* list = base::find_array(pod, "spec.securityContext.sysctls"))
    for (const value& v : *list) {
      std::string_view name = base::get_string(v, "name");
      if (std::none_of(std::begin(allowed), std::end(allowed), [&](const Allowed& x) { return x.name == name && x.since <= version; }))
        bad.emplace_back(name);
    }
  if (bad.empty()) return {};
  return {"forbidden sysctls", fmt::format("{}", fmt::join(bad, ", "))};
}

Finding host_process(const value& pod, int) {
  Setters s = setters(pod, [](const value& c, std::set<std::string>&) { return base::get_bool(c, "windowsOptions.hostProcess"); });
  if (!s.any()) return {};
  return {"hostProcess", s.text() + " must not set securityContext.windowsOptions.hostProcess=true"};
}

Finding no_escalation(const value& pod, int) {
  Names names;
  each_container(pod, [&](const value& c, const std::string& name) {
    if (base::get_bool(c, "securityContext.allowPrivilegeEscalation", true)) names.push_back(name);
  });
  if (names.empty()) return {};
  return {"allowPrivilegeEscalation != false", containers(names) + " must set securityContext.allowPrivilegeEscalation=false"};
}

Finding dropped_capabilities(const value& pod, int) {
  Names names;
  each_container(pod, [&](const value& c, const std::string& name) {
    const array* drop = base::find_array(c, "securityContext.capabilities.drop");
    if (!drop || std::none_of(drop->begin(), drop->end(), [](const value& v) { return v.is_string() && v.get_string() == "ALL"; }))
      names.push_back(name);
  });
  Finding more = added(pod, {"NET_BIND_SERVICE"}, "unrestricted capabilities");
  if (names.empty()) return more;
  std::string detail = containers(names) + " must set securityContext.capabilities.drop=[\"ALL\"]";
  return {"unrestricted capabilities", more.detail.empty() ? detail : detail + "; " + more.detail};
}

Finding restricted_volumes(const value& pod, int) {
  static constexpr std::string_view allowed[] = {"configMap", "csi",   "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
                                                 "projected", "secret"};
  Names names;
  std::set<std::string> types;
  if (const array* volumes = base::find_array(pod, "spec.volumes"))
    for (const value& v : *volumes) {
      if (!v.is_object()) continue;
      std::string type = "unknown";
      for (const auto& [member, source] : v.get_object())
        if (member != "name" && !source.is_null()) type = member;
      if (std::find(std::begin(allowed), std::end(allowed), type) != std::end(allowed)) continue;
      names.emplace_back(base::get_string(v, "name"));
      types.insert(type);
    }
  if (names.empty()) return {};
  return {"restricted volume types",
          fmt::format("{} {} {} restricted volume {} {}", plural("volume", "volumes", names.size()), quoted(names),
                      plural("uses", "use", names.size()), plural("type", "types", types.size()), quoted(types))};
}

Finding non_root(const value& pod, int) {
  auto set_false = [](const value& c, std::set<std::string>&) { return !base::get_bool(c, "runAsNonRoot", true); };
  Setters s = setters(pod, set_false);
  const value* of_pod = base::find(pod, "spec.securityContext.runAsNonRoot");
  if (s.pod || !s.names.empty()) {
    // A pod's false matters only to containers that do not say otherwise.
    bool all_say = true;
    each_container(pod,
                   [&](const value& c, const std::string&) { all_say = all_say && base::get_bool(c, "securityContext.runAsNonRoot"); });
    if (!s.names.empty() || !all_say) return {"runAsNonRoot != true", s.text() + " must not set securityContext.runAsNonRoot=false"};
  }
  if (of_pod && of_pod->is_bool() && of_pod->get_bool()) return {};
  Names silent;
  each_container(pod, [&](const value& c, const std::string& name) {
    if (!base::find(c, "securityContext.runAsNonRoot")) silent.push_back(name);
  });
  if (silent.empty()) return {};
  return {"runAsNonRoot != true", fmt::format("pod or {} must set securityContext.runAsNonRoot=true", containers(silent))};
}

Finding root_user(const value& pod, int) {
  Setters s = setters(pod, [](const value& c, std::set<std::string>&) { return base::get_int(c, "runAsUser", 1) == 0; });
  if (!s.any()) return {};
  return {"runAsUser=0", s.text() + " must not set runAsUser=0"};
}

Finding restricted_seccomp(const value& pod, int) {
  if (Finding f = bad_seccomp(pod); !f.reason.empty()) return f;
  if (base::find(pod, "spec.securityContext.seccompProfile.type")) return {};
  Names silent;
  each_container(pod, [&](const value& c, const std::string& name) {
    if (!base::find(c, "securityContext.seccompProfile.type")) silent.push_back(name);
  });
  if (silent.empty()) return {};
  return {"seccompProfile",
          fmt::format("pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"", containers(silent))};
}

struct Check {
  Finding (*find)(const value& pod, int version);
  int since = 0;
  int not_on_windows_since = 0;  // 0: applies to every system
  bool replaced = false;         // of baseline: restricted has a stricter one
};
// In the order of Kubernetes' names for them, so that messages read alike.
constexpr Check baseline_checks[] = {
    {app_armor},  {capabilities, 0, 0, true}, {host_namespaces}, {host_path, 0, 0, true},
    {host_ports}, {probe_hosts, 34},          {privileged},      {proc_mount},
    {se_linux},   {seccomp, 0, 0, true},      {sysctls},         {host_process},
};
constexpr Check restricted_checks[] = {
    {no_escalation, 0, 25}, {dropped_capabilities, 22, 25}, {restricted_volumes}, {non_root}, {root_user, 23}, {restricted_seccomp, 0, 25},
};

}  // namespace

std::optional<SecurityLevel> parse_security_level(std::string_view text) {
  if (text == "privileged") return SecurityLevel::privileged;
  if (text == "baseline") return SecurityLevel::baseline;
  if (text == "restricted") return SecurityLevel::restricted;
  return std::nullopt;
}

std::optional<int> parse_security_version(std::string_view text) {
  if (text == "latest") return latest_security;
  if (!text.starts_with("v1.")) return std::nullopt;
  text.remove_prefix(3);
  int n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  bool plain =
      ec == std::errc() && end == text.data() + text.size() && n < latest_security && n >= 0 && (text == "0" || text.front() != '0');
  return plain ? std::optional(n) : std::nullopt;
}

std::string security_violations(const value& pod, SecurityLevel level, int version, bool reasons_only) {
  if (level == SecurityLevel::privileged) return {};
  const bool strict = level == SecurityLevel::restricted, windows = base::get_string(pod, "spec.os.name") == "windows";
  version = std::max(version, 19);
  std::string out;
  auto run = [&](const Check& c) {
    if (c.since > version || (windows && c.not_on_windows_since > 0 && c.not_on_windows_since <= version)) return;
    Finding f = c.find(pod, version);
    if (f.reason.empty()) return;
    out += (out.empty() ? "" : ", ") + f.reason;
    if (!reasons_only && !f.detail.empty()) out += " (" + f.detail + ")";
  };
  for (const Check& c : baseline_checks)
    if (!strict || !c.replaced || (c.find == capabilities && version < 22)) run(c);
  if (strict)
    for (const Check& c : restricted_checks) run(c);
  return out;
}

}  // namespace server
