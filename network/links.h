// Links, addresses, routes and neighbours as rtnetlink requests (rtnetlink(7)).
//
// The functions append one request to a batch; nothing happens before Socket::run(). Indexes are interface indexes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "network/address.h"
#include "network/netlink.h"
#include "network/pods.h"

namespace network::links {

struct Link {
  int index = 0;
  std::string name;
  std::string kind;   // "veth", "vxlan", "bridge", empty
  std::string alias;
  Mac mac{};
  uint32_t mtu = 0;
  bool up = false;
  bool operational = false;  // up, with a carrier the kernel has taken notice of
  // vxlan
  uint32_t vni = 0;
  Ip local;
  uint16_t port = 0;
  int underlay = 0;
};

base::Result<std::optional<Link>> find(netlink::Socket& socket, const std::string& name);
base::Result<std::vector<Link>> list(netlink::Socket& socket);

struct Address {
  int index = 0;
  Ip ip;
  int bits = 0;
  uint8_t scope = 0;
  uint32_t flags = 0;
  std::string label;
};
base::Result<std::vector<Address>> addresses(netlink::Socket& socket);

struct Route {
  Cidr to;
  Ip via;
  Ip source;
  int index = 0;
  uint8_t table = 254;
  uint8_t type = 1;   // unicast
  uint32_t metric = 0;
};
// Of the main table.
base::Result<std::vector<Route>> routes(netlink::Socket& socket);

struct Veth {
  std::string name;
  Mac mac{};
  std::string peer_name = "eth0";
  Mac peer_mac{};
  int peer_netns = -1;   // descriptor of a network namespace
  uint32_t mtu = 0;
};
void add_veth(netlink::Batch& b, const Veth& veth);
void add_bridge(netlink::Batch& b, const std::string& name, uint32_t mtu);
struct Vxlan {
  std::string name;
  Mac mac{};
  uint32_t vni = 1;
  uint16_t port = 8472;
  Ip local;
  int underlay = 0;
  uint32_t mtu = 0;
};
void add_vxlan(netlink::Batch& b, const Vxlan& vxlan);
void set_up(netlink::Batch& b, int index);
void set_mtu(netlink::Batch& b, int index, uint32_t mtu);
// For a host end: alias for people, no IPv6 link-local address (nothing reaches the node by one), and the node's own 127.0.0.1 may be
// translated to what is behind it (node ports on localhost).
void set_host_end(netlink::Batch& b, int index, const std::string& alias);
void delete_link(netlink::Batch& b, int index);          // absent is success
void delete_link(netlink::Batch& b, const std::string& name);
// Links of a group can be deleted together, for the cost of one.
void set_group(netlink::Batch& b, const std::string& name, uint32_t group);  // absent is success
void delete_group(netlink::Batch& b, uint32_t group);

void add_address(netlink::Batch& b, int index, const Ip& ip, int bits, bool host_scope = false);
void delete_address(netlink::Batch& b, int index, const Ip& ip, int bits);
void add_route(netlink::Batch& b, const Route& route, bool onlink = false);  // replaces
void delete_route(netlink::Batch& b, const Route& route);                    // absent is success
void add_neighbour(netlink::Batch& b, int index, const Ip& ip, const Mac& mac);  // permanent; replaces
void delete_neighbour(netlink::Batch& b, int index, const Ip& ip);
void add_forwarding(netlink::Batch& b, int index, const Mac& mac, const Ip& underlay);  // VXLAN FDB
void delete_forwarding(netlink::Batch& b, int index, const Mac& mac, const Ip& underlay);
base::Result<LinkCounters> counters(netlink::Socket& socket, const std::string& name);

struct Forwarding {
  Mac mac{};
  Ip ip;
};
base::Result<std::vector<Forwarding>> forwarding(netlink::Socket& socket, int index);

}  // namespace network::links
