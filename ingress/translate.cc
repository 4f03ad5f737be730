#include "ingress/translate.h"

#include <algorithm>
#include <tuple>

#include "ingress/path.h"

namespace ingress {
namespace {

std::string port_text(const api::networking::IngressServiceBackend& s) {
  if (!s.port) return {};
  return s.port->name.empty() ? std::to_string(s.port->number.value_or(0)) : s.port->name;
}

BackendPtr backend_of(const Snapshot& snapshot, const std::string& ns, const api::networking::IngressBackend& b) {
  if (!b.service) return nullptr;
  return snapshot.backend(ns, b.service->name, port_text(*b.service));
}

bool annotated(const api::meta::ObjectMeta& m, const std::string& name, std::string_view value) {
  auto it = m.annotations.find(name);
  return it != m.annotations.end() && it->second == value;
}

}  // namespace

bool serves(const api::networking::Ingress& i, const std::set<std::string>& classes) {
  if (!i.spec.ingressClassName.empty()) return classes.contains(i.spec.ingressClassName);
  auto it = i.metadata.annotations.find("kubernetes.io/ingress.class");
  return it == i.metadata.annotations.end() || classes.contains(it->second);
}

RouteTable translate(const Snapshot& snapshot) {
  RouteTable table;
  auto ingresses = snapshot.ingresses;
  // The oldest wins where two claim the same path or name.
  std::sort(ingresses.begin(), ingresses.end(), [](const auto& a, const auto& b) {
    const auto &x = a->metadata, &y = b->metadata;
    return std::tie(x.creationTimestamp, x.namespace_, x.name) < std::tie(y.creationTimestamp, y.namespace_, y.name);
  });
  for (const auto& ingress : ingresses) {
    if (!serves(*ingress, snapshot.classes)) continue;
    const std::string& ns = ingress->metadata.namespace_;
    auto host_of = [&](const std::string& name) -> Host& {
      if (name.starts_with("*.")) return table.wildcards[name.substr(2)];
      return table.hosts[name];
    };
    BackendPtr fallback = ingress->spec.defaultBackend ? backend_of(snapshot, ns, *ingress->spec.defaultBackend) : nullptr;
    for (const auto& rule : ingress->spec.rules) {
      auto name = canonical_host(rule.host.starts_with("*.") ? std::string_view(rule.host).substr(2) : std::string_view(rule.host));
      if (!name) continue;
      Host& host = host_of(rule.host.starts_with("*.") ? "*." + *name : *name);
      auto add = [&](bool exact, const std::string& path, BackendPtr backend) {
        bool taken = std::any_of(host.paths.begin(), host.paths.end(), [&](const Path& p) { return p.exact == exact && p.path == path; });
        if (!taken && backend) host.paths.push_back({exact, path, std::move(backend)});
      };
      if (rule.http) {
        for (const auto& p : rule.http->paths) {
          auto path = canonical_path(p.path.empty() ? "/" : p.path);
          if (path) add(p.pathType == "Exact", *path, backend_of(snapshot, ns, p.backend));
        }
      }
      if (fallback) add(false, "/", fallback);
    }
    if (fallback && !table.default_backend && ingress->spec.rules.empty()) table.default_backend = fallback;
    for (const auto& tls : ingress->spec.tls) {
      auto secret = tls.secretName.empty() ? nullptr : snapshot.secret(ns, tls.secretName);
      auto context = secret ? snapshot.certificate(*secret) : nullptr;
      for (const std::string& name : tls.hosts) {
        if (context) {
          if (name.starts_with("*.")) table.wildcard_certificates.emplace(name.substr(2), context);
          else table.certificates.emplace(name, context);
        }
        if (annotated(ingress->metadata, "appliance.dev/ssl-redirect", "true")) host_of(name).redirect_to_tls = true;
      }
    }
  }
  table.sort();
  return table;
}

std::vector<Endpoint> resolve_backend(const api::core::Service& service, const std::string& port,
                                      const std::vector<std::shared_ptr<const api::discovery::EndpointSlice>>& slices) {
  const api::core::ServicePort* wanted = nullptr;
  for (const auto& p : service.spec.ports) {
    if (p.name == port || std::to_string(p.port) == port) wanted = &p;
  }
  if (service.spec.type == "ExternalName") {
    int number = wanted ? wanted->port : std::atoi(port.c_str());
    if (service.spec.externalName.empty() || number <= 0 || number > 65535) return {};
    return {{service.spec.externalName, static_cast<uint16_t>(number)}};
  }
  if (!wanted) return {};
  std::vector<Endpoint> ready, ending;
  for (const auto& slice : slices) {
    for (const auto& p : slice->ports) {
      if (p.name != wanted->name || !p.port || (!p.protocol.empty() && p.protocol != "TCP")) continue;
      for (const auto& e : slice->endpoints) {
        if (e.addresses.empty()) continue;
        Endpoint endpoint{e.addresses[0], static_cast<uint16_t>(*p.port)};
        bool is_ready = !e.conditions || e.conditions->ready.value_or(true);
        if (is_ready) ready.push_back(std::move(endpoint));
        else if (e.conditions->serving.value_or(false) && e.conditions->terminating.value_or(false)) ending.push_back(std::move(endpoint));
      }
    }
  }
  return ready.empty() ? ending : ready;
}

}  // namespace ingress
