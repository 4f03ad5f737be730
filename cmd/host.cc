#include "cmd/host.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/files.h"

namespace cmd {

std::string default_address() {
  base::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(53);
  a.sin_addr.s_addr = htonl(0xc0000201);  // TEST-NET-1: connect() on UDP only looks up the route
  socklen_t n = sizeof a;
  if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), n) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &n) != 0)
    return {};
  char text[INET_ADDRSTRLEN];
  return ::inet_ntop(AF_INET, &a.sin_addr, text, sizeof text) ? text : "";
}

std::string default_node_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  std::string out;
  for (char c : std::string(name)) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    out += std::isalnum(static_cast<unsigned char>(c)) || c == '.' ? c : '-';
  }
  while (!out.empty() && !std::isalnum(static_cast<unsigned char>(out.front()))) out.erase(0, 1);
  while (!out.empty() && !std::isalnum(static_cast<unsigned char>(out.back()))) out.pop_back();
  return out.empty() ? "node" : out;
}

base::Result<> complete(Options& o) {
  if (o.node_name.empty()) o.node_name = default_node_name();
  o.node_ip_found = o.node_ip.empty();
  if (o.node_ip_found) o.node_ip = default_address();
  if (o.node_ip.empty()) return base::bad_request("this host has no default route to take an address from; name one with --node-ip");
  o.advertise_found = o.node_ip_found && o.advertise_address.empty();
  if (o.advertise_address.empty()) o.advertise_address = o.node_ip;
  return {};
}

base::Result<> require_root() {
  if (::geteuid() != 0) return base::bad_request("this needs root: run it with sudo, or as the service that install.sh sets up");
  return {};
}

std::string product_version() { return std::string("v1.36.0+appliance") + APPLIANCE_VERSION; }

}  // namespace cmd
