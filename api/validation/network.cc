// Ingresses, network policies, endpoints, and the addresses of the cluster.
#include <algorithm>
#include <set>

#include "api/validate_names.h"
#include "api/validation/addresses.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

std::string host_problem(std::string_view host) {
  return host.find('*') != std::string_view::npos ? check_wildcard_subdomain(host) : check_dns1123_subdomain(host);
}

void ingress_backend(Checker& c, const object& b, const std::string& path) {
  bool service = has(b, "service"), resource = has(b, "resource");
  if (service && resource) c.invalid(path, "", "cannot set both resource and service backends");
  if (!service && !resource) c.required(path, "port name or number is required");
  if (resource) {
    const object& r = map(b, "resource");
    for (std::string_view n : {"kind", "name"}) {
      if (!text(r, n).empty()) c.check_text(fmt::format("{}.resource.{}", path, n), text(r, n), check_path_segment(text(r, n)));
    }
    if (!text(r, "apiGroup").empty())
      c.check_text(path + ".resource.apiGroup", text(r, "apiGroup"), check_dns1123_subdomain(text(r, "apiGroup")));
  }
  if (!service || resource) return;
  const object& s = map(b, "service");
  if (!text(s, "name").empty()) c.check_text(path + ".service.name", text(s, "name"), check_dns1035_label(text(s, "name")));
  const object& port = map(s, "port");
  int64_t n = number(port, "number");
  std::string_view name = text(port, "name");
  if (n == 0 && name.empty()) c.required(path, "port name or number is required");
  else if (n != 0 && !name.empty()) c.invalid_text(path, "", "cannot set both port name & port number");
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
  } else if (type == "ImplementationSpecific") {
    if (!path.empty() && !path.starts_with('/')) c.invalid_text(at + ".path", path, "must be an absolute path");
  } else if (!type.empty()) {
    c.unsupported(at + ".pathType", type, {"Exact", "ImplementationSpecific", "Prefix"});
  }
}

void ingress(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  const array& rules = list(spec, "rules");
  if (rules.empty() && !has(spec, "defaultBackend")) c.invalid("spec", value(spec), "either `defaultBackend` or `rules` must be specified");
  for (size_t i = 0; i < rules.size(); ++i) {
    const object& rule = as_object(rules[i]);
    std::string at = fmt::format("spec.rules[{}]", i);
    if (std::string_view host = text(rule, "host"); !host.empty()) {
      if (check_ip(host).empty()) c.invalid_text(at + ".host", host, "must be a DNS name, not an IP address");
      else c.check_text(at + ".host", host, host_problem(host));
    }
  }
  const array& tls = list(spec, "tls");
  for (size_t i = 0; i < tls.size(); ++i) {
    const array& hosts = list(as_object(tls[i]), "hosts");
    for (size_t j = 0; j < hosts.size(); ++j)
      c.check_text(fmt::format("spec.tls[{}].hosts[{}]", i, j), as_text(hosts[j]), host_problem(as_text(hosts[j])));
  }
  constexpr std::string_view old_class = "kubernetes.io/ingress.class";
  const object& annotations = map(map(o, "metadata"), "annotations");
  if (!before && has(spec, "ingressClassName") && annotations.contains(old_class)) {
    c.invalid_text(fmt::format("annotations.{}", old_class), text(annotations, old_class),
                   "can not be set when the class field is also set");
  }
}

void ingress_status(Checker& c, const object&, const object& o) {
  const array& ingress = list(map(map(o, "status"), "loadBalancer"), "ingress");
  for (size_t i = 0; i < ingress.size(); ++i) {
    const object& e = as_object(ingress[i]);
    std::string at = fmt::format("status.loadBalancer.ingress[{}]", i);
    std::string_view ip = text(e, "ip"), host = text(e, "hostname");
    if (!ip.empty()) c.check_text(at + ".ip", ip, check_ip(ip));
    if (host.empty()) continue;
    if (check_ip(host).empty()) c.invalid_text(at + ".hostname", host, "must be a DNS name, not an IP address");
    else c.check_text(at + ".hostname", host, check_dns1123_subdomain(host));
  }
}

void policy_port(Checker& c, const object& p, const std::string& at) {
  const value* port = p.if_contains("port");
  if (port && port->is_int64()) c.port(at + ".port", port->get_int64());
  if (port && port->is_string()) c.check_text(at + ".port", as_text(*port), check_port_name(as_text(*port)));
  const value* end = p.if_contains("endPort");
  if (!end || !end->is_int64()) return;
  if (!port) c.invalid(at + ".endPort", *end, "may not be specified when `port` is not specified");
  else if (port->is_string()) c.invalid(at + ".endPort", *end, "may not be specified when `port` is non-numeric");
  else {
    c.port(at + ".endPort", end->get_int64());
    if (end->get_int64() < number(p, "port")) c.invalid(at + ".endPort", *end, "must be greater than or equal to `port`");
  }
}

void policy_peer(Checker& c, const object& p, const std::string& at) {
  int count = has(p, "podSelector") + has(p, "namespaceSelector") + has(p, "ipBlock");
  if (count == 0) c.required(at, "must specify a peer");
  if (has(p, "ipBlock") && count > 1) c.forbidden(at, "may not specify both ipBlock and another peer");
}

void ip_block(Checker& c, const object& block, const std::string& at) {
  auto whole = parse_range(text(block, "cidr"));
  const array& except = list(block, "except");
  for (size_t j = 0; j < except.size(); ++j) {
    std::string here = fmt::format("{}.except[{}]", at, j);
    auto part = parse_range(as_text(except[j]));
    if (!part) c.check_text(here, as_text(except[j]), check_cidr(as_text(except[j])));
    else if (whole && !whole->contains(*part)) c.invalid(here, except[j], "must be a strict subset of `cidr`");
  }
}

void network_policy(Checker& c, const object*, const object& o) {
  const array& types = list(map(o, "spec"), "policyTypes");
  if (types.size() > 2) c.invalid("spec.policyTypes", value(types), "may not specify more than two policyTypes");
}

void ingress_class_parameters(Checker& c, const object& p, const std::string& path) {
  std::string_view scope = text(p, "scope"), ns = text(p, "namespace");
  for (std::string_view n : {"kind", "name"}) {
    if (!text(p, n).empty()) c.check_text(fmt::format("{}.{}", path, n), text(p, n), check_path_segment(text(p, n)));
  }
  if (scope.empty()) c.required(path + ".scope");
  else if (scope != "Cluster" && scope != "Namespace") c.unsupported(path + ".scope", scope, {"Cluster", "Namespace"});
  if (scope == "Namespace") {
    if (!has(p, "namespace")) c.required(path + ".namespace", "`parameters.scope` is set to 'Namespace'");
    else c.check_text(path + ".namespace", ns, check_dns1123_label(ns));
  }
  if (scope == "Cluster" && has(p, "namespace")) c.forbidden(path + ".namespace", "`parameters.scope` is set to 'Cluster'");
}

void ingress_class(Checker& c, const object*, const object& o) {
  if (text(map(o, "spec"), "controller").empty()) c.required("spec.controller");
}

void endpoint_slice(Checker& c, const object*, const object& o) {
  std::string_view type = text(o, "addressType");
  if (!type.empty() && type != "IPv4" && type != "IPv6" && type != "FQDN") {
    c.unsupported("addressType", type, {"FQDN", "IPv4", "IPv6"});
    return;
  }
  const array& endpoints = list(o, "endpoints");
  for (size_t i = 0; i < endpoints.size() && endpoints.size() <= 1000; ++i) {
    const array& addresses = list(as_object(endpoints[i]), "addresses");
    for (size_t j = 0; j < addresses.size(); ++j) {
      std::string at = fmt::format("endpoints[{}].addresses[{}]", i, j);
      std::string_view a = as_text(addresses[j]);
      if (type == "FQDN") c.check_text(at, a, check_dns1123_subdomain(a));
      else if (std::string e = check_ip(a); !e.empty()) c.invalid_text(at, a, e);
      else if ((type == "IPv6") != is_ipv6(a)) c.invalid_text(at, a, fmt::format("must be an {} address", type));
      else check_non_special(c, a, at);
    }
  }
  std::set<std::string_view> names;
  const array& ports = list(o, "ports");
  for (size_t i = 0; i < ports.size(); ++i) {
    std::string_view name = text(as_object(ports[i]), "name");
    if (!names.insert(name).second) c.duplicate(fmt::format("ports[{}].name", i), name);
    if (const value* n = as_object(ports[i]).if_contains("port"); n && n->is_int64())
      c.port(fmt::format("ports[{}].port", i), n->get_int64());
  }
}

void endpoints(Checker& c, const object*, const object& o) {
  const array& subsets = list(o, "subsets");
  for (size_t i = 0; i < subsets.size(); ++i) {
    const object& s = as_object(subsets[i]);
    std::string at = fmt::format("subsets[{}]", i);
    if (list(s, "addresses").empty() && list(s, "notReadyAddresses").empty())
      c.required(at, "must specify `addresses` or `notReadyAddresses`");
    for (std::string_view member : {"addresses", "notReadyAddresses"}) {
      const array& addresses = list(s, member);
      for (size_t j = 0; j < addresses.size(); ++j) {
        std::string_view ip = text(as_object(addresses[j]), "ip");
        std::string here = fmt::format("{}.{}[{}].ip", at, member, j);
        c.check_text(here, ip, check_ip(ip));
        check_non_special(c, ip, here);
      }
    }
    const array& ports = list(s, "ports");
    for (size_t j = 0; j < ports.size(); ++j) {
      const object& p = as_object(ports[j]);
      std::string here = fmt::format("{}.ports[{}]", at, j);
      if (text(p, "name").empty()) {
        if (ports.size() > 1) c.required(here + ".name");
      } else {
        c.check_text(here + ".name", text(p, "name"), check_dns1123_label(text(p, "name")));
      }
      c.port(here + ".port", number(p, "port"));
    }
  }
}

void ip_address(Checker& c, const object* before, const object& o) {
  std::string_view name = text(map(o, "metadata"), "name");
  std::string canonical = canonical_ip(name);
  if (canonical.empty()) c.invalid_text("metadata.name", name, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
  else if (canonical != name) c.invalid_text("metadata.name", name, fmt::format("must be in canonical form (\"{}\")", canonical));
  const object& parent = map(map(o, "spec"), "parentRef");
  if (!has(map(o, "spec"), "parentRef")) {
    c.required("spec.parentRef");
    return;
  }
  for (std::string_view n : {"resource", "name"}) {
    if (text(parent, n).empty()) c.required(fmt::format("spec.parentRef.{}", n));
    else c.check_text(fmt::format("spec.parentRef.{}", n), text(parent, n), check_path_segment(text(parent, n)));
  }
  if (before) c.immutable(map(*before, "spec"), map(o, "spec"), "parentRef", "spec.parentRef");
}

void service_cidr(Checker& c, const object* before, const object& o) {
  const array& cidrs = list(map(o, "spec"), "cidrs");
  if (cidrs.empty()) c.required("spec.cidrs", "at least one CIDR required");
  if (cidrs.size() > 2) {
    c.invalid("spec", value(map(o, "spec")), "may only hold up to 2 values");
    return;
  }
  for (size_t i = 0; i < cidrs.size(); ++i) {
    std::string at = fmt::format("spec.cidrs[{}]", i);
    auto r = parse_range(as_text(cidrs[i]));
    if (!r) c.check_text(at, as_text(cidrs[i]), check_cidr(as_text(cidrs[i])));
    else if (!r->is_masked()) c.invalid(at, cidrs[i], "must not have bits set beyond the prefix length");
  }
  if (cidrs.size() == 2) {
    auto a = parse_range(as_text(cidrs[0])), b = parse_range(as_text(cidrs[1]));
    if (a && b && a->v6 == b->v6)
      c.invalid("spec", value(map(o, "spec")), "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64");
  }
  if (!before) return;
  // A second family may be added.
  const array& then = list(map(*before, "spec"), "cidrs");
  for (size_t i = 0; i < then.size(); ++i) {
    if (i >= cidrs.size() || then[i] != cidrs[i]) {
      c.invalid(then.size() == cidrs.size() ? fmt::format("spec.cidrs[{}]", i) : "spec.cidrs", i < cidrs.size() ? cidrs[i] : value(cidrs),
                "field is immutable");
      return;
    }
  }
}

constexpr TypeRule type_rules[] = {
    {"networking.v1.IngressBackend", ingress_backend},
    {"networking.v1.HTTPIngressPath", ingress_path},
    {"networking.v1.NetworkPolicyPort", policy_port},
    {"networking.v1.NetworkPolicyPeer", policy_peer},
    {"networking.v1.IPBlock", ip_block},
    {"networking.v1.IngressClassParametersReference", ingress_class_parameters},
};
constexpr KindRule kind_rules[] = {
    {"networking.k8s.io", "Ingress", ingress, ingress_status},
    {"networking.k8s.io", "NetworkPolicy", network_policy},
    {"networking.k8s.io", "IngressClass", ingress_class},
    {"networking.k8s.io", "IPAddress", ip_address},
    {"networking.k8s.io", "ServiceCIDR", service_cidr},
    {"discovery.k8s.io", "EndpointSlice", endpoint_slice},
    {"", "Endpoints", endpoints},
};

}  // namespace

std::span<const TypeRule> network_type_rules() { return type_rules; }
std::span<const KindRule> network_rules() { return kind_rules; }

}  // namespace api::validation
