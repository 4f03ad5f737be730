// kubectl port-forward on the wire: SPDY/3.1 with one pair of streams (error, data) per connection, the same inside WebSocket messages
// (SPDY/3.1+portforward.k8s.io), and the older WebSocket form with two channels per port.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/streams/scope.h"
#include "base/http/server.h"
#include "base/http/websocket.h"

namespace agent {

// A connection to a port of the pod, seen from inside it.
using PodDialer = std::function<Task<Result<std::unique_ptr<base::http::Stream>>>(uint16_t port)>;

// Negotiates, forwards until the client goes away. Sends 400 itself when the request is no upgrade.
Task<> serve_port_forward(base::Runtime& runtime, base::http::Request& request, base::http::Response& response, PodDialer dial);

// The bytes carried by binary messages of a WebSocket, as a stream.
class WebSocketStream final : public base::http::Stream {
 public:
  explicit WebSocketStream(std::unique_ptr<base::http::WebSocket> socket) : socket_(std::move(socket)) {}
  Task<Result<size_t>> read(std::span<char> into) override;
  Task<Result<>> write(std::span<const std::string_view> parts) override;
  Task<Result<>> shutdown_write() override;
  void close() override { closed_ = true; }
  void set_read_deadline(std::optional<base::TimePoint>) override {}
  void set_write_deadline(std::optional<base::TimePoint>) override {}
  std::string peer_address() const override { return "websocket"; }
  std::string local_address() const override { return "websocket"; }
  const std::string& peer_certificate() const override { return none_; }

 private:
  std::unique_ptr<base::http::WebSocket> socket_;
  std::string pending_;
  size_t offset_ = 0;
  bool closed_ = false;
  std::string none_;
};

}  // namespace agent
