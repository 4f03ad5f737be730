#include "network/firewall.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/log.h"

namespace network {
namespace {

using nft::concat_type;
using nft::kTypeAddress;
using nft::kTypeMark;
using nft::kTypeProtocol;
using nft::kTypeService;
using nft::Key;
using nft::Rule;
using nft::SetSpec;
using nft::Transaction;

constexpr int kLayout = 4;  // raise with every change of the chains or sets below
constexpr int32_t kPriorityRaw = -300, kPriorityDnat = -105, kPriorityFilter = 0, kPrioritySnat = 95;
constexpr uint32_t kStateInvalid = 1, kStateEstablished = 2, kStateRelated = 4;

void sets(Transaction& t) {
  uint32_t id = 0;
  auto add = [&](SetSpec s) {
    s.id = ++id;
    t.add_set(s);
  };
  constexpr uint32_t frontend = concat_type({kTypeAddress, kTypeProtocol, kTypeService});
  constexpr uint32_t endpoint = concat_type({kTypeAddress, kTypeService});
  add({.name = "nodes", .key_type = kTypeAddress, .key_size = 4});
  add({.name = "dns", .key_type = kTypeAddress, .key_size = 4});
  constexpr uint32_t any = concat_type({kTypeProtocol, kTypeService});
  add({.name = "services", .key_type = frontend, .key_size = 12, .verdicts = true});
  add({.name = "nodeports", .key_type = any, .key_size = 8, .verdicts = true});
  add({.name = "services_inside", .key_type = frontend, .key_size = 12, .verdicts = true});
  add({.name = "nodeports_inside", .key_type = any, .key_size = 8, .verdicts = true});
  add({.name = "closed", .key_type = frontend, .key_size = 12, .verdicts = true});
  add({.name = "closed_nodeports", .key_type = any, .key_size = 8, .verdicts = true});
  add({.name = "endpoints",
       .key_type = concat_type({kTypeAddress, kTypeProtocol, kTypeService, kTypeMark}),
       .key_size = 16,
       .data_type = endpoint,
       .data_size = 8});
  add({.name = "affinity",
       .key_type = concat_type({kTypeAddress, kTypeAddress, kTypeService, kTypeAddress, kTypeService}),
       .key_size = 20,
       .dynamic = true,
       .size = 262'144});
  add({.name = "hairpin", .key_type = concat_type({kTypeAddress, kTypeAddress}), .key_size = 8});
  add({.name = "hostport_hairpin", .key_type = concat_type({kTypeAddress, kTypeAddress}), .key_size = 8});
  add({.name = "hostports", .key_type = concat_type({kTypeProtocol, kTypeService}), .key_size = 8, .data_type = endpoint, .data_size = 8});
  add({.name = "hostports_at", .key_type = frontend, .key_size = 12, .data_type = endpoint, .data_size = 8});
  add({.name = "policy_egress", .key_type = kTypeAddress, .key_size = 4, .verdicts = true});
  add({.name = "policy_ingress", .key_type = kTypeAddress, .key_size = 4, .verdicts = true});
  // Frontends with loadBalancerSourceRanges: frontend . source, by intervals of sources.
  add({.name = "limited", .key_type = frontend, .key_size = 12});
  add({.name = "allowed",
       .key_type = concat_type({kTypeAddress, kTypeProtocol, kTypeService, kTypeAddress}),
       .key_size = 16,
       .intervals = true,
       .fields = {4, 1, 2, 4}});
}

Rule frontend_verdict(const char* map) {
  Rule r;
  r.destination(0).protocol(1).destination_port(2).verdict_map(map, 0);
  return r;
}

Rule nodeport_verdict(const char* map) {
  Rule r;
  r.protocol(0).destination_port(1).verdict_map(map, 0);
  return r;
}

Rule of_new_connections() {
  Rule r;
  r.conntrack(NFT_CT_STATE, 0).bits(0, kStateEstablished | kStateRelated).differs32(0, 0).accept();
  return r;
}

}  // namespace

std::string Firewall::layout_name() const {
  std::string all = fmt::format("{} {} {} {} {}", kLayout, options_.gateway.str(), options_.pod_cidr.str(), options_.overlay_device,
                                options_.overlay_port);
  for (auto& c : options_.cluster_cidrs) all += " c" + c.str();
  for (auto& c : options_.service_cidrs) all += " s" + c.str();
  for (auto& a : options_.dns_addresses) all += " d" + a.str();
  return fmt::format("layout_{:08x}", base::crc32(all));
}

void Firewall::layout(Transaction& t) const {
  const auto& o = options_;
  const std::string prefix(kLinkPrefix);
  const Cidr loopback{Ip::v4(0x7f000000), 8};
  const std::string overlay_port = [&] {
    uint16_t p = htons(o.overlay_port);
    return std::string(reinterpret_cast<char*>(&p), 2);
  }();
  t.add_chain(layout_name());
  sets(t);
  for (auto& ip : o.dns_addresses) t.add_element("dns", Key().address(ip));
  for (const char* chain : {"dispatch", "dispatch_inside", "refuse", "policy"}) t.add_chain(chain);

  // Pods of this node that policies select. Their chains return what is allowed and drop the rest. A pod may always talk to itself; the
  // traffic between it and its own node does not come by here.
  for (const char* set : {"hairpin", "hostport_hairpin"}) t.add_rule("policy", Rule().source(0).destination(1).lookup(set, 0).leave());
  t.add_rule("policy", Rule().source(0).verdict_map("policy_egress", 0));
  t.add_rule("policy", Rule().destination(0).verdict_map("policy_ingress", 0));

  // Before connection tracking: sources, and what need not be tracked.
  t.add_base_chain("raw_prerouting", "filter", NF_INET_PRE_ROUTING, kPriorityRaw);
  t.add_rule("raw_prerouting", Rule()
                                   .meta(NFT_META_IIFNAME, 0)
                                   .equals(0, prefix)
                                   .fib(NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF, NFT_FIB_RESULT_OIF, 0)
                                   .equals32(0, 0)
                                   .drop());
  // The links let translated answers in to 127.0.0.1, which at this point still carry another address; whoever sends to it from outside
  // attacks.
  t.add_rule("raw_prerouting", Rule().meta(NFT_META_IIFNAME, 0).equals(0, prefix).destination(0).in(loopback, 0).drop());
  t.add_base_chain("raw_output", "filter", NF_INET_LOCAL_OUT, kPriorityRaw);
  for (const char* chain : {"raw_prerouting", "raw_output"}) {
    Rule overlay;
    overlay.protocol(0).equals8(0, IPPROTO_UDP).destination_port(0).equals(0, overlay_port);
    if (chain == std::string_view("raw_prerouting")) overlay.meta(NFT_META_IIFNAME, 0).differs(0, prefix);
    t.add_rule(chain, overlay.notrack());
    if (o.dns_addresses.empty()) continue;
    t.add_rule(chain, Rule().destination(0).lookup("dns", 0).destination_port(0).equals_be16(0, 53).notrack());
    t.add_rule(chain, Rule().source(0).lookup("dns", 0).source_port(0).equals_be16(0, 53).notrack());
  }

  // Destination: services, node ports, host ports.
  t.add_rule("dispatch", Rule().destination(0).protocol(1).destination_port(2).lookup("limited", 0)
                             .destination(4).protocol(5).destination_port(6).source(7).lookup("allowed", 4, true).drop());
  t.add_rule("dispatch", frontend_verdict("services"));
  t.add_rule("dispatch", Rule().fib(NFTA_FIB_F_DADDR, NFT_FIB_RESULT_ADDRTYPE, 0).differs32(0, RTN_LOCAL).leave());
  t.add_rule("dispatch", nodeport_verdict("nodeports"));
  t.add_rule("dispatch", Rule().destination(0).protocol(1).destination_port(2).map("hostports_at", 0, 3).dnat(3, 4));
  t.add_rule("dispatch", Rule().protocol(0).destination_port(1).map("hostports", 0, 2).dnat(2, 3));
  // An external address whose traffic stays on this node's endpoints is, for clients inside the cluster, just the service.
  t.add_rule("dispatch_inside", frontend_verdict("services_inside"));
  t.add_rule("dispatch_inside", Rule()
                                    .fib(NFTA_FIB_F_DADDR, NFT_FIB_RESULT_ADDRTYPE, 0)
                                    .equals32(0, RTN_LOCAL)
                                    .protocol(0)
                                    .destination_port(1)
                                    .verdict_map("nodeports_inside", 0));
  t.add_base_chain("nat_prerouting", "nat", NF_INET_PRE_ROUTING, kPriorityDnat);
  for (auto& c : o.cluster_cidrs) t.add_rule("nat_prerouting", Rule().source(0).in(c, 0).jump("dispatch_inside"));
  t.add_rule("nat_prerouting", Rule().jump("dispatch"));
  t.add_base_chain("nat_output", "nat", NF_INET_LOCAL_OUT, kPriorityDnat);
  t.add_rule("nat_output", Rule().jump("dispatch_inside"));
  t.add_rule("nat_output", Rule().jump("dispatch"));

  // Source: whoever answers must answer through us.
  t.add_base_chain("nat_postrouting", "nat", NF_INET_POST_ROUTING, kPrioritySnat);
  auto post = [&](const Rule& r) { t.add_rule("nat_postrouting", r); };
  post(Rule().source(0).destination(1).lookup("hairpin", 0).snat(o.gateway, 2));
  post(Rule().source(0).destination(1).lookup("hostport_hairpin", 0).snat(o.gateway, 2));
  post(Rule().source(0).in(loopback, 0).meta(NFT_META_OIFNAME, 0).equals(0, prefix).snat(o.gateway, 0));
  {
    Rule r;  // into the overlay with a source that is not a pod's: the other node could not send the reply back into it
    r.meta(NFT_META_OIFNAME, 0).equals(0, o.overlay_device + std::string(1, '\0'));
    for (auto& c : o.cluster_cidrs) r.source(0).not_in(c, 0);
    post(r.snat(o.gateway, 0));
  }
  {
    Rule r;  // from a pod to outside the cluster
    r.source(0).in(o.pod_cidr, 0);
    for (auto& c : o.cluster_cidrs) r.destination(0).not_in(c, 0);
    r.destination(0).not_in(Cidr{Ip::v4(0xe0000000), 4}, 0);
    r.meta(NFT_META_OIFNAME, 0).differs(0, prefix);
    post(r.masquerade());
  }
  // Sent on to an endpoint on another host's own address.
  for (bool any_address : {false, true}) {
    Rule r;
    r.conntrack(NFT_CT_STATUS, 0).bits(0, IPS_DST_NAT).differs32(0, 0).meta(NFT_META_OIFNAME, 0).differs(0, prefix);
    if (any_address)
      r.set_register(0, std::string_view("\0\0\0\0", 4));
    else
      r.conntrack(NFT_CT_DST_IP, 0, uint8_t{IP_CT_DIR_ORIGINAL});
    r.protocol(1).conntrack(NFT_CT_PROTO_DST, 2, uint8_t{IP_CT_DIR_ORIGINAL}).set_register(3, std::string_view("\0\0\0\0", 4));
    post(r.map("endpoints", 0, 4).masquerade());  // ours if it has a first endpoint
  }

  t.add_rule("refuse", Rule().protocol(0).equals8(0, IPPROTO_TCP).reset());
  t.add_rule("refuse", Rule().reject());

  const Rule overlay_only = Rule().protocol(0).equals8(0, IPPROTO_UDP).destination_port(0).equals(0, overlay_port);
  t.add_base_chain("filter_input", "filter", NF_INET_LOCAL_IN, kPriorityFilter);
  t.add_rule("filter_input", Rule(overlay_only).meta(NFT_META_IIFNAME, 0).equals(0, prefix).drop());
  t.add_rule("filter_input", Rule(overlay_only).source(0).lookup("nodes", 0, true).drop());
  t.add_rule("filter_input", of_new_connections());
  t.add_rule("filter_input", frontend_verdict("closed"));
  t.add_rule("filter_input", nodeport_verdict("closed_nodeports"));

  t.add_base_chain("filter_forward", "filter", NF_INET_FORWARD, kPriorityFilter);
  t.add_rule("filter_forward", Rule(overlay_only).meta(NFT_META_IIFNAME, 0).equals(0, prefix).destination(0).lookup("nodes", 0).drop());
  // Not of any connection: it would leave untranslated, and its receiver would reset the connection it belonged to.
  t.add_rule("filter_forward",
             Rule().conntrack(NFT_CT_STATE, 0).bits(0, kStateInvalid).differs32(0, 0).meta(NFT_META_IIFNAME, 0).equals(0, prefix).drop());
  t.add_rule("filter_forward", of_new_connections());
  t.add_rule("filter_forward", Rule().jump("policy"));
  t.add_base_chain("filter_output", "filter", NF_INET_LOCAL_OUT, kPriorityFilter);
  t.add_rule("filter_output", of_new_connections());
  if (!o.dns_addresses.empty()) t.add_rule("filter_output", Rule().destination(0).lookup("dns", 0).accept());
  for (const char* chain : {"filter_forward", "filter_output"}) {
    t.add_rule(chain, frontend_verdict("closed"));
    for (auto& c : o.service_cidrs) t.add_rule(chain, Rule().destination(0).in(c, 0).go("refuse"));
  }
}

base::Result<std::unique_ptr<Firewall>> Firewall::open(FirewallOptions options) {
  std::unique_ptr<Firewall> f(new Firewall(std::move(options)));
  TRY(auto socket, netlink::Socket::open(NETLINK_NETFILTER));
  f->socket_ = std::move(socket);
  return f;
}

int Firewall::add_part(Part part) {
  std::scoped_lock lock(mutex_);
  parts_.push_back(std::move(part));
  adopted_.push_back(false);
  return static_cast<int>(parts_.size()) - 1;
}

Transaction Firewall::transaction() const { return Transaction(NFPROTO_IPV4, std::string(kTable)); }

base::Result<> Firewall::commit(int part, Transaction& difference) {
  std::scoped_lock lock(mutex_);
  base::Result<> r;
  if (adopted_[static_cast<size_t>(part)]) {
    r = rewrite(static_cast<size_t>(part));
  } else {
    if (difference.empty()) return {};
    const auto& batch = difference.finish();
    r = socket_->transact(batch, difference.last());
  }
  if (r) return r;
  base::log::warn("network", "writing the nftables table anew: {}", r.error().message);
  return replace();
}

// Names of the table's chains or sets.
base::Result<std::vector<std::string>> Firewall::names(bool sets) {
  struct {
    uint8_t family, version;
    uint16_t resource;
  } header{NFPROTO_IPV4, NFNETLINK_V0, 0};
  netlink::Batch b;
  const uint16_t table_attribute = sets ? uint16_t{NFTA_SET_TABLE} : uint16_t{NFTA_CHAIN_TABLE};
  const uint16_t name_attribute = sets ? uint16_t{NFTA_SET_NAME} : uint16_t{NFTA_CHAIN_NAME};
  b.begin(static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | (sets ? NFT_MSG_GETSET : NFT_MSG_GETCHAIN)), NLM_F_DUMP, header,
          "list table appliance");
  b.text(table_attribute, kTable);
  std::vector<std::string> out;
  CHECK_OK(socket_->dump(b, [&](const nlmsghdr&, std::string_view body) {
    if (body.size() < sizeof header) return;
    std::string table, name;
    netlink::each_attribute(body.data() + sizeof header, body.size() - sizeof header, [&](uint16_t type, std::string_view v) {
      std::string text(v.data(), strnlen(v.data(), v.size()));
      if (type == table_attribute) table = text;
      if (type == name_attribute) name = text;
    });
    if (table == kTable) out.push_back(name);
  }));
  return out;
}

base::Result<> Firewall::rewrite(size_t part) {
  const Part& p = parts_[part];
  TRY(auto chains, names(false));
  TRY(auto all_sets, names(true));
  auto own = [&](const std::string& name) {
    return std::ranges::any_of(p.own_prefixes, [&](auto& prefix) { return name.starts_with(prefix); });
  };
  auto t = transaction();
  // First the references, then what they refer to.
  for (auto& set : p.sets) t.flush_set(set);
  for (auto& chain : chains)
    if (own(chain)) t.flush_chain(chain);
  for (auto& chain : chains)
    if (own(chain)) t.delete_chain(chain);
  for (auto& set : all_sets)
    if (own(set)) t.delete_set(set);
  p.dump(t);
  if (!t.empty()) {
    const auto& batch = t.finish();
    CHECK_OK(socket_->transact(batch, t.last()));
  }
  adopted_[part] = false;
  return {};
}

base::Result<> Firewall::replace() {
  std::scoped_lock lock(mutex_);
  auto t = transaction();
  t.add_table();
  t.delete_table();
  t.add_table();
  layout(t);
  for (auto& part : parts_) part.dump(t);
  const auto& batch = t.finish();
  if (auto r = socket_->transact(batch, t.last()); !r) {
    auto e = r.error();
    e.message =
        "cannot install the nftables table \"appliance\" (the kernel needs nf_tables with nat, fib, masq, numgen and reject): " + e.message;
    return std::unexpected(std::move(e));
  }
  adopted_.assign(parts_.size(), false);
  return {};
}

base::Result<bool> Firewall::present() {
  struct {
    uint8_t family, version;
    uint16_t resource;
  } header{NFPROTO_IPV4, NFNETLINK_V0, 0};
  netlink::Batch b;
  b.begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, 0, header, "look for table appliance", {ENOENT});
  b.text(NFTA_CHAIN_TABLE, kTable);
  b.text(NFTA_CHAIN_NAME, layout_name());
  std::vector<int> errors;
  CHECK_OK(socket_->run(b, &errors));
  return errors[0] == 0;
}

base::Result<> Firewall::install() {
  std::scoped_lock lock(mutex_);
  TRY(bool there, present());
  if (!there) return replace();
  adopted_.assign(parts_.size(), true);
  return {};
}

base::Result<> Firewall::verify() {
  std::scoped_lock lock(mutex_);
  TRY(bool there, present());
  if (there) return {};
  base::log::warn("network", "the nftables table \"appliance\" was removed by something else; writing it anew");
  return replace();
}

base::Result<std::vector<std::string>> dropping_chains(bool input) {
  TRY(auto socket, netlink::Socket::open(NETLINK_NETFILTER));
  struct {
    uint8_t family, version;
    uint16_t resource;
  } header{NFPROTO_UNSPEC, NFNETLINK_V0, 0};
  netlink::Batch b;
  b.begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, NLM_F_DUMP, header, "list nftables chains");
  std::vector<std::string> out;
  CHECK_OK(socket.dump(b, [&](const nlmsghdr&, std::string_view body) {
    if (body.size() < sizeof header) return;
    std::string table, name;
    uint32_t hook = UINT32_MAX, policy = NF_ACCEPT;
    netlink::each_attribute(body.data() + sizeof header, body.size() - sizeof header, [&](uint16_t type, std::string_view v) {
      std::string text(v.data(), strnlen(v.data(), v.size()));
      if (type == NFTA_CHAIN_TABLE) table = text;
      if (type == NFTA_CHAIN_NAME) name = text;
      if (type == NFTA_CHAIN_POLICY) policy = ntohl(netlink::as<uint32_t>(v));
      if (type == NFTA_CHAIN_HOOK)
        netlink::each_attribute(v.data(), v.size(), [&](uint16_t t, std::string_view w) {
          if (t == NFTA_HOOK_HOOKNUM) hook = ntohl(netlink::as<uint32_t>(w));
        });
    });
    auto family = static_cast<uint8_t>(body[0]);
    if ((family == NFPROTO_IPV4 || family == NFPROTO_INET) && hook == (input ? NF_INET_LOCAL_IN : NF_INET_FORWARD) && policy == NF_DROP &&
        table != kTable)
      out.push_back(fmt::format("table {} {}, chain {}", family == NFPROTO_IPV4 ? "ip" : "inet", table, name));
  }));
  return out;
}

base::Result<> delete_table() {
  TRY(auto socket, netlink::Socket::open(NETLINK_NETFILTER));
  Transaction t(NFPROTO_IPV4, std::string(kTable));
  t.add_table();
  t.delete_table();
  const auto& batch = t.finish();
  return socket.transact(batch, t.last());
}

base::Result<> probe_table() {
  Firewall f({.gateway = Ip::v4(0x0a2a0001), .pod_cidr = {Ip::v4(0x0a2a0000), 24}, .dns_addresses = {Ip::v4(0x0a2b000a)}});
  TRY(auto socket, netlink::Socket::open(NETLINK_NETFILTER));
  Transaction t(NFPROTO_IPV4, "appliance_probe");
  t.add_table();
  f.layout(t);
  t.delete_table();
  const auto& batch = t.finish();
  return socket.transact(batch, t.last());
}

}  // namespace network
