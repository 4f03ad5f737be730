#include "agent/services/translate.h"

#include <algorithm>
#include <cctype>

namespace agent {

namespace {

bool is_headless(const api::core::Service& s) { return s.spec.clusterIP == "None"; }

std::vector<std::string> cluster_ips(const api::core::Service& s) {
  if (!s.spec.clusterIPs.empty()) return s.spec.clusterIPs;
  if (!s.spec.clusterIP.empty()) return {s.spec.clusterIP};
  return {};
}

void add_ips(std::vector<network::Ip>& to, const std::vector<std::string>& texts) {
  for (const auto& t : texts) {
    if (auto ip = network::Ip::parse(t)) to.push_back(*ip);
  }
}

std::string lower(std::string s) {
  for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return s;
}

}  // namespace

std::optional<network::Service> translate_service(const api::core::Service& s, const std::vector<SlicePtr>& slices,
                                                  const std::string& node_name) {
  if (s.spec.type == "ExternalName" || is_headless(s) || s.spec.clusterIP.empty()) return std::nullopt;
  if (s.metadata.labels.contains("service.kubernetes.io/service-proxy-name")) return std::nullopt;
  network::Service out;
  out.key = s.metadata.namespace_ + "/" + s.metadata.name;
  add_ips(out.cluster_ips, cluster_ips(s));
  add_ips(out.external_ips, s.spec.externalIPs);
  if (s.spec.type == "LoadBalancer") {
    if (s.status.loadBalancer) {
      for (const auto& i : s.status.loadBalancer->ingress) {
        if (!i.ip.empty() && i.ipMode != "Proxy") add_ips(out.load_balancer_ips, {i.ip});
      }
    }
    for (const auto& r : s.spec.loadBalancerSourceRanges) {
      if (auto c = network::Cidr::parse(r)) out.source_ranges.push_back(*c);
    }
  }
  out.client_ip_affinity = s.spec.sessionAffinity == "ClientIP";
  if (s.spec.sessionAffinityConfig && s.spec.sessionAffinityConfig->clientIP && s.spec.sessionAffinityConfig->clientIP->timeoutSeconds) {
    out.affinity_seconds = static_cast<uint32_t>(*s.spec.sessionAffinityConfig->clientIP->timeoutSeconds);
  }
  if (s.spec.externalTrafficPolicy == "Local") out.external_policy = network::TrafficPolicy::local;
  if (s.spec.internalTrafficPolicy == "Local") out.internal_policy = network::TrafficPolicy::local;
  out.health_check_node_port = static_cast<uint16_t>(s.spec.healthCheckNodePort.value_or(0));
  for (const auto& p : s.spec.ports) {
    network::ServicePort port;
    port.name = p.name;
    auto protocol = network::parse_protocol(p.protocol);
    if (!protocol) continue;
    port.protocol = *protocol;
    port.port = static_cast<uint16_t>(p.port);
    port.node_port = static_cast<uint16_t>(p.nodePort.value_or(0));
    for (const auto& slice : slices) {
      for (const auto& ep : slice->ports) {
        if (ep.name != p.name || !ep.port) continue;
        if ((ep.protocol.empty() ? "TCP" : ep.protocol) != (p.protocol.empty() ? "TCP" : p.protocol)) continue;
        for (const auto& e : slice->endpoints) {
          if (e.addresses.empty()) continue;
          auto ip = network::Ip::parse(e.addresses[0]);
          if (!ip) continue;
          network::Endpoint endpoint;
          endpoint.ip = *ip;
          endpoint.port = static_cast<uint16_t>(*ep.port);
          endpoint.local = e.nodeName == node_name;
          if (e.conditions) {
            endpoint.ready = e.conditions->ready.value_or(true);
            endpoint.serving = e.conditions->serving.value_or(endpoint.ready);
            endpoint.terminating = e.conditions->terminating.value_or(false);
          }
          if (std::find(port.endpoints.begin(), port.endpoints.end(), endpoint) == port.endpoints.end()) port.endpoints.push_back(endpoint);
        }
      }
    }
    out.ports.push_back(std::move(port));
  }
  return out;
}

network::dns::ServiceRecord translate_record(const api::core::Service& s, const std::vector<SlicePtr>& slices) {
  network::dns::ServiceRecord r;
  r.ns = s.metadata.namespace_;
  r.name = s.metadata.name;
  if (s.spec.type == "ExternalName") {
    r.external_name = s.spec.externalName;
    return r;
  }
  for (const auto& p : s.spec.ports)
    r.ports.push_back({p.name, lower(p.protocol.empty() ? "TCP" : p.protocol), static_cast<uint16_t>(p.port)});
  if (!is_headless(s)) {
    add_ips(r.cluster_ips, cluster_ips(s));
    return r;
  }
  bool all = s.spec.publishNotReadyAddresses.value_or(false);
  for (const auto& slice : slices) {
    std::vector<network::dns::NamedPort> ports;
    for (const auto& p : slice->ports)
      ports.push_back({p.name, lower(p.protocol.empty() ? "TCP" : p.protocol), static_cast<uint16_t>(p.port.value_or(0))});
    for (const auto& e : slice->endpoints) {
      bool ready = !e.conditions || e.conditions->ready.value_or(true);
      if (!ready && !all) continue;
      for (const auto& a : e.addresses) {
        auto ip = network::Ip::parse(a);
        if (ip) r.endpoints.push_back({*ip, e.hostname, ports});
      }
    }
  }
  return r;
}

std::optional<network::OverlayNode> translate_node(const api::core::Node& node) {
  network::OverlayNode n;
  n.name = node.metadata.name;
  for (const auto& a : node.status.addresses) {
    if (a.type != "InternalIP") continue;
    auto ip = network::Ip::parse(a.address);
    if (ip && ip->is_v4()) {
      n.underlay = *ip;
      break;
    }
  }
  auto cidr = network::Cidr::parse(node.spec.podCIDR);
  if (n.underlay.none() || !cidr) return std::nullopt;
  n.pod_cidr = *cidr;
  return n;
}

}  // namespace agent
