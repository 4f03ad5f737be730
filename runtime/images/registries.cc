// registries.yaml in k3s' format (docs.k3s.io/installation/private-registry).
#include <yaml-cpp/yaml.h>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/files.h"
#include "runtime/images/images.h"

namespace runtime {

namespace {

std::string text_of(const YAML::Node& node) { return node && node.IsScalar() ? node.Scalar() : std::string(); }

RegistriesConfig::Mirror read_mirror(const YAML::Node& node) {
  RegistriesConfig::Mirror mirror;
  if (!node.IsMap()) return mirror;
  for (const auto& endpoint : node["endpoint"]) mirror.endpoints.push_back(endpoint.as<std::string>());
  for (const auto& rule : node["rewrite"]) mirror.rewrites.emplace_back(rule.first.as<std::string>(), rule.second.as<std::string>());
  return mirror;
}

RegistriesConfig::Host read_host(const YAML::Node& node) {
  RegistriesConfig::Host host;
  if (!node.IsMap()) return host;
  if (const YAML::Node auth = node["auth"]; auth && auth.IsMap()) {
    RegistryCredentials c;
    c.username = text_of(auth["username"]);
    c.password = text_of(auth["password"]);
    c.identity_token = text_of(auth["identity_token"]);
    c.registry_token = text_of(auth["registry_token"]);
    if (std::string both = text_of(auth["auth"]); !both.empty() && c.username.empty()) {
      if (auto decoded = base::base64_decode(both)) {
        size_t colon = decoded->find(':');
        c.username = decoded->substr(0, colon);
        if (colon != std::string::npos) c.password = decoded->substr(colon + 1);
      }
    }
    host.credentials = std::move(c);
  }
  if (const YAML::Node tls = node["tls"]; tls && tls.IsMap()) {
    host.ca_file = text_of(tls["ca_file"]);
    host.cert_file = text_of(tls["cert_file"]);
    host.key_file = text_of(tls["key_file"]);
    host.insecure_skip_verify = text_of(tls["insecure_skip_verify"]) == "true";
  }
  return host;
}

}  // namespace

Result<RegistriesConfig> load_registries(const std::string& path) {
  if (!base::exists(path)) return RegistriesConfig();
  TRY(std::string text, base::read_file(path, 1 << 20));
  try {
    RegistriesConfig config;
    YAML::Node root = YAML::Load(text);
    if (!root || root.IsNull()) return config;
    if (!root.IsMap()) return base::bad_request(path + ": mirrors and configs are expected");
    for (const auto& entry : root) {
      std::string name = entry.first.as<std::string>();
      if (name != "mirrors" && name != "configs" && name != "auths")
        return base::bad_request(fmt::format("{}: unknown key \"{}\"", path, name));
      if (entry.second.IsNull()) continue;
      if (!entry.second.IsMap()) return base::bad_request(fmt::format("{}: \"{}\" must be a map by registry host", path, name));
      for (const auto& item : entry.second) {
        std::string host = item.first.as<std::string>();
        if (name == "mirrors") config.mirrors[host] = read_mirror(item.second);
        if (name == "configs") config.hosts[host] = read_host(item.second);
      }
    }
    return config;
  } catch (const YAML::Exception& e) {
    return base::bad_request(fmt::format("{}: line {}: {}", path, e.mark.line + 1, e.msg));
  }
}

}  // namespace runtime
