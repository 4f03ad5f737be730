#include "network/overlay.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include <fmt/format.h>

#include "base/log.h"
#include "network/links.h"
#include "network/parts.h"

namespace network {
namespace {

using netlink::Batch;
using netlink::Socket;

// ethtool -K <device> tx off
base::Result<> checksums_in_software(const std::string& device) {
  base::Fd s(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_value value{ETHTOOL_STXCSUM, 0};
  ifreq request{};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&value);
  if (!s || ioctl(s.get(), SIOCETHTOOL, &request) != 0) return base::errno_error("turn checksum offload of " + device + " off");
  return {};
}

constexpr uint32_t kEncapsulation = 50;  // outer Ethernet, IPv4, UDP and VXLAN headers

class OverlayImpl final : public VerifiableOverlay {
 public:
  OverlayImpl(OverlayOptions options, Ip node_ip, Cidr pod_cidr, Ip gateway, Firewall& firewall, Socket socket)
      : options_(std::move(options)),
        node_ip_(node_ip),
        pod_cidr_(pod_cidr),
        gateway_(gateway),
        firewall_(firewall),
        socket_(std::move(socket)) {
    part_ = firewall_.add_part({{"nodes"}, {}, [this](nft::Transaction& t) {
                                  for (auto& ip : admitted_) t.add_element("nodes", nft::Key().address(ip));
                                }});
  }

  base::Result<> set_nodes(const std::vector<OverlayNode>& nodes) override;
  base::Result<> set_underlay(const Ip& node_ip) override;
  base::Result<> verify() override;
  uint32_t mtu() const override { return mtu_; }
  // Makes the device as it must be; true when it is new, so that it has no entries.
  base::Result<bool> prepare();

 private:
  base::Result<> program(const std::map<std::string, OverlayNode>& wanted);
  base::Result<> admit(const std::map<std::string, OverlayNode>& wanted);
  void add(Batch& b, const OverlayNode& node) const;
  void remove(Batch& b, const OverlayNode& node) const;
  base::Result<> forget_foreign(const std::map<std::string, OverlayNode>& wanted);

  const OverlayOptions options_;
  std::mutex mutex_;
  Ip node_ip_;
  const Cidr pod_cidr_;
  const Ip gateway_;
  Firewall& firewall_;
  Socket socket_;
  int part_ = 0;
  int index_ = 0;
  uint32_t mtu_ = 1450;
  std::map<std::string, OverlayNode> wanted_, current_;
  bool first_ = true;
  std::set<Ip> admitted_;  // under the firewall's mutex
};

base::Result<bool> OverlayImpl::prepare() {
  TRY(auto addresses, links::addresses(socket_));
  TRY(auto all, links::list(socket_));
  int underlay = 0;
  for (auto& a : addresses)
    if (a.ip == node_ip_) underlay = a.index;
  if (!options_.interface.empty()) {
    underlay = 0;
    for (auto& l : all)
      if (l.name == options_.interface) underlay = l.index;
    if (!underlay) return base::bad_request("there is no interface " + options_.interface + " (overlay interface)");
  }
  if (!underlay) return base::bad_request("no interface of this host has the node's address " + node_ip_.str());
  uint32_t underlay_mtu = 1500;
  const links::Link* device = nullptr;
  for (auto& l : all) {
    if (l.index == underlay) underlay_mtu = std::min(l.mtu, 65535u);
    if (l.name == options_.device) device = &l;
  }
  if (!options_.enabled) {
    mtu_ = underlay_mtu;
    return false;
  }
  mtu_ = underlay_mtu - kEncapsulation;
  Mac mac = vtep_mac(pod_cidr_);
  Batch b;
  if (device && (device->kind != "vxlan" || device->vni != options_.vni || device->port != options_.port || device->local != node_ip_ ||
                 device->mac != mac)) {
    links::delete_link(b, device->index);
    device = nullptr;
  }
  bool made = !device;
  if (device) {
    if (device->mtu != mtu_) links::set_mtu(b, device->index, mtu_);
    if (!device->up) links::set_up(b, device->index);
    index_ = device->index;
  } else {
    links::add_vxlan(b, {.name = options_.device, .mac = mac, .vni = options_.vni, .port = options_.port, .local = node_ip_, .mtu = mtu_});
  }
  if (auto r = socket_.run(b); !r) {
    auto e = r.error();
    e.message += fmt::format("; is another VXLAN device using UDP port {} with identifier {} (flannel, another cluster)?", options_.port,
                             options_.vni);
    return std::unexpected(std::move(e));
  }
  if (made) {
    TRY(auto link, links::find(socket_, options_.device));
    if (!link) return base::internal("the VXLAN device vanished right after its creation");
    index_ = link->index;
    Batch more;
    links::set_host_end(more, index_, {});
    CHECK_OK(socket_.run(more));
  }
  if (!options_.checksum_offload) CHECK_OK(checksums_in_software(options_.device));
  return made;
}

void OverlayImpl::add(Batch& b, const OverlayNode& n) const {
  if (!options_.enabled) {
    links::add_route(b, {.to = n.pod_cidr, .via = n.underlay, .source = gateway_});
    return;
  }
  // The peer's network address stands for its device: nobody else has it, and nothing is ever asked for it.
  Ip vtep = n.pod_cidr.ip;
  links::add_forwarding(b, index_, n.vtep_mac, n.underlay);
  links::add_neighbour(b, index_, vtep, n.vtep_mac);
  links::add_route(b, {.to = n.pod_cidr, .via = vtep, .source = gateway_, .index = index_}, true);
}

void OverlayImpl::remove(Batch& b, const OverlayNode& n) const {
  if (!options_.enabled) {
    links::delete_route(b, {.to = n.pod_cidr, .via = n.underlay});
    return;
  }
  links::delete_route(b, {.to = n.pod_cidr, .index = index_});
  links::delete_neighbour(b, index_, n.pod_cidr.ip);
  links::delete_forwarding(b, index_, n.vtep_mac, n.underlay);
}

bool same(const OverlayNode& a, const OverlayNode& b) {
  return a.underlay == b.underlay && a.pod_cidr == b.pod_cidr && a.vtep_mac == b.vtep_mac;
}

// Entries on the device that an earlier process made for nodes that are gone.
base::Result<> OverlayImpl::forget_foreign(const std::map<std::string, OverlayNode>& wanted) {
  if (!options_.enabled) return {};
  std::set<Cidr> keep;
  for (auto& [name, n] : wanted) keep.insert(n.pod_cidr);
  TRY(auto routes, links::routes(socket_));
  Batch b;
  for (auto& r : routes)
    if (r.index == index_ && !keep.contains(r.to)) {
      links::delete_route(b, r);
      if (!r.via.none()) links::delete_neighbour(b, index_, r.via);
    }
  CHECK_OK(socket_.run(b));
  TRY(auto entries, links::forwarding(socket_, index_));
  std::set<std::pair<Mac, Ip>> known;
  for (auto& [name, n] : wanted) known.insert({n.vtep_mac, n.underlay});
  Batch f;
  for (auto& e : entries)
    if (!known.contains({e.mac, e.ip})) links::delete_forwarding(f, index_, e.mac, e.ip);
  return socket_.run(f);
}

base::Result<> OverlayImpl::admit(const std::map<std::string, OverlayNode>& wanted) {
  std::scoped_lock lock(firewall_.mutex());
  std::set<Ip> next;
  for (auto& [name, n] : wanted) next.insert(n.underlay);
  auto t = firewall_.transaction();
  for (auto& ip : admitted_)
    if (!next.contains(ip)) t.delete_element("nodes", nft::Key().address(ip));
  for (auto& ip : next)
    if (!admitted_.contains(ip)) t.add_element("nodes", nft::Key().address(ip));
  admitted_ = std::move(next);
  return firewall_.commit(part_, t);
}

base::Result<> OverlayImpl::program(const std::map<std::string, OverlayNode>& wanted) {
  // What goes first: a node that takes over the address or prefix of another must not lose it again.
  Batch removals;
  for (auto it = current_.begin(); it != current_.end();) {
    auto w = wanted.find(it->first);
    if (w != wanted.end() && same(w->second, it->second)) {
      ++it;
      continue;
    }
    remove(removals, it->second);
    it = current_.erase(it);
  }
  base::Result<> result = socket_.run(removals);

  Batch additions;
  std::vector<std::pair<std::string, size_t>> ends;  // node, requests up to its end
  for (auto& [name, n] : wanted) {
    if (current_.contains(name)) continue;
    add(additions, n);
    ends.emplace_back(name, additions.messages());
  }
  std::vector<int> errors;
  if (auto r = socket_.run(additions, &errors); !r && result) result = r;
  size_t at = 0;
  for (auto& [name, end] : ends) {
    bool ok = true;
    for (; at < end; ++at) ok = ok && errors[at] == 0;
    if (ok) current_[name] = wanted.at(name);
  }
  return result;
}

base::Result<> OverlayImpl::set_nodes(const std::vector<OverlayNode>& nodes) {
  std::scoped_lock lock(mutex_);
  std::map<std::string, OverlayNode> wanted;
  std::set<Cidr> prefixes{pod_cidr_};
  for (auto n : nodes) {
    if (n.underlay == node_ip_ || n.pod_cidr == pod_cidr_ || !n.underlay.is_v4() || !n.pod_cidr.ip.is_v4()) continue;
    if (!prefixes.insert(n.pod_cidr).second) {
      base::log::warn("network", "node {} has the pod prefix {} of another node; ignored", n.name, n.pod_cidr.str());
      continue;
    }
    if (n.vtep_mac == Mac{}) n.vtep_mac = vtep_mac(n.pod_cidr);
    wanted[n.name] = std::move(n);
  }
  wanted_ = wanted;
  base::Result<> result;
  if (first_) result = forget_foreign(wanted);
  first_ = false;
  if (options_.enabled)
    if (auto r = admit(wanted); !r && result) result = r;
  if (auto r = program(wanted); !r && result) result = r;
  return result;
}

base::Result<> OverlayImpl::set_underlay(const Ip& node_ip) {
  std::scoped_lock lock(mutex_);
  node_ip_ = node_ip;
  TRY(bool made, prepare());
  if (made) current_.clear();
  return program(wanted_);
}

base::Result<> OverlayImpl::verify() {
  std::scoped_lock lock(mutex_);
  TRY(bool made, prepare());
  if (made) current_.clear();
  // A route that something else took away is missed here; the device's other entries went with nothing but the device.
  if (!made && options_.enabled && !current_.empty()) {
    TRY(auto routes, links::routes(socket_));
    std::set<Cidr> there;
    for (auto& r : routes)
      if (r.index == index_) there.insert(r.to);
    std::erase_if(current_, [&](auto& c) { return !there.contains(c.second.pod_cidr); });
  }
  return program(wanted_);
}

}  // namespace

Mac vtep_mac(const Cidr& pod_cidr) {
  auto* p = pod_cidr.ip.data();
  return {0x0a, 0x5a, p[0], p[1], p[2], p[3]};
}

base::Result<std::unique_ptr<VerifiableOverlay>> make_overlay(OverlayOptions options, Ip node_ip, Cidr pod_cidr, Ip gateway,
                                                              Firewall& firewall) {
  TRY(auto socket, Socket::open(NETLINK_ROUTE));
  auto o = std::make_unique<OverlayImpl>(std::move(options), node_ip, pod_cidr, gateway, firewall, std::move(socket));
  TRY(bool made, o->prepare());
  (void)made;
  return o;
}

}  // namespace network
