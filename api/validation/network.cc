// Services, ingresses, endpoint slices and network policies.
#include <set>

#include "api/validate_names.h"
#include "api/validation/checker.h"

namespace api::validation {
namespace {

void service_ports(Checker& c, const object& spec) {
  const array& ports = list(spec, "ports");
  std::string_view type = text(spec, "type");
  bool headless = text(spec, "clusterIP") == "None";
  if (ports.empty() && !headless && type != "ExternalName") c.required("spec.ports");
  std::set<std::string> names, numbers;
  for (size_t i = 0; i < ports.size(); ++i) {
    const object& p = as_object(ports[i]);
    std::string at = fmt::format("spec.ports[{}]", i);
    std::string_view name = text(p, "name"), protocol = text(p, "protocol");
    if (name.empty()) {
      if (ports.size() > 1) c.required(at + ".name");
    } else {
      c.check_text(at + ".name", name, check_dns1123_label(name));
      if (!names.emplace(name).second) c.duplicate(at + ".name", name);
    }
    c.port(at + ".port", number(p, "port"));
    if (const value* target = p.if_contains("targetPort")) {
      if (target->is_int64() && target->get_int64() != 0) c.port(at + ".targetPort", target->get_int64());
      if (target->is_string() && !as_text(*target).empty()) c.check_text(at + ".targetPort", as_text(*target), check_port_name(as_text(*target)));
    }
    if (!numbers.insert(fmt::format("{}/{}", protocol, number(p, "port"))).second) c.duplicate(at, ports[i]);
    if (int64_t node = number(p, "nodePort"); node != 0) {
      if (type != "NodePort" && type != "LoadBalancer") c.forbidden(at + ".nodePort", fmt::format("may not be used when `type` is '{}'", type));
      c.port(at + ".nodePort", node);
    }
  }
}

void service(Checker& c, const object& o) {
  const object& spec = map(o, "spec");
  std::string_view type = text(spec, "type");
  service_ports(c, spec);
  check_labels(c, map(spec, "selector"), "spec.selector");
  if (type == "ExternalName") {
    std::string_view name = text(spec, "externalName");
    if (name.ends_with('.')) name.remove_suffix(1);
    if (name.empty()) c.required("spec.externalName");
    else c.check_text("spec.externalName", name, check_dns1123_subdomain(name));
    if (std::string_view ip = text(spec, "clusterIP"); !ip.empty() && ip != "None") {
      c.forbidden("spec.clusterIPs[0]", "may not be set for ExternalName services");
    }
  } else if (std::string_view ip = text(spec, "clusterIP"); !ip.empty() && ip != "None") {
    c.check_text("spec.clusterIPs[0]", ip, check_ip(ip));
  } else if (ip == "None" && type != "ClusterIP") {
    c.invalid_text("spec.clusterIPs[0]", "None", fmt::format("may not be set to 'None' for {} services", type));
  }
  if (text(spec, "sessionAffinity") == "ClientIP") {
    int64_t seconds = number(map(map(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", 10800);
    if (seconds <= 0 || seconds > 86400) {
      c.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", value(seconds), "must be greater than 0 and less than 86400");
    }
  } else if (has(spec, "sessionAffinityConfig")) {
    c.forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None");
  }
  const array& external = list(spec, "externalIPs");
  for (size_t i = 0; i < external.size(); ++i) {
    std::string at = fmt::format("spec.externalIPs[{}]", i);
    std::string_view ip = as_text(external[i]);
    c.check_text(at, ip, check_ip(ip));
    if (ip.starts_with("127.") || ip == "::1") c.invalid_text(at, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
  }
  bool reachable = type == "NodePort" || type == "LoadBalancer" || (type == "ClusterIP" && !external.empty());
  if (has(spec, "externalTrafficPolicy") && !reachable) {
    c.invalid("spec.externalTrafficPolicy", *spec.if_contains("externalTrafficPolicy"), "may only be set for externally-accessible services");
  }
  const array& ranges = list(spec, "loadBalancerSourceRanges");
  for (size_t i = 0; i < ranges.size(); ++i) {
    c.check_text(fmt::format("spec.loadBalancerSourceRanges[{}]", i), as_text(ranges[i]), check_cidr(as_text(ranges[i])));
  }
  if (!ranges.empty() && type != "LoadBalancer") c.forbidden("spec.loadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'");
}

void backend(Checker& c, const object& b, const std::string& path) {
  bool service = has(b, "service"), resource = has(b, "resource");
  if (service && resource) c.invalid(path, value(b), "cannot set both resource and service backends");
  if (!service && !resource) c.required(path, "backend must specify either a service or a resource");
  if (!service) return;
  const object& s = map(b, "service");
  if (!text(s, "name").empty()) c.check_text(path + ".service.name", text(s, "name"), check_dns1035_label(text(s, "name")));
  const object& port = map(s, "port");
  int64_t n = number(port, "number");
  std::string_view name = text(port, "name");
  if (n == 0 && name.empty()) c.required(path + ".service.port", "port name or number is required");
  else if (n != 0 && !name.empty()) c.invalid(path + ".service.port", value(port), "cannot set both port name & port number");
  else if (n != 0) c.port(path + ".service.port.number", n);
  else c.check_text(path + ".service.port.name", name, check_port_name(name));
}

void ingress_path(Checker& c, const object& p, const std::string& at) {
  std::string_view type = text(p, "pathType"), path = text(p, "path");
  if (type == "Exact" || type == "Prefix") {
    if (!path.starts_with('/')) c.invalid_text(at + ".path", path, "must be an absolute path");
    for (std::string_view bad : {"//", "/./", "/../", "%2f", "%2F"}) {
      if (path.find(bad) != std::string_view::npos) c.invalid_text(at + ".path", path, fmt::format("must not contain '{}'", bad));
    }
    for (std::string_view bad : {"/..", "/."}) {
      if (path.ends_with(bad)) c.invalid_text(at + ".path", path, fmt::format("cannot end with '{}'", bad));
    }
  } else if (!path.empty() && !path.starts_with('/')) {
    c.invalid_text(at + ".path", path, "must be an absolute path");
  }
  backend(c, map(p, "backend"), at + ".backend");
}

void ingress(Checker& c, const object& o) {
  const object& spec = map(o, "spec");
  const array& rules = list(spec, "rules");
  if (rules.empty() && !has(spec, "defaultBackend")) c.invalid("spec", value(spec), "either `defaultBackend` or `rules` must be specified");
  if (has(spec, "defaultBackend")) backend(c, map(spec, "defaultBackend"), "spec.defaultBackend");
  if (std::string_view name = text(spec, "ingressClassName"); !name.empty()) c.check_text("spec.ingressClassName", name, check_dns1123_subdomain(name));
  for (size_t i = 0; i < rules.size(); ++i) {
    const object& rule = as_object(rules[i]);
    std::string at = fmt::format("spec.rules[{}]", i);
    if (std::string_view host = text(rule, "host"); !host.empty()) {
      if (check_ip(host).empty()) c.invalid_text(at + ".host", host, "must be a DNS name, not an IP address");
      else c.check_text(at + ".host", host, host.find('*') != std::string_view::npos ? check_wildcard_subdomain(host) : check_dns1123_subdomain(host));
    }
    const array& paths = list(map(rule, "http"), "paths");
    for (size_t j = 0; j < paths.size(); ++j) ingress_path(c, as_object(paths[j]), fmt::format("{}.http.paths[{}]", at, j));
  }
  const array& tls = list(spec, "tls");
  for (size_t i = 0; i < tls.size(); ++i) {
    const array& hosts = list(as_object(tls[i]), "hosts");
    for (size_t j = 0; j < hosts.size(); ++j) {
      std::string_view host = as_text(hosts[j]);
      c.check_text(fmt::format("spec.tls[{}].hosts[{}]", i, j), host,
                   host.find('*') != std::string_view::npos ? check_wildcard_subdomain(host) : check_dns1123_subdomain(host));
    }
  }
}

void policy_ports(Checker& c, const array& ports, const std::string& path) {
  for (size_t i = 0; i < ports.size(); ++i) {
    const object& p = as_object(ports[i]);
    std::string at = fmt::format("{}[{}]", path, i);
    const value* port = p.if_contains("port");
    if (port && port->is_int64()) c.port(at + ".port", port->get_int64());
    if (port && port->is_string()) c.check_text(at + ".port", as_text(*port), check_port_name(as_text(*port)));
    if (!has(p, "endPort")) continue;
    if (!port) c.required(at + ".endPort", "may not be specified when `port` is not specified");
    else if (port->is_string()) c.invalid(at + ".endPort", *p.if_contains("endPort"), "may not be specified when `port` is non-numeric");
    else if (number(p, "endPort") < port->get_int64()) c.invalid(at + ".endPort", *p.if_contains("endPort"), "must be greater than or equal to `port`");
  }
}

void policy_peers(Checker& c, const array& peers, const std::string& path) {
  for (size_t i = 0; i < peers.size(); ++i) {
    const object& p = as_object(peers[i]);
    std::string at = fmt::format("{}[{}]", path, i);
    int count = has(p, "podSelector") + has(p, "namespaceSelector") + has(p, "ipBlock");
    if (count == 0) c.required(at, "must specify a peer");
    if (has(p, "ipBlock") && count > 1) c.forbidden(at, "may not specify both ipBlock and another peer");
    check_label_selector(c, map(p, "podSelector"), at + ".podSelector");
    check_label_selector(c, map(p, "namespaceSelector"), at + ".namespaceSelector");
    const object& block = map(p, "ipBlock");
    if (std::string_view cidr = text(block, "cidr"); !cidr.empty()) c.check_text(at + ".ipBlock.cidr", cidr, check_cidr(cidr));
    const array& except = list(block, "except");
    for (size_t j = 0; j < except.size(); ++j) {
      c.check_text(fmt::format("{}.ipBlock.except[{}]", at, j), as_text(except[j]), check_cidr(as_text(except[j])));
    }
  }
}

void network_policy(Checker& c, const object& o) {
  const object& spec = map(o, "spec");
  check_label_selector(c, map(spec, "podSelector"), "spec.podSelector");
  static constexpr std::pair<std::string_view, std::string_view> directions[] = {{"ingress", "from"}, {"egress", "to"}};
  for (auto [name, peers] : directions) {
    const array& rules = list(spec, name);
    for (size_t i = 0; i < rules.size(); ++i) {
      std::string at = fmt::format("spec.{}[{}]", name, i);
      policy_ports(c, list(as_object(rules[i]), "ports"), at + ".ports");
      policy_peers(c, list(as_object(rules[i]), peers), fmt::format("{}.{}", at, peers));
    }
  }
}

void endpoint_slice(Checker& c, const object* before, const object& o) {
  std::string_view type = text(o, "addressType");
  const array& endpoints = list(o, "endpoints");
  if (endpoints.size() > 1000) c.too_many("endpoints", endpoints.size(), 1000);
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const array& addresses = list(as_object(endpoints[i]), "addresses");
    for (size_t j = 0; j < addresses.size(); ++j) {
      std::string at = fmt::format("endpoints[{}].addresses[{}]", i, j);
      std::string_view a = as_text(addresses[j]);
      if (type == "FQDN") c.check_text(at, a, check_dns1123_subdomain(a));
      else if (std::string e = check_ip(a); !e.empty()) c.invalid_text(at, a, e);
      else if ((type == "IPv6") != is_ipv6(a)) c.invalid_text(at, a, fmt::format("must be an {} address", type));
    }
  }
  if (before) c.immutable(*before, o, "addressType", "addressType");
}

void ingress_class(Checker& c, const object* before, const object& o) {
  if (before) c.immutable(map(*before, "spec"), map(o, "spec"), "controller", "spec.controller");
}

}  // namespace

bool check_network(Checker& c, const Kind& kind, const object* before, const object& o) {
  std::string_view g = kind.group, k = kind.kind;
  if (g.empty() && k == "Service") service(c, o);
  else if (g == "networking.k8s.io" && k == "Ingress") ingress(c, o);
  else if (g == "networking.k8s.io" && k == "NetworkPolicy") network_policy(c, o);
  else if (g == "networking.k8s.io" && k == "IngressClass") ingress_class(c, before, o);
  else if (g == "discovery.k8s.io" && k == "EndpointSlice") endpoint_slice(c, before, o);
  else return false;
  return true;
}

}  // namespace api::validation
