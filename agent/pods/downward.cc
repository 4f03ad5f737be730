#include "agent/pods/downward.h"

#include <fmt/format.h>

#include "api/quantity.h"

namespace agent {

namespace {

// Double quotes with the escapes of a Go string literal, which is what readers of these files expect.
std::string quoted(std::string_view s) {
  std::string out = "\"";
  for (char c : s) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

std::string lines(const std::map<std::string, std::string>& m) {
  std::string out;
  for (const auto& [k, v] : m) out += k + "=" + quoted(v) + "\n";
  return out;
}

std::string joined(const std::vector<std::string>& v) {
  std::string out;
  for (const auto& s : v) out += (out.empty() ? "" : ",") + s;
  return out;
}

const api::core::Container* find_container(const api::core::Pod& pod, const std::string& name) {
  for (const auto& c : pod.spec.containers)
    if (c.name == name) return &c;
  for (const auto& c : pod.spec.initContainers)
    if (c.name == name) return &c;
  return nullptr;
}

}  // namespace

bool needs_pod_address(const std::string& path) { return path == "status.podIP" || path == "status.podIPs"; }

Result<std::string> downward_field(const PodFacts& facts, const std::string& path) {
  const auto& pod = *facts.pod;
  const auto& m = pod.metadata;
  auto subscript = [&](std::string_view prefix, std::string& key) {
    if (!path.starts_with(prefix) || path.size() < prefix.size() + 4 || !path.ends_with("']")) return false;
    if (path.compare(prefix.size(), 2, "['") != 0) return false;
    key = path.substr(prefix.size() + 2, path.size() - prefix.size() - 4);
    return true;
  };
  auto value = [](const std::map<std::string, std::string>& map, const std::string& key) {
    auto it = map.find(key);
    return it == map.end() ? std::string() : it->second;
  };
  std::string key;
  if (path == "metadata.name") return m.name;
  if (path == "metadata.namespace") return m.namespace_;
  if (path == "metadata.uid") return m.uid;
  if (path == "metadata.labels") return lines(m.labels);
  if (path == "metadata.annotations") return lines(m.annotations);
  if (subscript("metadata.labels", key)) return value(m.labels, key);
  if (subscript("metadata.annotations", key)) return value(m.annotations, key);
  if (path == "spec.nodeName") return pod.spec.nodeName;
  if (path == "spec.serviceAccountName") return pod.spec.serviceAccountName;
  if (path == "status.hostIP") return facts.host_ips.empty() ? std::string() : facts.host_ips[0];
  if (path == "status.hostIPs") return joined(facts.host_ips);
  if (path == "status.podIP") return facts.pod_ips.empty() ? std::string() : facts.pod_ips[0];
  if (path == "status.podIPs") return joined(facts.pod_ips);
  return base::fail(400, "CreateContainerConfigError", fmt::format("unsupported fieldPath: {}", path));
}

Result<std::string> downward_resource(const PodFacts& facts, const api::core::ResourceFieldSelector& selector,
                                      const std::string& container) {
  const std::string& name = selector.containerName.empty() ? container : selector.containerName;
  const auto* c = find_container(*facts.pod, name);
  if (!c) return base::fail(400, "CreateContainerConfigError", fmt::format("container {} not found", name));
  size_t dot = selector.resource.find('.');
  std::string kind = selector.resource.substr(0, dot);
  std::string resource = dot == std::string::npos ? "" : selector.resource.substr(dot + 1);
  if ((kind != "limits" && kind != "requests") || resource.empty()) {
    return base::fail(400, "CreateContainerConfigError", fmt::format("unsupported container resource: {}", selector.resource));
  }
  std::string amount;
  if (c->resources) {
    const auto& from = kind == "limits" ? c->resources->limits : c->resources->requests;
    if (auto it = from.find(resource); it != from.end()) amount = it->second;
  }
  if (amount.empty() && kind == "limits") {
    if (auto it = facts.node_allocatable.find(resource); it != facts.node_allocatable.end()) amount = it->second;
  }
  if (amount.empty()) amount = "0";
  TRY(auto q, api::Quantity::parse(amount));
  api::Quantity divisor = api::Quantity::of_value(1);
  if (!selector.divisor.empty() && selector.divisor != "0") {
    TRY(divisor, api::Quantity::parse(selector.divisor));
    if (divisor.sign() <= 0) divisor = api::Quantity::of_value(1);
  }
  // Divisors below one are milli-units (1m); all others are whole numbers.
  bool small = divisor < api::Quantity::of_value(1);
  int64_t n = small ? q.milli_value() : q.value(), d = small ? divisor.milli_value() : divisor.value();
  return std::to_string(n / d + (n % d != 0 ? 1 : 0));
}

}  // namespace agent
