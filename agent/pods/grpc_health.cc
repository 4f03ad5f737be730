#include "agent/pods/grpc_health.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/http/stream.h"

namespace agent {

namespace {

constexpr size_t kMaxFrame = 64 * 1024;

std::string frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string out;
  for (int shift = 16; shift >= 0; shift -= 8) out.push_back(static_cast<char>(payload.size() >> shift & 0xff));
  out.push_back(static_cast<char>(type));
  out.push_back(static_cast<char>(flags));
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(stream >> shift & 0xff));
  out.append(payload);
  return out;
}

// HPACK: a literal header field that enters no table, plain text (RFC 7541, 6.2.2). Lengths here are below 127, or use the prefix form.
void literal(std::string& out, std::string_view name, std::string_view value) {
  auto text = [&](std::string_view s) {
    if (s.size() < 127) {
      out.push_back(static_cast<char>(s.size()));
    } else {
      out.push_back(127);
      size_t rest = s.size() - 127;
      for (; rest >= 128; rest /= 128) out.push_back(static_cast<char>(rest % 128 + 128));
      out.push_back(static_cast<char>(rest));
    }
    out.append(s);
  };
  out.push_back(0);
  text(name);
  text(value);
}

Task<Result<>> check(std::string host, uint16_t port, std::string service, base::Duration timeout) {
  auto connected = co_await base::http::connect_tcp(host, port, timeout);
  if (!connected) co_return std::unexpected(std::move(connected).error());
  auto stream = std::move(*connected);
  std::string request = grpc_health_request(fmt::format("{}:{}", host, port), service);
  auto sent = co_await stream->write(request);
  if (!sent) co_return sent;
  std::string in, message;
  char buffer[4096];
  for (;;) {
    while (in.size() >= 9) {
      auto b = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(in[i])); };
      size_t length = b(0) << 16 | b(1) << 8 | b(2);
      if (length > kMaxFrame) co_return base::internal("the gRPC server sent an oversized frame");
      if (in.size() < 9 + length) break;
      uint8_t type = static_cast<uint8_t>(in[3]), flags = static_cast<uint8_t>(in[4]);
      std::string_view payload(in.data() + 9, length);
      if (type == 0) {
        message.append(payload);
        int status = parse_health_response(message);
        if (status == 1) co_return Result<>{};
        if (status >= 0)
          co_return base::unavailable(fmt::format("service unhealthy (responded with \"{}\")", status == 2 ? "NOT_SERVING" : "UNKNOWN"));
      } else if (type == 4 && !(flags & 1)) {
        auto acked = co_await stream->write(frame(4, 1, 0, {}));
        if (!acked) co_return acked;
      } else if (type == 6 && !(flags & 1)) {
        auto answered = co_await stream->write(frame(6, 1, 0, payload));
        if (!answered) co_return answered;
      } else if (type == 3 || type == 7) {
        co_return base::unavailable("the gRPC server refused the call");
      } else if (type == 1 && flags & 1) {
        co_return base::unavailable("the gRPC health service answered without a status (is it registered?)");
      }
      in.erase(0, 9 + length);
    }
    auto n = co_await stream->read(buffer);
    if (!n) co_return std::unexpected(std::move(n).error());
    if (*n == 0) co_return base::unavailable("the gRPC server closed the connection");
    in.append(buffer, *n);
  }
}

}  // namespace

Task<Result<>> grpc_health_check(std::string host, uint16_t port, std::string service, base::Duration timeout) {
  if (service.size() > 127) co_return base::bad_request("the gRPC service name is too long");
  co_return co_await base::with_timeout(timeout, check(std::move(host), port, std::move(service), timeout));
}

std::string grpc_health_request(std::string_view authority, std::string_view service) {
  std::string headers;
  literal(headers, ":method", "POST");
  literal(headers, ":scheme", "http");
  literal(headers, ":path", "/grpc.health.v1.Health/Check");
  literal(headers, ":authority", authority);
  literal(headers, "content-type", "application/grpc");
  literal(headers, "te", "trailers");
  literal(headers, "user-agent", "kube-probe/1.36");
  // HealthCheckRequest{string service = 1}, in gRPC's five-byte frame.
  std::string body;
  if (!service.empty()) {
    body.push_back(0x0a);
    body.push_back(static_cast<char>(std::min<size_t>(service.size(), 127)));
    body.append(service.substr(0, 127));
  }
  std::string message("\0\0\0\0", 4);
  message.push_back(static_cast<char>(body.size()));
  message += body;
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, {}) + frame(1, 4, 1, headers) + frame(0, 1, 1, message);
}

int parse_health_response(std::string_view m) {
  if (m.size() < 5) return -1;
  auto b = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(m[i])); };
  size_t length = b(1) << 24 | b(2) << 16 | b(3) << 8 | b(4);
  if (m.size() < 5 + length) return -1;
  if (length == 0) return 0;  // UNKNOWN is the default value
  if (length >= 2 && b(5) == 0x08) return static_cast<int>(b(6));
  return 0;
}

}  // namespace agent
