#include "network/pods.h"

#include <dirent.h>
#include <netinet/in.h>
#include <unistd.h>

#include <linux/netlink.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>
#include <unordered_set>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/files.h"
#include "base/log.h"
#include "network/conntrack.h"
#include "network/links.h"
#include "network/parts.h"
#include "network/reaper.h"
#include "network/sysctl.h"

namespace network {
namespace {

using netlink::Batch;
using netlink::Socket;
using nft::Key;

std::string link_name(const std::string& id) { return std::string(kLinkPrefix) + base::sha256_hex(id).substr(0, 11); }

// Locally administered, unique by address: 0a:58 and the four bytes of it.
Mac mac_of(const Ip& ip) { return {0x0a, 0x58, ip.data()[0], ip.data()[1], ip.data()[2], ip.data()[3]}; }

std::string to_text(const PodNetwork& p) {
  std::string s = fmt::format("id {}\nip {}\nlink {}\n", p.id, p.ip.str(), p.host_link);
  for (auto& h : p.host_ports)
    s += fmt::format("port {} {} {} {}\n", protocol_str(h.protocol), h.host_port, h.container_port,
                     h.host_ip.none() ? "*" : h.host_ip.str());
  return s;
}

base::Result<PodNetwork> from_text(const std::string& text) {
  PodNetwork p;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, a;
    words >> key >> a;
    if (key == "id") p.id = a;
    if (key == "link") p.host_link = a;
    if (key == "ip") {
      TRY(p.ip, Ip::parse(a));
    }
    if (key == "port") {
      HostPort h;
      std::string at;
      TRY(h.protocol, parse_protocol(a));
      words >> h.host_port >> h.container_port >> at;
      if (at != "*") {
        TRY(h.host_ip, Ip::parse(at));
      }
      p.host_ports.push_back(h);
    }
  }
  if (p.id.empty() || p.ip.none() || p.host_link.empty()) return base::bad_request("incomplete state file");
  return p;
}

class PodsImpl final : public Pods {
 public:
  PodsImpl(PodsOptions options, Firewall& firewall, Socket socket)
      : options_(std::move(options)), firewall_(firewall), socket_(std::move(socket)) {
    gateway_ = options_.pod_cidr.at(1);
    capacity_ = options_.pod_cidr.bits >= 31 ? 0 : (1u << (32 - options_.pod_cidr.bits));
    part_ = firewall_.add_part({{"hostports", "hostports_at", "hostport_hairpin"}, {}, [this](nft::Transaction& t) {
                                  for (auto& [id, pod] : host_port_pods_) elements(t, pod, true);
                                }});
  }

  base::Result<> recover();
  base::Result<PodNetwork> attach(int netns, const PodRequest& request) override;
  base::Result<> detach(const std::string& id) override;
  std::vector<PodNetwork> list() const override;
  base::Result<> collect(const std::vector<std::string>& keep) override;
  Ip gateway() const override { return gateway_; }

 private:
  base::Result<Ip> allocate(const PodRequest& request);
  base::Result<> check_ports(const PodRequest& request);
  base::Result<> connect(int netns, const PodNetwork& pod);
  base::Result<bool> connected(int netns, const PodNetwork& pod);
  base::Result<> publish_ports(const PodNetwork& pod, bool add);
  static void elements(nft::Transaction& t, const PodNetwork& pod, bool add);
  std::string state_file(const PodNetwork& pod) const { return options_.state_dir + "/" + pod.host_link; }

  const PodsOptions options_;
  Firewall& firewall_;
  Ip gateway_;
  uint32_t capacity_ = 0;
  int part_ = 0;

  mutable std::mutex mutex_;  // all below; taken before the firewall's
  Socket socket_;
  std::map<std::string, PodNetwork> pods_;
  std::set<Ip> used_;
  uint32_t cursor_ = 1;
  Reaper reaper_;

  std::map<std::string, PodNetwork> host_port_pods_;  // under the firewall's mutex
};

base::Result<Ip> PodsImpl::allocate(const PodRequest& request) {
  if (request.ip && options_.pod_cidr.contains(*request.ip) && !used_.contains(*request.ip)) {
    uint32_t n = request.ip->host_order() - options_.pod_cidr.ip.host_order();
    if (n >= 2 && n + 1 < capacity_) return *request.ip;
  }
  // Next fit: an address comes back as late as possible, so that nobody talks to a newcomer by mistake.
  for (uint32_t tries = 0; tries < capacity_; ++tries) {
    cursor_ = cursor_ + 1 < capacity_ - 1 ? cursor_ + 1 : 2;
    Ip ip = options_.pod_cidr.at(cursor_);
    if (!used_.contains(ip)) return ip;
  }
  return base::unavailable(fmt::format("no free pod address in {}: {} are in use", options_.pod_cidr.str(), used_.size()));
}

base::Result<> PodsImpl::check_ports(const PodRequest& request) {
  for (auto& want : request.host_ports)
    for (auto& [id, pod] : pods_) {
      if (id == request.id) continue;
      for (auto& have : pod.host_ports)
        if (have.protocol == want.protocol && have.host_port == want.host_port &&
            (have.host_ip.none() || want.host_ip.none() || have.host_ip == want.host_ip))
          return base::fail(409, "Conflict",
                            fmt::format("host port {}/{} is taken by pod {}", want.host_port, protocol_str(want.protocol), id));
    }
  return {};
}

// True when the namespace already holds this pod's address.
base::Result<bool> PodsImpl::connected(int netns, const PodNetwork& pod) {
  TRY(auto link, links::find(socket_, pod.host_link));
  if (!link) return false;
  TRY(auto inside, Socket::open_in(netns, NETLINK_ROUTE));
  TRY(auto addresses, links::addresses(inside));
  return std::ranges::any_of(addresses, [&](auto& a) { return a.ip == pod.ip; });
}

base::Result<> PodsImpl::connect(int netns, const PodNetwork& pod) {
  links::Veth veth{.name = pod.host_link, .mac = mac_of(gateway_), .peer_mac = pod.mac, .peer_netns = netns, .mtu = pod.mtu};
  Batch create;
  links::add_veth(create, veth);
  std::vector<int> errors;
  auto made = socket_.run(create, &errors);
  if (!made && errors[0] == EEXIST) {
    // A leftover of an earlier life of this pod; its namespace may still be on its way out.
    Batch again;
    links::delete_link(again, pod.host_link);
    links::add_veth(again, veth);
    made = socket_.run(again);
  }
  CHECK_OK(made);
  TRY(auto link, links::find(socket_, pod.host_link));
  if (!link) return base::internal("the veth vanished right after its creation");

  // A pod has no business with the host's IPv6: a router advertisement from it would change the host's routes.
  if (auto r = set_sysctl("net/ipv6/conf/" + pod.host_link + "/disable_ipv6", "1"); !r && base::exists("/proc/sys/net/ipv6")) {
    base::log::warn("network", "{}", r.error().message);
  }
  Batch host;
  links::set_host_end(host, link->index, pod.id);
  links::add_neighbour(host, link->index, pod.ip, pod.mac);
  links::add_route(host, {.to = Cidr{pod.ip, 32}, .source = gateway_, .index = link->index});
  CHECK_OK(socket_.run(host));

  TRY(auto inside, Socket::open_in(netns, NETLINK_ROUTE));
  TRY(auto eth0, links::find(inside, "eth0"));
  if (!eth0) return base::internal("the pod's end of the veth is not in its namespace");
  Batch pod_end;
  links::set_up(pod_end, 1);  // lo
  links::set_up(pod_end, eth0->index);
  links::add_address(pod_end, eth0->index, pod.ip, 32);
  links::add_neighbour(pod_end, eth0->index, gateway_, mac_of(gateway_));
  links::add_route(pod_end, {.to = Cidr{gateway_, 32}, .source = pod.ip, .index = eth0->index});
  links::add_route(pod_end, {.to = Cidr{Ip::v4(0), 0}, .via = gateway_, .source = pod.ip, .index = eth0->index});
  CHECK_OK(inside.run(pod_end));
  // The host's end came up while its peer was down. It sends nothing until the kernel has noticed the carrier, which it does in its own
  // time; the first packets to the pod would be lost. Since 6.8 it looks when asked for the link; before, it takes a moment.
  for (int i = 0; i < 100; ++i) {
    TRY(link, links::find(socket_, pod.host_link));
    if (!link || link->operational) break;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return {};
}

void PodsImpl::elements(nft::Transaction& t, const PodNetwork& pod, bool add) {
  for (auto& h : pod.host_ports) {
    Key key;
    const char* set = h.host_ip.none() ? "hostports" : "hostports_at";
    if (!h.host_ip.none()) key.address(h.host_ip);
    key.protocol(h.protocol).port(h.host_port);
    if (add)
      t.add_element(set, key, Key().address(pod.ip).port(h.container_port));
    else
      t.delete_element(set, key);
  }
  Key pair = Key().address(pod.ip).address(pod.ip);
  if (add)
    t.add_element("hostport_hairpin", pair);
  else
    t.delete_element("hostport_hairpin", pair);
}

base::Result<> PodsImpl::publish_ports(const PodNetwork& pod, bool add) {
  if (pod.host_ports.empty()) return {};
  std::scoped_lock lock(firewall_.mutex());
  if (add == host_port_pods_.contains(pod.id)) return {};
  if (add)
    host_port_pods_[pod.id] = pod;
  else
    host_port_pods_.erase(pod.id);
  auto t = firewall_.transaction();
  elements(t, pod, add);
  CHECK_OK(firewall_.commit(part_, t));
  std::vector<StaleFlow> stale;
  for (auto& h : pod.host_ports)
    if (h.protocol == Protocol::udp)
      stale.push_back(add ? StaleFlow{Protocol::udp, h.host_ip, h.host_port, {}, 0}
                          : StaleFlow{Protocol::udp, h.host_ip, h.host_port, pod.ip, h.container_port});
  if (auto r = delete_flows(stale); !r) base::log::warn("network", "stale UDP flows of host ports: {}", r.error().message);
  return {};
}

base::Result<PodNetwork> PodsImpl::attach(int netns, const PodRequest& request) {
  if (request.id.empty() || request.id.find_first_of(" \n\0") != std::string::npos)
    return base::bad_request("a pod needs an id without spaces");
  std::scoped_lock lock(mutex_);
  CHECK_OK(check_ports(request));
  PodNetwork pod;
  if (auto it = pods_.find(request.id); it != pods_.end()) {
    pod = it->second;
    TRY(bool there, connected(netns, pod));
    if (there) return pod;
    // The sandbox was made anew: same address, new link.
    CHECK_OK(publish_ports(pod, false));
    Batch b;
    links::delete_link(b, pod.host_link);
    CHECK_OK(socket_.run(b));
  } else {
    TRY(pod.ip, allocate(request));
  }
  pod.id = request.id;
  pod.mac = mac_of(pod.ip);
  pod.gateway = gateway_;
  pod.host_link = link_name(request.id);
  pod.mtu = options_.mtu;
  pod.host_ports = request.host_ports;
  used_.insert(pod.ip);

  reaper_.spare(pod.host_link);
  auto r = connect(netns, pod);
  if (r) r = publish_ports(pod, true);
  if (r && !options_.state_dir.empty()) r = base::write_file_atomic(state_file(pod), to_text(pod), 0600, false);
  if (!r) {
    (void)publish_ports(pod, false);
    Batch b;
    links::delete_link(b, pod.host_link);
    (void)socket_.run(b);
    used_.erase(pod.ip);
    pods_.erase(pod.id);
    auto e = r.error();
    e.message = fmt::format("cannot connect pod {} to the network: {}", request.id, e.message);
    return std::unexpected(std::move(e));
  }
  pods_[pod.id] = pod;
  return pod;
}

base::Result<> PodsImpl::detach(const std::string& id) {
  std::scoped_lock lock(mutex_);
  auto it = pods_.find(id);
  if (it == pods_.end()) return {};
  PodNetwork pod = it->second;
  CHECK_OK(publish_ports(pod, false));
  if (!options_.state_dir.empty()) unlink(state_file(pod).c_str());
  pods_.erase(it);
  used_.erase(pod.ip);
  reaper_.remove(pod.host_link);
  return {};
}

std::vector<PodNetwork> PodsImpl::list() const {
  std::scoped_lock lock(mutex_);
  std::vector<PodNetwork> out;
  for (auto& [id, pod] : pods_) out.push_back(pod);
  return out;
}

base::Result<> PodsImpl::collect(const std::vector<std::string>& keep) {
  std::unordered_set<std::string> kept(keep.begin(), keep.end());
  base::Result<> result;
  for (auto& pod : list())
    if (!kept.contains(pod.id))
      if (auto r = detach(pod.id); !r) result = r;
  return result;
}

base::Result<> PodsImpl::recover() {
  if (!options_.state_dir.empty()) CHECK_OK(base::make_dirs(options_.state_dir));
  std::map<std::string, PodNetwork> known;  // by link
  if (DIR* d = options_.state_dir.empty() ? nullptr : opendir(options_.state_dir.c_str())) {
    while (dirent* e = readdir(d)) {
      std::string name = e->d_name;
      if (!name.starts_with(kLinkPrefix)) continue;
      auto text = base::read_file(options_.state_dir + "/" + name, 64 << 10);
      auto pod = text ? from_text(*text) : base::Result<PodNetwork>(std::unexpected(text.error()));
      if (pod && pod->host_link == name)
        known[name] = *pod;
      else
        unlink((options_.state_dir + "/" + name).c_str());
    }
    closedir(d);
  }
  TRY(auto all, links::list(socket_));
  TRY(auto routes, links::routes(socket_));
  for (auto& link : all) {
    if (link.kind != "veth" || !link.name.starts_with(kLinkPrefix)) continue;
    PodNetwork pod;
    if (auto it = known.find(link.name); it != known.end()) {
      pod = it->second;
    } else {
      // The state is gone (another run directory): the route says the address, the alias whose it is.
      pod.id = link.alias;
      pod.host_link = link.name;
      for (auto& r : routes)
        if (r.index == link.index && r.to.bits == 32) pod.ip = r.to.ip;
    }
    if (pod.id.empty() || pod.ip.none() || !options_.pod_cidr.contains(pod.ip) || link.name != link_name(pod.id)) {
      reaper_.remove(link.name);
      continue;
    }
    pod.mac = mac_of(pod.ip);
    pod.gateway = gateway_;
    pod.mtu = link.mtu;
    used_.insert(pod.ip);
    cursor_ = std::max(cursor_, pod.ip.host_order() - options_.pod_cidr.ip.host_order());
    if (!pod.host_ports.empty()) host_port_pods_[pod.id] = pod;
    pods_[pod.id] = std::move(pod);
    known.erase(link.name);
  }
  for (auto& [name, pod] : known) unlink((options_.state_dir + "/" + name).c_str());
  return {};
}

}  // namespace

base::Result<std::unique_ptr<Pods>> make_pods(PodsOptions options, Firewall& firewall) {
  if (!options.pod_cidr.ip.is_v4() || options.pod_cidr.bits > 29)
    return base::bad_request("the pod prefix must be IPv4 and /29 or larger: " + options.pod_cidr.str());
  TRY(auto socket, Socket::open(NETLINK_ROUTE));
  auto pods = std::make_unique<PodsImpl>(std::move(options), firewall, std::move(socket));
  CHECK_OK(pods->recover());
  return pods;
}

base::Result<> loopback_up(int netns) {
  TRY(auto socket, Socket::open_in(netns, NETLINK_ROUTE));
  Batch b;
  links::set_up(b, 1);
  return socket.run(b);
}

}  // namespace network
