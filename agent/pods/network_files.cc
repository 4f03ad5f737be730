#include "agent/pods/network_files.h"

#include <algorithm>
#include <sstream>

namespace agent {

namespace {

constexpr size_t kMaxNameservers = 3, kMaxSearches = 32, kMaxSearchCharacters = 2048;

std::vector<std::string> words(std::string_view line) {
  std::vector<std::string> out;
  size_t at = 0;
  while (at < line.size()) {
    size_t from = line.find_first_not_of(" \t\r", at);
    if (from == std::string_view::npos) break;
    size_t to = std::min(line.find_first_of(" \t\r", from), line.size());
    out.emplace_back(line.substr(from, to - from));
    at = to;
  }
  return out;
}

void add_once(std::vector<std::string>& to, const std::string& s) {
  if (std::find(to.begin(), to.end(), s) == to.end()) to.push_back(s);
}

}  // namespace

ResolvConf parse_resolv_conf(std::string_view text) {
  ResolvConf out;
  size_t at = 0;
  while (at < text.size()) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    auto w = words(line);
    if (w.empty() || w[0][0] == '#' || w[0][0] == ';') continue;
    if (w[0] == "nameserver" && w.size() > 1) {
      out.nameservers.push_back(w[1]);
    } else if (w[0] == "search" || w[0] == "domain") {
      out.searches.assign(w.begin() + 1, w.end());
      for (std::string& s : out.searches) {
        if (s.size() > 1 && s.back() == '.') s.pop_back();
      }
    } else if (w[0] == "options") {
      out.options.assign(w.begin() + 1, w.end());
    }
  }
  return out;
}

std::string ResolvConf::text() const {
  std::string out;
  if (!searches.empty()) {
    out += "search";
    for (const auto& s : searches) out += " " + s;
    out += "\n";
  }
  for (const auto& n : nameservers) out += "nameserver " + n + "\n";
  if (!options.empty()) {
    out += "options";
    for (const auto& o : options) out += " " + o;
    out += "\n";
  }
  return out;
}

ResolvConf pod_resolv_conf(const api::core::Pod& pod, const DnsSettings& settings) {
  ResolvConf host = parse_resolv_conf(settings.host_resolv_conf);
  ResolvConf out;
  std::string policy = pod.spec.dnsPolicy.empty() ? "ClusterFirst" : pod.spec.dnsPolicy;
  if (policy == "ClusterFirst" && pod.spec.hostNetwork.value_or(false)) policy = "Default";
  if (policy == "ClusterFirstWithHostNet") policy = "ClusterFirst";
  if (policy == "ClusterFirst" && settings.cluster_dns.empty()) policy = "Default";
  if (policy == "ClusterFirst") {
    out.nameservers = {settings.cluster_dns};
    const std::string& d = settings.cluster_domain;
    out.searches = {pod.metadata.namespace_ + ".svc." + d, "svc." + d, d};
    for (const auto& s : host.searches) add_once(out.searches, s);
    out.options = {"ndots:5"};
  } else if (policy == "Default") {
    out = host;
  }
  if (pod.spec.dnsConfig) {
    for (const auto& n : pod.spec.dnsConfig->nameservers) add_once(out.nameservers, n);
    for (const auto& s : pod.spec.dnsConfig->searches) add_once(out.searches, s);
    for (const auto& o : pod.spec.dnsConfig->options) {
      std::erase_if(out.options, [&](const std::string& have) { return have.substr(0, have.find(':')) == o.name; });
      out.options.push_back(o.value.empty() ? o.name : o.name + ":" + o.value);
    }
  }
  if (out.nameservers.size() > kMaxNameservers) out.nameservers.resize(kMaxNameservers);
  if (out.searches.size() > kMaxSearches) out.searches.resize(kMaxSearches);
  size_t total = 0;
  for (size_t i = 0; i < out.searches.size(); ++i) {
    total += out.searches[i].size() + 1;
    if (total > kMaxSearchCharacters) {
      out.searches.resize(i);
      break;
    }
  }
  return out;
}

PodHostname pod_hostname(const api::core::Pod& pod, const std::string& cluster_domain) {
  PodHostname h;
  if (!pod.spec.hostnameOverride.empty()) {
    h.name = pod.spec.hostnameOverride;
    return h;
  }
  h.name = pod.spec.hostname.empty() ? pod.metadata.name : pod.spec.hostname;
  // The kernel's and DNS's limit; a cut must not leave a dash or dot at the end.
  if (h.name.size() > 63) {
    h.name.resize(63);
    while (!h.name.empty() && (h.name.back() == '-' || h.name.back() == '.')) h.name.pop_back();
  }
  if (!pod.spec.subdomain.empty()) h.domain = pod.spec.subdomain + "." + pod.metadata.namespace_ + ".svc." + cluster_domain;
  if (pod.spec.setHostnameAsFQDN.value_or(false) && !h.domain.empty()) h.name += "." + h.domain;
  return h;
}

std::string pod_hosts_file(const api::core::Pod& pod, const std::vector<std::string>& pod_ips, const PodHostname& hostname,
                           const std::string& host_file) {
  std::string out;
  if (pod.spec.hostNetwork.value_or(false)) {
    out = "# Kubernetes-managed hosts file (host network).\n" + host_file;
    if (!out.empty() && out.back() != '\n') out += '\n';
  } else {
    out =
        "# Kubernetes-managed hosts file.\n"
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n";
    std::string shorter = hostname.name.substr(0, hostname.name.find('.'));
    for (const auto& ip : pod_ips) {
      out += ip + "\t";
      if (!hostname.domain.empty()) out += shorter + "." + hostname.domain + "\t";
      out += shorter + "\n";
    }
  }
  if (!pod.spec.hostAliases.empty()) {
    out += "\n# Entries added by HostAliases.\n";
    for (const auto& alias : pod.spec.hostAliases) {
      out += alias.ip;
      for (const auto& name : alias.hostnames) out += "\t" + name;
      out += "\n";
    }
  }
  return out;
}

}  // namespace agent
