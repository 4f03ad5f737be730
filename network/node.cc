#include "network/node.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/files.h"
#include "base/log.h"
#include "network/links.h"
#include "network/parts.h"
#include "network/sysctl.h"

namespace network {
namespace {

using netlink::Batch;
using netlink::Socket;

class NodeImpl final : public Node {
 public:
  explicit NodeImpl(NodeOptions options) : options_(std::move(options)), gateway_(options_.pod_cidr.at(1)) {}

  base::Result<> start();
  Pods& pods() override { return *pods_; }
  Overlay& overlay() override { return *overlay_; }
  Services& services() override { return *services_; }
  Policies& policies() override { return *policies_; }
  base::Result<> verify() override;

 private:
  base::Result<> settings();
  base::Result<> local_link();

  const NodeOptions options_;
  const Ip gateway_;
  std::unique_ptr<Firewall> firewall_;
  std::unique_ptr<VerifiableOverlay> overlay_;
  std::unique_ptr<Pods> pods_;
  std::unique_ptr<Policies> policies_;
  std::unique_ptr<Services> services_;
};

base::Result<> NodeImpl::settings() {
  CHECK_OK(set_sysctl("net/ipv4/ip_forward", "1"));
  // Host to cluster IP leaves by appl0 and the answer comes in by a pod's link: a strict check of one of them would drop it. The table
  // checks what pods send by itself.
  return {};
}

// appl0 holds what is the node's own inside the cluster: the gateway address of its pods and the DNS server's. Nothing is plugged into it.
base::Result<> NodeImpl::local_link() {
  TRY(auto socket, Socket::open(NETLINK_ROUTE));
  std::string name(kLocalLink);
  TRY(auto link, links::find(socket, name));
  if (!link || link->kind != "bridge") {
    Batch b;
    if (link) links::delete_link(b, link->index);
    links::add_bridge(b, name, 0);
    if (auto r = socket.run(b); !r) {
      auto e = r.error();
      e.message += " (does the kernel have the bridge module?)";
      return std::unexpected(std::move(e));
    }
    TRY(link, links::find(socket, name));
    if (!link) return base::internal("the link appl0 vanished right after its creation");
  }
  Batch b;
  links::set_host_end(b, link->index, {});
  if (!link->up) links::set_up(b, link->index);
  TRY(auto addresses, links::addresses(socket));
  std::vector<Ip> wanted{gateway_};
  for (auto& ip : options_.dns_addresses)
    if (ip.is_v4()) wanted.push_back(ip);
  for (auto& a : addresses)
    if (a.index == link->index && a.ip.is_v4() && std::ranges::find(wanted, a.ip) == wanted.end())
      links::delete_address(b, a.index, a.ip, a.bits);
  for (auto& ip : wanted) links::add_address(b, link->index, ip, 32);
  // The host's own connections to cluster IPs come from the gateway address, so that pods on every node can answer them.
  for (auto& c : options_.service_cidrs)
    if (c.ip.is_v4()) links::add_route(b, {.to = c, .source = gateway_, .index = link->index});
  // An address of the prefix that is no pod's must not leave by the default route.
  links::add_route(b, {.to = options_.pod_cidr, .type = RTN_UNREACHABLE});
  return socket.run(b);
}

base::Result<> NodeImpl::start() {
  if (!options_.node_ip.is_v4()) return base::bad_request("the node needs an IPv4 address");
  if (!options_.pod_cidr.ip.is_v4()) return base::bad_request("the node needs an IPv4 pod prefix");
  CHECK_OK(settings());
  CHECK_OK(local_link());
  FirewallOptions f{.gateway = gateway_,
                    .pod_cidr = options_.pod_cidr,
                    .cluster_cidrs = options_.cluster_cidrs,
                    .service_cidrs = options_.service_cidrs,
                    .dns_addresses = options_.dns_addresses,
                    .overlay_device = options_.overlay.device,
                    .overlay_port = options_.overlay.port};
  std::erase_if(f.cluster_cidrs, [](auto& c) { return !c.ip.is_v4(); });
  std::erase_if(f.service_cidrs, [](auto& c) { return !c.ip.is_v4(); });
  std::erase_if(f.dns_addresses, [](auto& a) { return !a.is_v4(); });
  TRY(firewall_, Firewall::open(std::move(f)));
  TRY(overlay_, make_overlay(options_.overlay, options_.node_ip, options_.pod_cidr, gateway_, *firewall_));
  TRY(pods_, make_pods({.pod_cidr = options_.pod_cidr, .mtu = overlay_->mtu(), .state_dir = options_.state_dir}, *firewall_));
  policies_ = make_policies(*firewall_);
  services_ = make_services(*firewall_);
  for (auto& sentence : obstacles(options_.cluster_cidrs)) base::log::warn("network", "{}", sentence);
  return firewall_->install();
}

base::Result<> NodeImpl::verify() {
  base::Result<> result = settings();
  if (auto r = local_link(); !r && result) result = r;
  if (auto r = overlay_->verify(); !r && result) result = r;
  if (auto r = firewall_->verify(); !r && result) result = r;
  return result;
}

}  // namespace

base::Result<std::unique_ptr<Node>> Node::start(NodeOptions options) {
  auto node = std::make_unique<NodeImpl>(std::move(options));
  CHECK_OK(node->start());
  return node;
}

}  // namespace network
