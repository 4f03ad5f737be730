// Streams over connected sockets (TCP and Unix), and the address arithmetic that goes with them. Internal to base/http.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <string>

#include "base/files.h"
#include "base/http/stream.h"

namespace base::http {

// Takes the non-blocking, connected socket. `executor` is the strand of those who use the stream.
std::unique_ptr<Stream> make_socket_stream(Fd fd, Executor executor, std::string peer);

// "10.0.0.1:80", "[fd00::1]:80"; v4-mapped addresses as IPv4; "unix" for the rest.
std::string format_address(const sockaddr_storage& address);

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};
// From an IP literal (no brackets).
Result<SocketAddress> parse_address(const std::string& ip, uint16_t port);

// What every TCP socket of ours gets; a listener's accepted sockets inherit it.
void set_tcp_options(int fd);

}  // namespace base::http
