#include "network/cleanup.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <algorithm>

#include "network/firewall.h"
#include "network/links.h"

namespace network {

base::Result<> cleanup() {
  auto result = delete_table();
  TRY(auto socket, netlink::Socket::open(NETLINK_ROUTE));
  TRY(auto all, links::list(socket));
  constexpr uint32_t kGroup = 0x6170706d;
  netlink::Batch b;
  // The route that makes unused pod addresses unreachable hangs on no link: it is the one with the gateway address of appl0 inside.
  TRY(auto addresses, links::addresses(socket));
  TRY(auto routes, links::routes(socket));
  for (auto& l : all)
    for (auto& a : addresses)
      for (auto& r : routes)
        if (l.name == kLocalLink && a.index == l.index && r.type == RTN_UNREACHABLE && r.to.at(1) == a.ip) links::delete_route(b, r);
  bool any = false;
  for (auto& l : all) {
    bool ours = l.name.starts_with(kLinkPrefix) && (l.kind == "veth" || l.kind == "vxlan" || l.kind == "bridge");
    if (!ours) continue;
    links::set_group(b, l.name, kGroup);
    any = true;
  }
  if (any) links::delete_group(b, kGroup);
  if (auto r = socket.run(b); !r && result) result = r;
  return result;
}

}  // namespace network
