// Connections into a pod: from inside its network namespace for port-forward, to its address for the proxy.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include <fmt/format.h>

#include "agent/endpoints/node_api.h"
#include "base/files.h"
#include "base/http/client.h"
#include "base/http/socket_stream.h"

namespace agent {

namespace http = base::http;
using namespace std::chrono_literals;

namespace {

// A socket belongs to the namespace it was made in. A thread of its own enters the namespace, so that no other work of the process ever does.
Result<base::Fd> connect_inside(int netns, uint16_t port) {
  Result<base::Fd> out = base::unavailable("not connected");
  std::thread([&] {
    if (netns >= 0 && ::setns(netns, CLONE_NEWNET) != 0) {
      out = base::errno_error("enter the pod's network");
      return;
    }
    for (int family : {AF_INET, AF_INET6}) {
      base::Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (!fd) continue;
      sockaddr_storage a{};
      socklen_t size;
      if (family == AF_INET) {
        auto* v4 = reinterpret_cast<sockaddr_in*>(&a);
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        size = sizeof *v4;
      } else {
        auto* v6 = reinterpret_cast<sockaddr_in6*>(&a);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        v6->sin6_addr = in6addr_loopback;
        size = sizeof *v6;
      }
      int r = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), size);
      if (r != 0 && errno == EINPROGRESS) {
        pollfd p{fd.get(), POLLOUT, 0};
        int error = ETIMEDOUT;
        socklen_t length = sizeof error;
        if (::poll(&p, 1, 5000) == 1) ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
        errno = error;
        r = error == 0 ? 0 : -1;
      }
      if (r == 0) {
        out = std::move(fd);
        return;
      }
      if (family == AF_INET || errno != ECONNREFUSED) {
        if (!out) out = base::errno_error(fmt::format("connect to localhost:{} inside the pod", port));
      }
    }
  }).join();
  return out;
}

}  // namespace

Task<Result<std::unique_ptr<http::Stream>>> dial_in_pod(runtime::SandboxPtr sandbox, uint16_t port) {
  int netns = sandbox->netns_fd();
  auto fd = co_await base::offload([sandbox, netns, port] { return connect_inside(netns, port); });
  if (!fd) co_return std::unexpected(std::move(fd).error());
  auto strand = co_await base::this_executor();
  co_return http::make_socket_stream(std::move(*fd), strand, fmt::format("localhost:{}", port));
}

// podProxy/{ip}:{port}/{path}: one request, or an upgrade, to a pod of this node.
Task<> NodeApi::proxy(http::Request& request, http::Response& response, Path path) {
  std::string host = path[1];
  const bool tls = host.starts_with("https:");
  if (tls) host.erase(0, 6);
  size_t colon = host.rfind(':');
  if (colon == std::string::npos) {
    co_await answer(response, 400, "podProxy needs {ip}:{port}");
    co_return;
  }
  std::string ip = host.substr(0, colon);
  std::erase_if(ip, [](char c) { return c == '[' || c == ']'; });
  int port = std::atoi(host.c_str() + colon + 1);
  if (!context_.pods.find_by_ip(ip) || port <= 0 || port > 65535) {
    co_await answer(response, 403, fmt::format("{} is no pod of this node", host));
    co_return;
  }
  auto connected = co_await http::connect_tcp(ip, static_cast<uint16_t>(port), 10s);
  if (!connected) {
    co_await answer(response, 502, fmt::format("error trying to reach the pod: {}", connected.error().message));
    co_return;
  }
  if (tls) {
    // Pods are known by address, their certificates are not: as with Kubernetes, nothing is verified.
    static const auto any = http::make_client_context({.verify = false});
    if (any) connected = co_await http::tls_connect(std::move(*connected), *any, ip);
    else connected = std::unexpected(any.error());
    if (!connected) {
      co_await answer(response, 502, fmt::format("error trying to reach the pod: {}", connected.error().message));
      co_return;
    }
  }
  // Everything after the second segment, as it was sent.
  size_t second = request.target.find('/', 1), third = second == std::string::npos ? second : request.target.find('/', second + 1);
  std::string rest = third == std::string::npos ? "/" : request.target.substr(third);
  if (third == std::string::npos) {
    if (size_t q = request.target.find('?'); q != std::string::npos) rest += request.target.substr(q);
  }
  http::ClientRequest forward;
  forward.method = request.method;
  forward.url = fmt::format("http://{}{}", host, rest);
  forward.timeout = 10min;
  bool upgrade = request.headers.has_token("Connection", "upgrade");
  for (const auto& [name, value] : request.headers) {
    bool hop = name.size() == 4 && strncasecmp(name.c_str(), "Host", 4) == 0;
    for (const char* h : {"Content-Length", "Transfer-Encoding", "Keep-Alive", "TE", "Trailer", "Proxy-Connection"})
      hop = hop || strcasecmp(name.c_str(), h) == 0;
    if (!upgrade) hop = hop || strcasecmp(name.c_str(), "Connection") == 0 || strcasecmp(name.c_str(), "Upgrade") == 0;
    if (!hop) forward.headers.add(name, value);
  }
  if (request.has_body() && !upgrade) {
    auto body = co_await request.body(64u << 20);
    if (!body) {
      co_await answer(response, body.error().code, body.error().message);
      co_return;
    }
    forward.body = std::move(*body);
  }
  auto got = co_await http::send_on(std::move(*connected), std::move(forward));
  if (!got) {
    co_await answer(response, 502, fmt::format("error trying to reach the pod: {}", got.error().message));
    co_return;
  }
  http::ClientResponse& from = **got;
  response.status = from.status;
  for (const auto& [name, value] : from.headers) {
    bool hop = false;
    for (const char* h : {"Content-Length", "Transfer-Encoding", "Keep-Alive", "Trailer", "Proxy-Connection"})
      hop = hop || strcasecmp(name.c_str(), h) == 0;
    if (from.status != 101) hop = hop || strcasecmp(name.c_str(), "Connection") == 0;
    if (!hop) response.headers.add(name, value);
  }
  if (from.status == 101) {
    auto up = co_await response.upgrade();
    if (!up) co_return;
    auto down = from.take_stream();
    co_await http::pipe(**up, *down);
    co_return;
  }
  auto begun = co_await response.begin();
  if (!begun) co_return;
  std::vector<char> buffer(32 * 1024);
  for (;;) {
    auto n = co_await from.read(buffer);
    if (!n || *n == 0) break;
    auto w = co_await response.write(std::string_view(buffer.data(), *n));
    if (!w) co_return;
  }
  auto ended = co_await response.end();
  (void)ended;
}

}  // namespace agent
