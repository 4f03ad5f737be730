// What the host has: addresses, counters, kernel features; and who tells when they change.
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include <fmt/format.h>

#include "base/files.h"
#include "base/log.h"
#include "network/firewall.h"
#include "network/links.h"
#include "network/node.h"

namespace network {

base::Result<std::vector<HostAddress>> host_addresses() {
  TRY(auto socket, netlink::Socket::open(NETLINK_ROUTE));
  TRY(auto all, links::list(socket));
  TRY(auto addresses, links::addresses(socket));
  TRY(auto routes, links::routes(socket));
  int default_link = 0;
  uint32_t best = UINT32_MAX;
  for (auto& r : routes)
    if (r.to.bits == 0 && r.index && (default_link == 0 || r.metric < best)) {
      default_link = r.index;
      best = r.metric;
    }
  std::vector<HostAddress> preferred, others;
  for (auto& a : addresses) {
    auto link = std::ranges::find(all, a.index, &links::Link::index);
    if (link == all.end() || !link->up || link->name.starts_with(kLinkPrefix) || a.ip.is_loopback()) continue;
    if (a.scope != RT_SCOPE_UNIVERSE || (a.flags & (IFA_F_TENTATIVE | IFA_F_DEPRECATED | IFA_F_TEMPORARY))) continue;
    auto& list = a.index == default_link ? preferred : others;
    HostAddress h{a.ip, link->name, link->mtu};
    // IPv4 before IPv6, secondary addresses last.
    if (a.ip.is_v4() && !(a.flags & IFA_F_SECONDARY))
      list.insert(std::ranges::find_if(list, [](auto& x) { return !x.ip.is_v4(); }), h);
    else
      list.push_back(h);
  }
  preferred.insert(preferred.end(), others.begin(), others.end());
  return preferred;
}

void drop_connections_from(const Ip& address) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    int fd = std::atoi(entry.path().filename().c_str());
    sockaddr_in local{};
    socklen_t size = sizeof local;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) != 0 || local.sin_family != AF_INET) continue;
    int type = 0;
    socklen_t length = sizeof type;
    bool stream = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
    if (stream && ntohl(local.sin_addr.s_addr) == address.host_order()) shutdown(fd, SHUT_RDWR);
  }
}

base::Result<LinkCounters> link_counters(const std::string& link) {
  // By netlink and not from /sys, which shows the namespace it was mounted in.
  TRY(auto socket, netlink::Socket::open(NETLINK_ROUTE));
  TRY(auto c, links::counters(socket, link));
  return c;
}

base::Result<LinkCounters> pod_counters(const std::string& host_link) {
  TRY(auto c, link_counters(host_link));
  std::swap(c.rx_bytes, c.tx_bytes);
  std::swap(c.rx_packets, c.tx_packets);
  std::swap(c.rx_errors, c.tx_errors);
  std::swap(c.rx_dropped, c.tx_dropped);
  return c;
}

struct AddressMonitor::Impl {
  base::Fd socket, wake;
  std::function<void()> changed;
  std::thread thread;

  void run() {
    char buffer[16384];
    pollfd fds[2] = {{socket.get(), POLLIN, 0}, {wake.get(), POLLIN, 0}};
    for (;;) {
      if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
      if (fds[1].revents) return;
      if (!fds[0].revents) continue;
      // An interface that comes up makes a burst: wait for its end.
      pollfd stop{wake.get(), POLLIN, 0};
      if (poll(&stop, 1, 200) > 0) return;
      bool relevant = false;
      for (ssize_t n; (n = recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT)) != 0;) {
        if (n < 0) {
          if (errno == ENOBUFS) relevant = true;  // some were lost: look
          if (errno == ENOBUFS || errno == EINTR) continue;
          break;
        }
        relevant = relevant || concerns(buffer, static_cast<size_t>(n));
      }
      if (relevant) changed();
    }
  }

  // Pods come and go all the time; their links have no addresses here, but their routes do appear.
  static bool concerns(const char* p, size_t size) {
    while (size >= sizeof(nlmsghdr)) {
      nlmsghdr h;
      std::memcpy(&h, p, sizeof h);
      if (h.nlmsg_len < sizeof h || h.nlmsg_len > size) return false;
      if (h.nlmsg_type == RTM_NEWADDR || h.nlmsg_type == RTM_DELADDR) return true;
      if ((h.nlmsg_type == RTM_NEWROUTE || h.nlmsg_type == RTM_DELROUTE) && h.nlmsg_len >= sizeof h + sizeof(rtmsg)) {
        rtmsg r;
        std::memcpy(&r, p + sizeof h, sizeof r);
        if (r.rtm_dst_len == 0 && r.rtm_table == RT_TABLE_MAIN) return true;
      }
      size_t step = std::min<size_t>((h.nlmsg_len + 3) & ~3u, size);
      p += step;
      size -= step;
    }
    return false;
  }
};

AddressMonitor::AddressMonitor(std::function<void()> changed) : impl_(std::make_unique<Impl>()) {
  impl_->changed = std::move(changed);
  impl_->socket = base::Fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  impl_->wake = base::Fd(eventfd(0, EFD_CLOEXEC));
  sockaddr_nl local{};
  local.nl_family = AF_NETLINK;
  local.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE;
  if (!impl_->socket || bind(impl_->socket.get(), reinterpret_cast<sockaddr*>(&local), sizeof local) != 0) {
    base::log::warn("network", "address changes are not noticed: {}", std::strerror(errno));
    return;
  }
  impl_->thread = std::thread([i = impl_.get()] {
    pthread_setname_np(pthread_self(), "net-addresses");
    i->run();
  });
}

AddressMonitor::~AddressMonitor() {
  uint64_t one = 1;
  if (impl_->wake && write(impl_->wake.get(), &one, sizeof one) < 0) return;
  if (impl_->thread.joinable()) impl_->thread.join();
}

std::vector<std::string> missing_features() {
  std::vector<std::string> out;
  if (auto s = netlink::Socket::open(NETLINK_NETFILTER); !s) {
    out.push_back("no nfnetlink: the kernel needs CONFIG_NF_TABLES (" + s.error().message + ")");
    return out;
  }
  if (auto r = probe_table(); !r) out.push_back(r.error().message);
  auto route = netlink::Socket::open(NETLINK_ROUTE);
  if (!route) {
    out.push_back(route.error().message);
    return out;
  }
  auto try_link = [&](const char* what, const std::string& name, auto add) {
    netlink::Batch b;
    add(b);
    auto r = route->run(b);
    netlink::Batch gone;
    links::delete_link(gone, name);
    (void)route->run(gone);
    if (!r && r.error().message.find("exists") == std::string::npos) out.push_back(fmt::format("{}: {}", what, r.error().message));
  };
  try_link("no bridge device (CONFIG_BRIDGE)", "applprobe", [](auto& b) { links::add_bridge(b, "applprobe", 0); });
  try_link("no veth device (CONFIG_VETH)", "applprobe",
           [](auto& b) { links::add_veth(b, {.name = "applprobe", .peer_name = "applprobe2"}); });
  try_link("no VXLAN device (CONFIG_VXLAN)", "applprobe",
           [](auto& b) { links::add_vxlan(b, {.name = "applprobe", .vni = 0xfffffe, .port = 65432, .local = Ip::v4(0x7f000001)}); });
  return out;
}

std::vector<std::string> obstacles(const std::vector<Cidr>& cluster_cidrs) {
  std::vector<std::string> out;
  if (cluster_cidrs.empty()) return out;
  const std::string pods = cluster_cidrs[0].str();
  if (auto chains = dropping_chains(false))
    for (auto& chain : *chains)
      out.push_back(fmt::format(
          "{} drops forwarded packets (Docker, ufw or firewalld?): unless its rules accept {}, pods reach neither each other nor the "
          "outside. Accept it as source and destination, for example: iptables -I FORWARD -s {} -j ACCEPT; iptables -I FORWARD -d {} "
          "-j ACCEPT",
          chain, pods, pods, pods));
  if (auto chains = dropping_chains(true))
    for (auto& chain : *chains)
      out.push_back(fmt::format(
          "{} drops packets to this host (ufw or firewalld?): unless its rules accept {}, pods have no DNS and no API server, and without "
          "UDP port 8472 from the other nodes no way to their pods. For example: ufw allow from {}; ufw allow 8472/udp; ufw allow 6443/tcp",
          chain, pods, pods));
  return out;
}

}  // namespace network
