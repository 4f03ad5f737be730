#include "ingress/routes.h"

#include <algorithm>

#include "ingress/path.h"

namespace ingress {
namespace {

// "a.example.com" -> "example.com": a wildcard covers exactly one label.
std::string_view parent(std::string_view name) {
  size_t dot = name.find('.');
  return dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1);
}

BackendPtr find_path(const Host& host, std::string_view path) {
  for (const Path& p : host.paths) {
    if (p.exact ? path == p.path : path_has_prefix(path, p.path)) return p.backend;
  }
  return nullptr;
}

}  // namespace

RouteTable::Match RouteTable::match(std::string_view host, std::string_view path) const {
  Match found;
  auto look = [&](const auto& map, std::string_view name) {
    if (found.backend) return;
    auto it = map.find(name);
    if (it == map.end()) return;
    if (!found.host) found.host = &it->second;
    found.backend = find_path(it->second, path);
    if (found.backend) found.host = &it->second;
  };
  look(hosts, host);
  if (!found.host && !parent(host).empty()) look(wildcards, parent(host));
  if (!found.host) look(hosts, "");
  if (!found.backend) found.backend = default_backend;
  return found;
}

base::http::TlsContextPtr RouteTable::certificate(std::string_view name) const {
  if (auto it = certificates.find(name); it != certificates.end()) return it->second;
  if (auto it = wildcard_certificates.find(parent(name)); it != wildcard_certificates.end()) return it->second;
  return nullptr;
}

void RouteTable::sort() {
  for (auto* map : {&hosts, &wildcards}) {
    for (auto& [name, host] : *map) {
      std::sort(host.paths.begin(), host.paths.end(), [](const Path& a, const Path& b) {
        if (a.exact != b.exact) return a.exact;
        if (a.path.size() != b.path.size()) return a.path.size() > b.path.size();
        return a.path < b.path;
      });
    }
  }
}

}  // namespace ingress
