#include "server/controllers/endpoints_plan.h"

#include <set>
#include <tuple>

#include "server/controllers/controller.h"

namespace server::controllers {
namespace {

namespace discovery = api::discovery;

// The number a Service's target port has in a pod; nothing when the pod has no port of that name.
std::optional<int32_t> port_in(const core::Pod& pod, const core::ServicePort& port) {
  if (!port.targetPort.is_string) return port.targetPort.number ? port.targetPort.number : port.port;
  auto in = [&](const core::Container& c) -> std::optional<int32_t> {
    for (const auto& p : c.ports)
      if (p.name == port.targetPort.text && (p.protocol.empty() ? "TCP" : p.protocol) == (port.protocol.empty() ? "TCP" : port.protocol))
        return p.containerPort;
    return std::nullopt;
  };
  for (const auto& c : pod.spec.containers)
    if (auto n = in(c)) return n;
  for (const auto& c : pod.spec.initContainers)
    if (c.restartPolicy == "Always")
      if (auto n = in(c)) return n;
  return std::nullopt;
}

// The ports of a Service as one pod has them.
template <class Port>
std::vector<Port> ports_in(const core::Service& service, const core::Pod& pod) {
  std::vector<Port> out;
  for (const auto& p : service.spec.ports) {
    auto number = port_in(pod, p);
    if (!number) continue;
    Port port;
    port.name = p.name;
    port.port = *number;
    port.protocol = p.protocol.empty() ? "TCP" : p.protocol;
    port.appProtocol = p.appProtocol;
    out.push_back(std::move(port));
  }
  return out;
}

bool headless(const core::Service& s) { return s.spec.clusterIP == "None"; }

std::string address_of(const core::Pod& pod, bool v6) {
  auto fits = [&](const std::string& ip) { return !ip.empty() && (ip.find(':') != std::string::npos) == v6; };
  for (const auto& ip : pod.status.podIPs)
    if (fits(ip.ip)) return ip.ip;
  return fits(pod.status.podIP) ? pod.status.podIP : "";
}

api::Box<core::ObjectReference> target(const core::Pod& pod) {
  core::ObjectReference out;
  out.kind = "Pod";
  out.namespace_ = pod.metadata.namespace_;
  out.name = pod.metadata.name;
  out.uid = pod.metadata.uid;
  return out;
}

std::string hostname_in(const core::Service& service, const core::Pod& pod) {
  return pod.spec.subdomain == service.metadata.name ? pod.spec.hostname : "";
}

discovery::Endpoint endpoint(const core::Service& service, const core::Pod& pod, std::string address,
                             const std::map<std::string, std::string>& zones) {
  discovery::Endpoint out;
  bool publish = service.spec.publishNotReadyAddresses.value_or(false), serving = publish || pod_ready(pod),
       leaving = deleting(pod.metadata);
  out.addresses.push_back(std::move(address));
  auto& c = out.conditions.emplace();
  c.serving = serving;
  c.terminating = leaving;
  c.ready = publish || (serving && !leaving);
  out.hostname = hostname_in(service, pod);
  out.nodeName = pod.spec.nodeName;
  out.targetRef = target(pod);
  if (auto z = zones.find(pod.spec.nodeName); z != zones.end()) out.zone = z->second;
  return out;
}

// Two endpoints are the same place: they may differ in conditions.
std::string identity(const discovery::Endpoint& e) {
  return (e.addresses.empty() ? "" : e.addresses.front()) + "|" + (e.targetRef ? e.targetRef->uid : "");
}

std::string text_of(const std::vector<discovery::EndpointPort>& ports) {
  std::string out;
  for (const auto& p : ports) out += p.name + "/" + std::to_string(p.port.value_or(0)) + "/" + p.protocol + "/" + p.appProtocol + ";";
  return out;
}

struct Group {  // endpoints of one address type with the same ports
  std::string type;
  std::vector<discovery::EndpointPort> ports;
  std::vector<discovery::Endpoint> endpoints;
};

std::map<std::string, std::string> slice_labels(const core::Service& service) {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : service.metadata.labels)
    if (key != "kubernetes.io/service-name" && key != "endpointslice.kubernetes.io/managed-by" && key != "service.kubernetes.io/headless")
      out[key] = value;
  out["kubernetes.io/service-name"] = service.metadata.name;
  out["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io";
  if (headless(service)) out["service.kubernetes.io/headless"] = "";
  return out;
}

std::vector<Group> wanted(const core::Service& service, const std::vector<PodPtr>& pods, const std::map<std::string, std::string>& zones) {
  std::vector<Group> out;
  std::vector<std::string> families = service.spec.ipFamilies;
  if (families.empty()) families.push_back(service.spec.clusterIP.find(':') == std::string::npos ? "IPv4" : "IPv6");
  for (const std::string& family : families) {
    std::map<std::string, Group> groups;
    for (const PodPtr& p : pods) {
      if (pod_finished(*p)) continue;
      std::string address = address_of(*p, family == "IPv6");
      if (address.empty()) continue;
      auto ports = ports_in<discovery::EndpointPort>(service, *p);
      if (ports.empty() && !service.spec.ports.empty() && !headless(service)) continue;
      Group& g = groups[text_of(ports)];
      g.ports = std::move(ports);
      g.endpoints.push_back(endpoint(service, *p, std::move(address), zones));
    }
    // Without endpoints one empty slice tells that there are none.
    if (groups.empty()) groups.try_emplace("");
    for (auto& [text, g] : groups) {
      g.type = family;
      out.push_back(std::move(g));
    }
  }
  return out;
}

class Slices {
 public:
  Slices(const core::Service& service, const std::vector<SlicePtr>& existing)
      : service_(service), existing_(existing), labels_(slice_labels(service)) {
    for (const SlicePtr& s : existing) names_.insert(s->metadata.name);
  }

  void place(Group g) {
    if (g.endpoints.empty())  // whatever slice there is will do to say so
      for (const SlicePtr& s : existing_)
        if (s->addressType == g.type && !deleting(s->metadata)) g.ports = s->ports;
    std::map<std::string, discovery::Endpoint> left;
    for (auto& e : g.endpoints) left.emplace(identity(e), std::move(e));
    struct Draft {
      SlicePtr old;
      std::vector<discovery::Endpoint> endpoints;
    };
    std::vector<Draft> drafts;
    for (const SlicePtr& s : existing_) {
      if (used_.contains(s->metadata.name) || deleting(s->metadata) || s->addressType != g.type || text_of(s->ports) != text_of(g.ports))
        continue;
      Draft d{s, {}};
      for (const auto& e : s->endpoints)
        if (auto it = left.find(identity(e)); it != left.end()) {
          d.endpoints.push_back(std::move(it->second));
          left.erase(it);
        }
      used_.insert(s->metadata.name);
      drafts.push_back(std::move(d));
    }
    // New ones go where there is most in already, so that slices stay full and few.
    std::sort(drafts.begin(), drafts.end(), [](const Draft& a, const Draft& b) { return a.endpoints.size() > b.endpoints.size(); });
    for (Draft& d : drafts)
      while (!left.empty() && d.endpoints.size() < slice_capacity) d.endpoints.push_back(std::move(left.extract(left.begin()).mapped()));
    while (!left.empty()) {
      Draft d;
      while (!left.empty() && d.endpoints.size() < slice_capacity) d.endpoints.push_back(std::move(left.extract(left.begin()).mapped()));
      drafts.push_back(std::move(d));
    }
    if (drafts.empty()) drafts.emplace_back();
    bool any = std::any_of(drafts.begin(), drafts.end(), [](const Draft& d) { return !d.endpoints.empty(); });
    for (size_t i = 0; i < drafts.size(); ++i) {
      Draft& d = drafts[i];
      bool spare = d.endpoints.empty() && (any || i > 0);
      if (d.old && spare) plan.remove.push_back(d.old);
      else if (d.old) update(*d.old, std::move(d.endpoints));
      else create(g, std::move(d.endpoints));
    }
  }
  void remove_unused() {
    for (const SlicePtr& s : existing_)
      if (!used_.contains(s->metadata.name) && !deleting(s->metadata)) plan.remove.push_back(s);
  }
  SlicePlan plan;

 private:
  void update(const discovery::EndpointSlice& old, std::vector<discovery::Endpoint> endpoints) {
    if (old.endpoints == endpoints && old.metadata.labels == labels_) return;
    discovery::EndpointSlice s = old;
    s.endpoints = std::move(endpoints);
    s.metadata.labels = labels_;
    plan.update.push_back(std::move(s));
  }
  void create(const Group& g, std::vector<discovery::Endpoint> endpoints) {
    discovery::EndpointSlice s;
    // The same plan makes the same name: a cache that is behind cannot make a second one.
    for (int n = 0;; ++n) {
      s.metadata.name =
          service_.metadata.name + "-" + short_hash(service_.metadata.uid + g.type + text_of(g.ports) + std::to_string(n)).substr(0, 5);
      if (names_.insert(s.metadata.name).second) break;
    }
    s.metadata.generateName = service_.metadata.name + "-";
    s.metadata.namespace_ = service_.metadata.namespace_;
    s.metadata.labels = labels_;
    s.metadata.ownerReferences.push_back(controller_reference(service_));
    s.addressType = g.type;
    s.ports = g.ports;
    s.endpoints = std::move(endpoints);
    plan.create.push_back(std::move(s));
  }

  const core::Service& service_;
  const std::vector<SlicePtr>& existing_;
  const std::map<std::string, std::string> labels_;
  std::set<std::string> names_, used_;
};

}  // namespace

SlicePlan plan_slices(const core::Service& service, const std::vector<PodPtr>& pods, const std::vector<SlicePtr>& slices,
                      const std::map<std::string, std::string>& zones) {
  Slices out(service, slices);
  for (Group& g : wanted(service, pods, zones)) out.place(std::move(g));
  out.remove_unused();
  return std::move(out.plan);
}

core::Endpoints plan_endpoints(const core::Service& service, const std::vector<PodPtr>& pods) {
  core::Endpoints out;
  out.metadata.name = service.metadata.name;
  out.metadata.namespace_ = service.metadata.namespace_;
  out.metadata.labels = service.metadata.labels;
  out.metadata.labels["endpoints.kubernetes.io/managed-by"] = "endpoint-controller";
  if (headless(service)) out.metadata.labels["service.kubernetes.io/headless"] = "";
  const bool publish = service.spec.publishNotReadyAddresses.value_or(false);
  const bool v6 =
      !service.spec.ipFamilies.empty() ? service.spec.ipFamilies.front() == "IPv6" : service.spec.clusterIP.find(':') != std::string::npos;
  std::map<std::string, core::EndpointSubset> subsets;  // by ports
  size_t count = 0;
  for (const PodPtr& p : pods) {
    if (pod_finished(*p) || (deleting(p->metadata) && !publish)) continue;
    std::string ip = address_of(*p, v6);
    if (ip.empty()) continue;
    auto ports = ports_in<core::EndpointPort>(service, *p);
    if (ports.empty() && !service.spec.ports.empty() && !headless(service)) continue;
    if (++count > 1000) {
      out.metadata.annotations["endpoints.kubernetes.io/over-capacity"] = "truncated";
      break;
    }
    std::string text;
    for (const auto& port : ports) text += port.name + "/" + std::to_string(port.port) + "/" + port.protocol + ";";
    auto& subset = subsets[text];
    subset.ports = std::move(ports);
    core::EndpointAddress a;
    a.ip = std::move(ip);
    a.hostname = hostname_in(service, *p);
    a.nodeName = p->spec.nodeName;
    a.targetRef = target(*p);
    (publish || pod_ready(*p) ? subset.addresses : subset.notReadyAddresses).push_back(std::move(a));
  }
  for (auto& [text, subset] : subsets) {
    auto by_address = [](const core::EndpointAddress& a, const core::EndpointAddress& b) { return a.ip < b.ip; };
    std::sort(subset.addresses.begin(), subset.addresses.end(), by_address);
    std::sort(subset.notReadyAddresses.begin(), subset.notReadyAddresses.end(), by_address);
    out.subsets.push_back(std::move(subset));
  }
  return out;
}

bool endpoint_changed(const core::Pod& a, const core::Pod& b) {
  return a.metadata.labels != b.metadata.labels || a.status.podIP != b.status.podIP || a.status.podIPs != b.status.podIPs ||
         pod_ready(a) != pod_ready(b) || deleting(a.metadata) != deleting(b.metadata) || pod_finished(a) != pod_finished(b) ||
         a.spec.nodeName != b.spec.nodeName || a.spec.hostname != b.spec.hostname || a.metadata.uid != b.metadata.uid;
}

}  // namespace server::controllers
