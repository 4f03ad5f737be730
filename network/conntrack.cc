#include "network/conntrack.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <cerrno>
#include <string>

#include "network/netlink.h"

namespace network {
namespace {

using netlink::as;

struct Tuple {
  Ip source, destination;
  uint16_t source_port = 0, destination_port = 0;
  uint8_t protocol = 0;
};

Tuple parse_tuple(std::string_view v) {
  Tuple t;
  netlink::each_attribute(v.data(), v.size(), [&](uint16_t type, std::string_view w) {
    netlink::each_attribute(w.data(), w.size(), [&](uint16_t inner, std::string_view x) {
      if (type == CTA_TUPLE_IP) {
        if (inner == CTA_IP_V4_SRC) t.source = Ip::from_bytes(x.data(), x.size());
        if (inner == CTA_IP_V4_DST) t.destination = Ip::from_bytes(x.data(), x.size());
      } else if (type == CTA_TUPLE_PROTO) {
        if (inner == CTA_PROTO_NUM) t.protocol = as<uint8_t>(x);
        if (inner == CTA_PROTO_SRC_PORT) t.source_port = ntohs(as<uint16_t>(x));
        if (inner == CTA_PROTO_DST_PORT) t.destination_port = ntohs(as<uint16_t>(x));
      }
    });
  });
  return t;
}

bool matches(const StaleFlow& s, const Tuple& original, const Tuple& reply) {
  if (original.protocol != static_cast<uint8_t>(s.protocol) || original.destination_port != s.port) return false;
  if (!s.frontend.none() && original.destination != s.frontend) return false;
  if (s.endpoint.none()) return reply.source == original.destination && reply.source_port == s.port;
  return reply.source == s.endpoint && reply.source_port == s.endpoint_port;
}

}  // namespace

base::Result<size_t> delete_flows(const std::vector<StaleFlow>& stale) {
  if (stale.empty()) return size_t{0};
  TRY(auto socket, netlink::Socket::open(NETLINK_NETFILTER));
  nfgenmsg header{};
  header.nfgen_family = AF_INET;
  header.version = NFNETLINK_V0;
  netlink::Batch list;
  list.begin(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP, header, "list connections");
  netlink::Batch remove;
  CHECK_OK(socket.dump(list, [&](const nlmsghdr&, std::string_view body) {
    if (body.size() < sizeof(nfgenmsg)) return;
    std::string_view original, reply, id;
    netlink::each_attribute(body.data() + sizeof(nfgenmsg), body.size() - sizeof(nfgenmsg), [&](uint16_t type, std::string_view v) {
      if (type == CTA_TUPLE_ORIG) original = v;
      if (type == CTA_TUPLE_REPLY) reply = v;
      if (type == CTA_ID) id = v;
    });
    auto o = parse_tuple(original), r = parse_tuple(reply);
    for (auto& s : stale) {
      if (!matches(s, o, r)) continue;
      remove.begin(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, 0, header, "delete connection", {ENOENT});
      remove.attr(static_cast<uint16_t>(CTA_TUPLE_ORIG | NLA_F_NESTED), original);
      remove.attr(CTA_ID, id);
      break;
    }
  }));
  CHECK_OK(socket.run(remove));
  return remove.messages();
}

}  // namespace network
