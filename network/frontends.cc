#include "network/frontends.h"

#include <algorithm>

#include <fmt/format.h>

namespace network {

std::string FrontendId::str() const {
  if (any_address) return fmt::format("node port {}/{}", port, protocol_str(protocol));
  return fmt::format("{}:{}/{}", Ip::v4(address).str(), port, protocol_str(protocol));
}

namespace {

// Never translated to, whatever an endpoint says: the node's own loopback, link-local addresses (metadata services), groups.
bool forbidden(const Ip& ip) {
  uint32_t a = ip.host_order();
  return a >> 24 == 127 || a >> 16 == 0xa9fe || a >> 24 == 0 || a >> 28 >= 14;
}

}  // namespace

std::vector<Target> usable(const std::vector<Endpoint>& endpoints, TrafficPolicy policy) {
  std::vector<Target> ready, leaving;
  for (auto& e : endpoints) {
    if (!e.ip.is_v4() || e.port == 0 || forbidden(e.ip) || (policy == TrafficPolicy::local && !e.local)) continue;
    Target t{e.ip.host_order(), e.port, e.local};
    auto* list = e.ready ? &ready : e.serving && e.terminating ? &leaving : nullptr;
    if (list && std::ranges::none_of(*list, [&](auto& o) { return o.same(t); })) list->push_back(t);
  }
  return ready.empty() ? leaving : ready;
}

namespace {

std::vector<SourceRange> merged(const std::vector<Cidr>& cidrs) {
  std::vector<SourceRange> all, out;
  for (auto& c : cidrs) {
    if (!c.ip.is_v4()) continue;
    uint32_t first = c.ip.host_order();
    all.push_back({first, c.bits == 0 ? 0xffffffffu : first | (c.bits == 32 ? 0 : 0xffffffffu >> c.bits)});
  }
  std::ranges::sort(all, {}, &SourceRange::first);
  for (auto& r : all) {
    if (!out.empty() && r.first <= out.back().last)
      out.back().last = std::max(out.back().last, r.last);
    else
      out.push_back(r);
  }
  return out;
}

}  // namespace

std::vector<Frontend> frontends_of(const Service& s) {
  std::vector<Frontend> out, inside_out;
  auto ranges = merged(s.source_ranges);
  uint32_t affinity = s.client_ip_affinity ? std::max(s.affinity_seconds, 1u) : 0;
  for (auto& p : s.ports) {
    auto inside = usable(p.endpoints, s.internal_policy);
    auto outside = usable(p.endpoints, s.external_policy);
    bool any = !usable(p.endpoints, TrafficPolicy::cluster).empty();
    auto add = [&](FrontendId id, const std::vector<Target>& targets, bool limited) {
      out.push_back({id, targets, targets.empty() && any, targets.empty() ? 0 : affinity, limited ? ranges : std::vector<SourceRange>{}});
    };
    auto at = [&](const Ip& ip) { return FrontendId{ip.host_order(), p.port, p.protocol, false, false}; };
    auto add_outside = [&](FrontendId id, bool limited) {
      add(id, outside, limited);
      if (s.external_policy != TrafficPolicy::local || !any) return;
      id.inside = true;
      inside_out.push_back({id, usable(p.endpoints, TrafficPolicy::cluster), false, affinity, {}});
    };
    if (p.port == 0) continue;
    bool headless = true;
    for (auto& ip : s.cluster_ips)
      if (ip.is_v4()) {
        add(at(ip), inside, false);
        headless = false;
      }
    if (headless) continue;
    for (auto& ip : s.external_ips)
      if (ip.is_v4()) add_outside(at(ip), false);
    for (auto& ip : s.load_balancer_ips)
      if (ip.is_v4()) add_outside(at(ip), true);
    if (p.node_port) add_outside(FrontendId{0, p.node_port, p.protocol, true, false}, false);
  }
  out.insert(out.end(), inside_out.begin(), inside_out.end());
  return out;
}

}  // namespace network
