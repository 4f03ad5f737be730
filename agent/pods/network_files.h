// The files a pod gets for its name resolution: /etc/hosts, /etc/hostname, /etc/resolv.conf. Pure.
#pragma once

#include <string>
#include <vector>

#include "api/types/core_v1.h"
#include "base/error.h"

namespace agent {

struct DnsSettings {
  std::string cluster_dns, cluster_domain;
  std::string host_resolv_conf;  // text of the node's file, for dnsPolicy Default and for its search domains
};

struct ResolvConf {
  std::vector<std::string> nameservers, searches, options;
  std::string text() const;
};

ResolvConf parse_resolv_conf(std::string_view text);
// dnsPolicy ClusterFirst, ClusterFirstWithHostNet, Default or None, then dnsConfig merged (API reference, PodDNSConfig). At most
// 3 nameservers, 32 searches of 2048 characters together.
ResolvConf pod_resolv_conf(const api::core::Pod& pod, const DnsSettings& settings);

// What the pod calls itself: spec.hostname or its name (at most 63 characters), and the domain when spec.subdomain is set.
struct PodHostname {
  std::string name;    // of the UTS namespace
  std::string domain;  // <subdomain>.<namespace>.svc.<cluster domain>, or empty
};
PodHostname pod_hostname(const api::core::Pod& pod, const std::string& cluster_domain);

// /etc/hosts; `host_file` is the node's own text for host network pods.
std::string pod_hosts_file(const api::core::Pod& pod, const std::vector<std::string>& pod_ips, const PodHostname& hostname,
                           const std::string& host_file);

}  // namespace agent
