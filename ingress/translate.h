// From objects to routes, as the Ingress API defines them (networking.k8s.io/v1): a pure function of a snapshot.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/types/core_v1.h"
#include "api/types/discovery_v1.h"
#include "api/types/networking_v1.h"
#include "ingress/routes.h"

namespace ingress {

struct Snapshot {
  std::set<std::string> classes;  // names of the IngressClasses that are served
  std::vector<std::shared_ptr<const api::networking::Ingress>> ingresses;
  std::function<std::shared_ptr<const api::core::Service>(const std::string& ns, const std::string& name)> service;
  std::function<std::shared_ptr<const api::core::Secret>(const std::string& ns, const std::string& name)> secret;
  // Hands out the one Backend of a name, so that tables share them.
  std::function<BackendPtr(const std::string& ns, const std::string& service, const std::string& port)> backend;
  // A context for a certificate; null (and logged) when the pair is bad.
  std::function<base::http::TlsContextPtr(const api::core::Secret&)> certificate;
};

// Whether this controller serves the object: by class name, by the old annotation, or because it names none.
bool serves(const api::networking::Ingress& ingress, const std::set<std::string>& classes);

RouteTable translate(const Snapshot& snapshot);

// The addresses behind a port (its name or number) of a service: ready ones, else those that still serve while they end.
std::vector<Endpoint> resolve_backend(const api::core::Service& service, const std::string& port,
                                      const std::vector<std::shared_ptr<const api::discovery::EndpointSlice>>& slices);

}  // namespace ingress
