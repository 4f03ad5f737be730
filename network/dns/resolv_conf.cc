#include <algorithm>
#include <sstream>

#include "base/files.h"
#include "network/dns/server.h"

namespace network::dns {
namespace {

constexpr uint32_t kResolvedStub = 0x7f000035;  // 127.0.0.53
constexpr const char* kResolvedServers = "/run/systemd/resolve/resolv.conf";

base::Result<std::vector<Upstream>> parse(const std::string& path, const std::vector<Ip>& ourselves) {
  TRY(auto text, base::read_file(path, 64 << 10));
  std::vector<Upstream> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string keyword, value;
    words >> keyword >> value;
    if (keyword != "nameserver") continue;
    auto ip = Ip::parse(value.substr(0, value.find('%')));
    if (!ip || value.find('%') != std::string::npos) continue;  // a link-local server needs its interface: left out
    if (std::ranges::find(ourselves, *ip) != ourselves.end()) continue;
    if (std::ranges::none_of(out, [&](auto& u) { return u.ip == *ip; })) out.push_back({*ip, 53});
  }
  return out;
}

}  // namespace

base::Result<std::vector<Upstream>> read_upstreams(const std::string& resolv_conf, const std::vector<Ip>& ourselves) {
  TRY(auto servers, parse(resolv_conf, ourselves));
  // systemd-resolved's stub could have been told to ask us; the servers behind it cannot.
  if (std::ranges::any_of(servers, [](auto& u) { return u.ip == Ip::v4(kResolvedStub); }) && resolv_conf != kResolvedServers) {
    auto real = parse(kResolvedServers, ourselves);
    if (real && !real->empty()) return real;
  }
  return servers;
}

}  // namespace network::dns
