// Services.
#include <set>

#include "api/validate_names.h"
#include "api/validation/addresses.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void check_ports(Checker& c, const object& spec) {
  const array& ports = list(spec, "ports");
  std::string_view type = text(spec, "type");
  bool headless = text(spec, "clusterIP") == "None";
  if (ports.empty() && !headless && type != "ExternalName") c.required("spec.ports");
  std::set<std::string_view> names;
  std::set<std::string> numbers, node_ports;
  for (size_t i = 0; i < ports.size(); ++i) {
    const object& p = as_object(ports[i]);
    std::string at = fmt::format("spec.ports[{}]", i);
    std::string_view name = text(p, "name"), protocol = text(p, "protocol");
    if (name.empty()) {
      if (ports.size() > 1) c.required(at + ".name");
    } else {
      c.check_text(at + ".name", name, check_dns1123_label(name));
      if (!names.insert(name).second) c.duplicate(at + ".name", name);
    }
    c.port(at + ".port", number(p, "port"));
    if (type == "LoadBalancer" && number(p, "port") == 10250)
      c.invalid(at, value(10250), "may not expose port 10250 externally since it is used by kubelet");
    if (const value* target = p.if_contains("targetPort")) {
      if (target->is_int64()) c.port(at + ".targetPort", target->get_int64());
      if (target->is_string()) c.check_text(at + ".targetPort", as_text(*target), check_port_name(as_text(*target)));
    }
    if (!numbers.insert(fmt::format("{}/{}", protocol, number(p, "port"))).second) c.duplicate(at, ports[i]);
    int64_t node = number(p, "nodePort");
    if (node == 0) continue;
    if (type != "NodePort" && type != "LoadBalancer")
      c.forbidden(at + ".nodePort", fmt::format("may not be used when `type` is '{}'", type));
    else if (node < 0 || node > 65535) c.port(at + ".nodePort", node);
    if (!node_ports.insert(fmt::format("{}/{}", protocol, node)).second) c.duplicate(at + ".nodePort", value(node));
  }
}

void check_external_name(Checker& c, const object& spec) {
  for (std::string_view n : {"clusterIPs", "ipFamilies", "ipFamilyPolicy"}) {
    const value* v = spec.if_contains(n);
    if (v && !v->is_null() && !(v->is_array() && v->get_array().empty()))
      c.forbidden(fmt::format("spec.{}", n), "may not be set for ExternalName services");
  }
  std::string_view ip = text(spec, "clusterIP");
  if (!ip.empty() && ip != "None" && list(spec, "clusterIPs").empty())
    c.forbidden("spec.clusterIPs", "may not be set for ExternalName services");
  std::string_view name = text(spec, "externalName");
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty()) c.required("spec.externalName");
  else c.check_text("spec.externalName", name, check_dns1123_subdomain(name));
}

void check_cluster_addresses(Checker& c, const object& spec) {
  std::string_view type = text(spec, "type"), ip = text(spec, "clusterIP"), policy = text(spec, "ipFamilyPolicy");
  const array& ips = list(spec, "clusterIPs");
  const array& families = list(spec, "ipFamilies");
  if (ips.empty() && !ip.empty() && ip != "None") c.check_text("spec.clusterIPs[0]", ip, check_ip(ip));
  if (!ips.empty() && !ip.empty() && as_text(ips[0]) != ip) c.invalid("spec.clusterIPs", value(ips), "first value must match `clusterIP`");
  if (!ips.empty() && ip.empty()) c.invalid("spec.clusterIPs", value(ips), "must be empty when `clusterIP` is not specified");
  if (ips.size() > 2) c.invalid("spec.clusterIPs", value(ips), "may only hold up to 2 values");
  for (size_t i = 0; i < ips.size(); ++i) {
    std::string at = fmt::format("spec.clusterIPs[{}]", i);
    std::string_view a = as_text(ips[i]);
    if (a == "None") {
      if (ips.size() > 1) c.invalid("spec.clusterIPs", value(ips), "'None' must be the first and only value");
      continue;
    }
    c.check_text(at, a, check_ip(a));
    if (i < families.size() && check_ip(a).empty() && (as_text(families[i]) == "IPv6") != is_ipv6(a)) {
      c.invalid(at, ips[i], fmt::format("expected an {} value as indicated by `ipFamilies[{}]`", as_text(families[i]), i));
    }
  }
  if (ip == "None" && type != "ClusterIP")
    c.invalid_text("spec.clusterIPs[0]", "None", fmt::format("may not be set to 'None' for {} services", type));
  if (families.size() > 2) c.invalid("spec.ipFamilies", value(families), "may only hold up to 2 values");
  if (families.size() == 2 && as_text(families[0]) == as_text(families[1])) c.duplicate("spec.ipFamilies[1]", as_text(families[1]));
  if (policy == "SingleStack" || policy.empty()) {
    if (ips.size() > 1) {
      c.invalid_text("spec.ipFamilyPolicy", policy,
                     "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified");
    }
    if (families.size() > 1) {
      c.invalid_text("spec.ipFamilyPolicy", policy,
                     "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified");
    }
  }
}

void check_traffic(Checker& c, const object& spec) {
  std::string_view type = text(spec, "type");
  const array& external = list(spec, "externalIPs");
  for (size_t i = 0; i < external.size(); ++i) {
    std::string at = fmt::format("spec.externalIPs[{}]", i);
    std::string_view ip = as_text(external[i]);
    c.check_text(at, ip, check_ip(ip));
    check_non_special(c, ip, at);
  }
  bool reachable = type == "NodePort" || type == "LoadBalancer" || (type == "ClusterIP" && !external.empty());
  std::string_view policy = text(spec, "externalTrafficPolicy");
  if (!policy.empty() && !reachable)
    c.invalid_text("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services");
  if (policy.empty() && (type == "NodePort" || type == "LoadBalancer")) c.required("spec.externalTrafficPolicy");
  if (number(spec, "healthCheckNodePort") != 0 && !(type == "LoadBalancer" && policy == "Local")) {
    c.invalid("spec.healthCheckNodePort", *spec.if_contains("healthCheckNodePort"),
              "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
  }
  if (type != "LoadBalancer") {
    if (!list(spec, "loadBalancerSourceRanges").empty())
      c.forbidden("spec.loadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'");
    for (std::string_view n : {"allocateLoadBalancerNodePorts", "loadBalancerClass"}) {
      if (has(spec, n)) c.forbidden(fmt::format("spec.{}", n), "may only be used when `type` is 'LoadBalancer'");
    }
  }
  std::string_view distribution = text(spec, "trafficDistribution");
  if (!distribution.empty() && distribution != "PreferClose" && distribution != "PreferSameZone" && distribution != "PreferSameNode") {
    c.unsupported("spec.trafficDistribution", distribution, {"PreferClose", "PreferSameZone", "PreferSameNode"});
  }
}

void service(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  std::string_view type = text(spec, "type");
  check_ports(c, spec);
  check_labels(c, map(spec, "selector"), "spec.selector");
  if (type == "ExternalName") check_external_name(c, spec);
  else check_cluster_addresses(c, spec);
  if (text(spec, "sessionAffinity") == "ClientIP") {
    int64_t seconds = number(map(map(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", 10800);
    if (seconds <= 0 || seconds > 86400) {
      c.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", value(seconds), "must be greater than 0 and less than 86400");
    }
  } else if (has(spec, "sessionAffinityConfig")) {
    c.forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None");
  }
  check_traffic(c, spec);
  if (!before) return;
  const object& old = map(*before, "spec");
  if (text(old, "type") == "LoadBalancer" && type == "LoadBalancer") {
    c.immutable(old, spec, "loadBalancerClass", "spec.loadBalancerClass", "may not change once set");
    if (text(old, "externalTrafficPolicy") == "Local" && text(spec, "externalTrafficPolicy") == "Local" &&
        number(old, "healthCheckNodePort") != 0) {
      c.immutable(old, spec, "healthCheckNodePort", "spec.healthCheckNodePort");
    }
  }
  const array& then = list(old, "ipFamilies");
  const array& now = list(spec, "ipFamilies");
  if (type != "ExternalName" && text(old, "type") != "ExternalName" && !then.empty() && !now.empty() && then[0] != now[0]) {
    c.invalid("spec.ipFamilies[0]", value(now), "may not change once set");
  }
}

void service_status(Checker& c, const object& before, const object& o) {
  const array& ingress = list(map(map(o, "status"), "loadBalancer"), "ingress");
  if (text(map(before, "spec"), "type") != "LoadBalancer" && !ingress.empty() &&
      list(map(map(before, "status"), "loadBalancer"), "ingress").empty()) {
    c.forbidden("status.loadBalancer.ingress", "may only be used when `spec.type` is \"LoadBalancer\"");
    return;
  }
  for (size_t i = 0; i < ingress.size(); ++i) {
    const object& e = as_object(ingress[i]);
    std::string at = fmt::format("status.loadBalancer.ingress[{}]", i);
    std::string_view ip = text(e, "ip"), host = text(e, "hostname"), mode = text(e, "ipMode");
    if (!ip.empty()) c.check_text(at + ".ip", ip, check_ip(ip));
    if (ip.empty() && !mode.empty()) c.forbidden(at + ".ipMode", "may not be specified when `ip` is not set");
    if (!mode.empty() && mode != "VIP" && mode != "Proxy") c.unsupported(at + ".ipMode", mode, {"Proxy", "VIP"});
    if (host.empty()) continue;
    if (check_ip(host).empty()) c.invalid_text(at + ".hostname", host, "must be a DNS name, not an IP address");
    else c.check_text(at + ".hostname", host, check_dns1123_subdomain(host));
  }
}

constexpr KindRule kind_rules[] = {{"", "Service", service, service_status}};

}  // namespace

std::span<const KindRule> service_rules() { return kind_rules; }

}  // namespace api::validation
