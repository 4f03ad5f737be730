#include "network/links.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace network::links {
namespace {

using netlink::as;
using netlink::Batch;

constexpr uint16_t kCreate = NLM_F_CREATE | NLM_F_EXCL;
constexpr uint16_t kReplace = NLM_F_CREATE | NLM_F_REPLACE;

uint8_t family(const Ip& ip) { return ip.is_v6() ? AF_INET6 : AF_INET; }

ifinfomsg link_header(int index = 0, unsigned flags = 0, unsigned change = 0) {
  ifinfomsg h{};
  h.ifi_family = AF_UNSPEC;
  h.ifi_index = index;
  h.ifi_flags = flags;
  h.ifi_change = change;
  return h;
}

void ip_attr(Batch& b, uint16_t type, const Ip& ip) { b.attr(type, ip.data(), ip.size()); }
void mac_attr(Batch& b, uint16_t type, const Mac& mac) {
  if (mac != Mac{}) b.attr(type, mac.data(), mac.size());
}

std::string text_of(std::string_view v) { return std::string(v.data(), strnlen(v.data(), v.size())); }

Link parse_link(std::string_view body) {
  Link l;
  auto h = as<ifinfomsg>(body);
  l.index = h.ifi_index;
  l.up = h.ifi_flags & IFF_UP;
  if (body.size() < sizeof h) return l;
  netlink::each_attribute(body.data() + sizeof h, body.size() - sizeof h, [&](uint16_t type, std::string_view v) {
    switch (type) {
      case IFLA_IFNAME: l.name = text_of(v); break;
      case IFLA_IFALIAS: l.alias = text_of(v); break;
      case IFLA_OPERSTATE: l.operational = as<uint8_t>(v) == IF_OPER_UP; break;
      case IFLA_MTU: l.mtu = as<uint32_t>(v); break;
      case IFLA_ADDRESS:
        if (v.size() == 6) std::memcpy(l.mac.data(), v.data(), 6);
        break;
      case IFLA_LINKINFO: {
        std::string_view data;
        netlink::each_attribute(v.data(), v.size(), [&](uint16_t t, std::string_view w) {
          if (t == IFLA_INFO_KIND) l.kind = text_of(w);
          if (t == IFLA_INFO_DATA) data = w;
        });
        if (l.kind != "vxlan") break;
        netlink::each_attribute(data.data(), data.size(), [&](uint16_t t, std::string_view w) {
          if (t == IFLA_VXLAN_ID) l.vni = as<uint32_t>(w);
          if (t == IFLA_VXLAN_LOCAL || t == IFLA_VXLAN_LOCAL6) l.local = Ip::from_bytes(w.data(), w.size());
          if (t == IFLA_VXLAN_PORT) l.port = ntohs(as<uint16_t>(w));
          if (t == IFLA_VXLAN_LINK) l.underlay = as<int>(w);
        });
        break;
      }
      default: break;
    }
  });
  return l;
}

}  // namespace

base::Result<std::vector<Link>> list(netlink::Socket& socket) {
  Batch b;
  b.begin(RTM_GETLINK, NLM_F_DUMP, link_header(), "list links");
  std::vector<Link> out;
  CHECK_OK(socket.dump(b, [&](const nlmsghdr& h, std::string_view body) {
    if (h.nlmsg_type == RTM_NEWLINK) out.push_back(parse_link(body));
  }, [&] { out.clear(); }));
  return out;
}

base::Result<std::optional<Link>> find(netlink::Socket& socket, const std::string& name) {
  Batch b;
  b.begin(RTM_GETLINK, 0, link_header(), "find link " + name);
  b.text(IFLA_IFNAME, name);
  std::optional<Link> out;
  auto r = socket.dump(b, [&](const nlmsghdr& h, std::string_view body) {
    if (h.nlmsg_type == RTM_NEWLINK) out = parse_link(body);
  });
  if (!r && r.error().reason != "NotFound") {
    // The only failure that means something else than "no such link" is a refusal.
    if (r.error().message.find("No such device") == std::string::npos) return std::unexpected(r.error());
    return std::optional<Link>{};
  }
  return out;
}

base::Result<std::vector<Address>> addresses(netlink::Socket& socket) {
  Batch b;
  ifaddrmsg m{};
  b.begin(RTM_GETADDR, NLM_F_DUMP, m, "list addresses");
  std::vector<Address> out;
  CHECK_OK(socket.dump(b, [&](const nlmsghdr& h, std::string_view body) {
    if (h.nlmsg_type != RTM_NEWADDR || body.size() < sizeof m) return;
    auto a = as<ifaddrmsg>(body);
    Address x;
    x.index = static_cast<int>(a.ifa_index);
    x.bits = a.ifa_prefixlen;
    x.scope = a.ifa_scope;
    x.flags = a.ifa_flags;
    Ip address, local;
    netlink::each_attribute(body.data() + sizeof a, body.size() - sizeof a, [&](uint16_t type, std::string_view v) {
      if (type == IFA_ADDRESS) address = Ip::from_bytes(v.data(), v.size());
      if (type == IFA_LOCAL) local = Ip::from_bytes(v.data(), v.size());
      if (type == IFA_FLAGS) x.flags = as<uint32_t>(v);
      if (type == IFA_LABEL) x.label = text_of(v);
    });
    x.ip = local.none() ? address : local;
    out.push_back(std::move(x));
  }, [&] { out.clear(); }));
  return out;
}

base::Result<std::vector<Route>> routes(netlink::Socket& socket) {
  Batch b;
  rtmsg m{};
  m.rtm_family = AF_INET;
  b.begin(RTM_GETROUTE, NLM_F_DUMP, m, "list routes");
  std::vector<Route> out;
  CHECK_OK(socket.dump(b, [&](const nlmsghdr& h, std::string_view body) {
    if (h.nlmsg_type != RTM_NEWROUTE || body.size() < sizeof m) return;
    auto r = as<rtmsg>(body);
    if (r.rtm_flags & RTM_F_CLONED) return;
    Route x;
    x.table = r.rtm_table;
    x.type = r.rtm_type;
    x.to = Cidr{Ip::v4(0), r.rtm_dst_len};
    netlink::each_attribute(body.data() + sizeof r, body.size() - sizeof r, [&](uint16_t type, std::string_view v) {
      if (type == RTA_DST) x.to.ip = Ip::from_bytes(v.data(), v.size());
      if (type == RTA_GATEWAY) x.via = Ip::from_bytes(v.data(), v.size());
      if (type == RTA_PREFSRC) x.source = Ip::from_bytes(v.data(), v.size());
      if (type == RTA_OIF) x.index = as<int>(v);
      if (type == RTA_PRIORITY) x.metric = as<uint32_t>(v);
    });
    if (x.table == RT_TABLE_MAIN) out.push_back(std::move(x));
  }, [&] { out.clear(); }));
  return out;
}

void add_veth(Batch& b, const Veth& v) {
  b.begin(RTM_NEWLINK, kCreate, link_header(0, IFF_UP, IFF_UP), "create veth " + v.name);
  b.text(IFLA_IFNAME, v.name);
  mac_attr(b, IFLA_ADDRESS, v.mac);
  if (v.mtu) b.u32(IFLA_MTU, v.mtu);
  b.u32(IFLA_NUM_TX_QUEUES, 1);
  b.u32(IFLA_NUM_RX_QUEUES, 1);
  auto info = b.open(IFLA_LINKINFO);
  b.text(IFLA_INFO_KIND, "veth");
  auto data = b.open(IFLA_INFO_DATA);
  auto peer = b.open(VETH_INFO_PEER);
  auto header = link_header();  // comes up later: the pair is not joined yet when the kernel configures this end
  b.raw(&header, sizeof header);
  b.text(IFLA_IFNAME, v.peer_name);
  mac_attr(b, IFLA_ADDRESS, v.peer_mac);
  if (v.mtu) b.u32(IFLA_MTU, v.mtu);
  b.u32(IFLA_NUM_TX_QUEUES, 1);
  b.u32(IFLA_NUM_RX_QUEUES, 1);
  if (v.peer_netns >= 0) b.u32(IFLA_NET_NS_FD, static_cast<uint32_t>(v.peer_netns));
  b.close(peer);
  b.close(data);
  b.close(info);
}

void add_bridge(Batch& b, const std::string& name, uint32_t mtu) {
  b.begin(RTM_NEWLINK, kCreate, link_header(0, IFF_UP, IFF_UP), "create bridge " + name, {EEXIST});
  b.text(IFLA_IFNAME, name);
  if (mtu) b.u32(IFLA_MTU, mtu);
  auto info = b.open(IFLA_LINKINFO);
  b.text(IFLA_INFO_KIND, "bridge");
  b.close(info);
}

void add_vxlan(Batch& b, const Vxlan& v) {
  b.begin(RTM_NEWLINK, kCreate, link_header(0, IFF_UP, IFF_UP), "create VXLAN device " + v.name);
  b.text(IFLA_IFNAME, v.name);
  mac_attr(b, IFLA_ADDRESS, v.mac);
  if (v.mtu) b.u32(IFLA_MTU, v.mtu);
  auto info = b.open(IFLA_LINKINFO);
  b.text(IFLA_INFO_KIND, "vxlan");
  auto data = b.open(IFLA_INFO_DATA);
  b.u32(IFLA_VXLAN_ID, v.vni);
  b.attr(v.local.is_v6() ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL, v.local.data(), v.local.size());
  if (v.underlay) b.u32(IFLA_VXLAN_LINK, static_cast<uint32_t>(v.underlay));
  b.be16(IFLA_VXLAN_PORT, v.port);
  b.u8(IFLA_VXLAN_LEARNING, 0);
  b.close(data);
  b.close(info);
}

void set_up(Batch& b, int index) { b.begin(RTM_NEWLINK, 0, link_header(index, IFF_UP, IFF_UP), fmt::format("bring link {} up", index)); }

void set_mtu(Batch& b, int index, uint32_t mtu) {
  b.begin(RTM_NEWLINK, 0, link_header(index), fmt::format("set the MTU of link {}", index));
  b.u32(IFLA_MTU, mtu);
}

void set_host_end(Batch& b, int index, const std::string& alias) {
  // EAFNOSUPPORT and the like: a kernel without IPv6 has no link-local addresses either.
  b.begin(RTM_SETLINK, 0, link_header(index), fmt::format("configure link {}", index), {EAFNOSUPPORT, EOPNOTSUPP, EINVAL});
  if (!alias.empty()) b.text(IFLA_IFALIAS, alias.substr(0, 250));
  auto spec = b.open(IFLA_AF_SPEC);
  auto inet6 = b.open(AF_INET6);
  b.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  b.close(inet6);
  b.close(spec);
  b.begin(RTM_SETLINK, 0, link_header(index), fmt::format("configure link {}", index));
  spec = b.open(IFLA_AF_SPEC);
  auto inet = b.open(AF_INET);
  auto conf = b.open(IFLA_INET_CONF);
  b.u32(IPV4_DEVCONF_ROUTE_LOCALNET, 1);
  b.close(conf);
  b.close(inet);
  b.close(spec);
}

void delete_link(Batch& b, int index) {
  b.begin(RTM_DELLINK, 0, link_header(index), fmt::format("delete link {}", index), {ENODEV});
}
void delete_link(Batch& b, const std::string& name) {
  b.begin(RTM_DELLINK, 0, link_header(), "delete link " + name, {ENODEV});
  b.text(IFLA_IFNAME, name);
}
void set_group(Batch& b, const std::string& name, uint32_t group) {
  b.begin(RTM_SETLINK, 0, link_header(), "set the group of link " + name, {ENODEV});
  b.text(IFLA_IFNAME, name);
  b.u32(IFLA_GROUP, group);
}
void delete_group(Batch& b, uint32_t group) {
  b.begin(RTM_DELLINK, 0, link_header(), "delete links", {ENODEV});
  b.u32(IFLA_GROUP, group);
}

namespace {
void address_request(Batch& b, uint16_t type, uint16_t flags, int index, const Ip& ip, int bits, bool host_scope, std::string label,
                     std::vector<int> ok) {
  ifaddrmsg m{};
  m.ifa_family = family(ip);
  m.ifa_prefixlen = static_cast<uint8_t>(bits);
  m.ifa_scope = host_scope ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
  m.ifa_index = static_cast<uint32_t>(index);
  b.begin(type, flags, m, std::move(label), std::move(ok));
  ip_attr(b, IFA_LOCAL, ip);
  ip_attr(b, IFA_ADDRESS, ip);
  if (type == RTM_NEWADDR) b.u32(IFA_FLAGS, IFA_F_NODAD | IFA_F_PERMANENT | IFA_F_NOPREFIXROUTE);
}
}  // namespace

void add_address(Batch& b, int index, const Ip& ip, int bits, bool host_scope) {
  address_request(b, RTM_NEWADDR, kReplace, index, ip, bits, host_scope, fmt::format("add address {}/{}", ip.str(), bits), {EEXIST});
}
void delete_address(Batch& b, int index, const Ip& ip, int bits) {
  address_request(b, RTM_DELADDR, 0, index, ip, bits, false, fmt::format("delete address {}/{}", ip.str(), bits), {EADDRNOTAVAIL});
}

namespace {
void route_request(Batch& b, uint16_t type, uint16_t flags, const Route& r, bool onlink, std::string label, std::vector<int> ok) {
  rtmsg m{};
  m.rtm_family = family(r.to.ip);
  m.rtm_dst_len = static_cast<uint8_t>(r.to.bits);
  m.rtm_table = r.table;
  m.rtm_type = r.type;
  if (type == RTM_NEWROUTE) {
    m.rtm_protocol = RTPROT_STATIC;
    m.rtm_scope = r.via.none() && r.index ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    if (onlink) m.rtm_flags = RTNH_F_ONLINK;
  } else {
    m.rtm_scope = RT_SCOPE_NOWHERE;
  }
  b.begin(type, flags, m, std::move(label), std::move(ok));
  if (r.to.bits > 0) ip_attr(b, RTA_DST, r.to.ip);
  if (!r.via.none()) ip_attr(b, RTA_GATEWAY, r.via);
  if (!r.source.none()) ip_attr(b, RTA_PREFSRC, r.source);
  if (r.index) b.u32(RTA_OIF, static_cast<uint32_t>(r.index));
  if (r.metric) b.u32(RTA_PRIORITY, r.metric);
}
}  // namespace

void add_route(Batch& b, const Route& r, bool onlink) {
  route_request(b, RTM_NEWROUTE, kReplace, r, onlink, "add route " + r.to.str(), {});
}
void delete_route(Batch& b, const Route& r) { route_request(b, RTM_DELROUTE, 0, r, false, "delete route " + r.to.str(), {ESRCH, ENODEV}); }

void add_neighbour(Batch& b, int index, const Ip& ip, const Mac& mac) {
  ndmsg m{};
  m.ndm_family = family(ip);
  m.ndm_ifindex = index;
  m.ndm_state = NUD_PERMANENT;
  b.begin(RTM_NEWNEIGH, kReplace, m, "add neighbour " + ip.str());
  ip_attr(b, NDA_DST, ip);
  b.attr(NDA_LLADDR, mac.data(), mac.size());
}
void delete_neighbour(Batch& b, int index, const Ip& ip) {
  ndmsg m{};
  m.ndm_family = family(ip);
  m.ndm_ifindex = index;
  b.begin(RTM_DELNEIGH, 0, m, "delete neighbour " + ip.str(), {ENOENT, ENODEV});
  ip_attr(b, NDA_DST, ip);
}

namespace {
void forwarding_request(Batch& b, uint16_t type, uint16_t flags, int index, const Mac& mac, const Ip& underlay, std::string label,
                        std::vector<int> ok) {
  ndmsg m{};
  m.ndm_family = AF_BRIDGE;
  m.ndm_ifindex = index;
  m.ndm_state = NUD_NOARP | NUD_PERMANENT;
  m.ndm_flags = NTF_SELF;
  b.begin(type, flags, m, std::move(label), std::move(ok));
  b.attr(NDA_LLADDR, mac.data(), mac.size());
  ip_attr(b, NDA_DST, underlay);
}
}  // namespace

void add_forwarding(Batch& b, int index, const Mac& mac, const Ip& underlay) {
  forwarding_request(b, RTM_NEWNEIGH, kReplace, index, mac, underlay, "add forwarding entry for " + underlay.str(), {});
}
void delete_forwarding(Batch& b, int index, const Mac& mac, const Ip& underlay) {
  forwarding_request(b, RTM_DELNEIGH, 0, index, mac, underlay, "delete forwarding entry for " + underlay.str(), {ENOENT, ENODEV});
}

base::Result<LinkCounters> counters(netlink::Socket& socket, const std::string& name) {
  Batch b;
  b.begin(RTM_GETLINK, 0, link_header(), "read the counters of " + name);
  b.text(IFLA_IFNAME, name);
  LinkCounters c;
  CHECK_OK(socket.dump(b, [&](const nlmsghdr& h, std::string_view body) {
    if (h.nlmsg_type != RTM_NEWLINK || body.size() < sizeof(ifinfomsg)) return;
    netlink::each_attribute(body.data() + sizeof(ifinfomsg), body.size() - sizeof(ifinfomsg), [&](uint16_t type, std::string_view v) {
      if (type != IFLA_STATS64) return;
      auto s = as<rtnl_link_stats64>(v);
      c = {s.rx_bytes, s.rx_packets, s.rx_errors, s.rx_dropped, s.tx_bytes, s.tx_packets, s.tx_errors, s.tx_dropped};
    });
  }));
  return c;
}

base::Result<std::vector<Forwarding>> forwarding(netlink::Socket& socket, int index) {
  Batch b;
  ndmsg m{};
  m.ndm_family = AF_BRIDGE;
  m.ndm_ifindex = index;
  b.begin(RTM_GETNEIGH, NLM_F_DUMP, m, "list forwarding entries");
  std::vector<Forwarding> out;
  CHECK_OK(socket.dump(b, [&](const nlmsghdr& h, std::string_view body) {
    if (h.nlmsg_type != RTM_NEWNEIGH || body.size() < sizeof m || as<ndmsg>(body).ndm_ifindex != index) return;
    Forwarding f;
    netlink::each_attribute(body.data() + sizeof m, body.size() - sizeof m, [&](uint16_t type, std::string_view v) {
      if (type == NDA_LLADDR && v.size() == 6) std::memcpy(f.mac.data(), v.data(), 6);
      if (type == NDA_DST) f.ip = Ip::from_bytes(v.data(), v.size());
    });
    if (!f.ip.none()) out.push_back(f);
  }, [&] { out.clear(); }));
  return out;
}

}  // namespace network::links
