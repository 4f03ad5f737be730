#include <catch2/catch.hpp>

#include "agent/pods/network_files.h"

using namespace agent;

namespace {
api::core::Pod pod() {
  api::core::Pod p;
  p.metadata.name = "web-0";
  p.metadata.namespace_ = "shop";
  return p;
}
const DnsSettings settings{"10.43.0.10", "cluster.local", "# c\nnameserver 192.0.2.53\nsearch example.org corp.\noptions timeout:2\n"};
}  // namespace

TEST_CASE("ClusterFirst asks the cluster's server and searches its domains before the host's") {
  CHECK(pod_resolv_conf(pod(), settings).text() ==
        "search shop.svc.cluster.local svc.cluster.local cluster.local example.org corp\n"
        "nameserver 10.43.0.10\n"
        "options ndots:5\n");
}

TEST_CASE("host network pods get the host's resolver unless they ask for the cluster's") {
  auto p = pod();
  p.spec.hostNetwork = true;
  CHECK(pod_resolv_conf(p, settings).nameservers == std::vector<std::string>{"192.0.2.53"});
  p.spec.dnsPolicy = "ClusterFirstWithHostNet";
  CHECK(pod_resolv_conf(p, settings).nameservers == std::vector<std::string>{"10.43.0.10"});
}

TEST_CASE("dnsConfig is merged, and alone with the policy None") {
  auto p = pod();
  auto& c = p.spec.dnsConfig.emplace();
  c.nameservers = {"9.9.9.9"};
  c.searches = {"mine", "cluster.local"};
  c.options.push_back({"ndots", "2"});
  c.options.push_back({"edns0", ""});
  auto r = pod_resolv_conf(p, settings);
  CHECK(r.nameservers == std::vector<std::string>{"10.43.0.10", "9.9.9.9"});
  CHECK(r.searches.back() == "mine");
  CHECK(r.options == std::vector<std::string>{"ndots:2", "edns0"});
  p.spec.dnsPolicy = "None";
  CHECK(pod_resolv_conf(p, settings).text() == "search mine cluster.local\nnameserver 9.9.9.9\noptions ndots:2 edns0\n");
}

TEST_CASE("at most three nameservers and 32 searches") {
  auto p = pod();
  p.spec.dnsPolicy = "None";
  auto& c = p.spec.dnsConfig.emplace();
  c.nameservers = {"1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"};
  for (int i = 0; i < 40; ++i) c.searches.push_back("s" + std::to_string(i));
  auto r = pod_resolv_conf(p, settings);
  CHECK(r.nameservers.size() == 3);
  CHECK(r.searches.size() == 32);
}

TEST_CASE("a pod's hostname") {
  auto p = pod();
  CHECK(pod_hostname(p, "cluster.local").name == "web-0");
  p.spec.hostname = "db";
  p.spec.subdomain = "cluster";
  auto h = pod_hostname(p, "cluster.local");
  CHECK(h.name == "db");
  CHECK(h.domain == "cluster.shop.svc.cluster.local");
  p.spec.setHostnameAsFQDN = true;
  CHECK(pod_hostname(p, "cluster.local").name == "db.cluster.shop.svc.cluster.local");
  auto longer = pod();
  longer.metadata.name = std::string(62, 'a') + "-bcd";
  CHECK(pod_hostname(longer, "x").name == std::string(62, 'a'));
}

TEST_CASE("the hosts file knows the pod and its aliases") {
  auto p = pod();
  p.spec.subdomain = "cluster";
  p.spec.hostAliases.push_back({"192.0.2.9", {"a.example", "b.example"}});
  auto text = pod_hosts_file(p, {"10.42.0.5"}, pod_hostname(p, "cluster.local"), "");
  CHECK(text.find("127.0.0.1\tlocalhost\n") != std::string::npos);
  CHECK(text.find("10.42.0.5\tweb-0.cluster.shop.svc.cluster.local\tweb-0\n") != std::string::npos);
  CHECK(text.find("192.0.2.9\ta.example\tb.example\n") != std::string::npos);
  p.spec.hostNetwork = true;
  CHECK(pod_hosts_file(p, {}, {}, "1.2.3.4 host\n").find("1.2.3.4 host\n") != std::string::npos);
}
