// WebSocket (RFC 6455) messages, both roles, over any Stream. No extensions.
#pragma once

#include <memory>
#include <string>

#include "base/http/client.h"
#include "base/http/server.h"

namespace base::http {

struct WebSocketMessage {
  enum class Kind { text, binary, close } kind = Kind::binary;
  std::string data;
};

class WebSocket {
 public:
  virtual ~WebSocket() = default;
  // The next message; pings are answered inside. Kind::close (once) when the peer ends. 1 MiB at most per message.
  virtual Task<Result<WebSocketMessage>> receive() = 0;
  virtual Task<Result<>> send(std::string_view data, bool text = false) = 0;
  virtual Task<Result<>> close(uint16_t code = 1000, std::string_view reason = {}) = 0;
  // Sub-protocol agreed on, such as v5.channel.k8s.io.
  virtual const std::string& protocol() const = 0;
};

bool is_websocket_upgrade(const Request& request);
// Answers the upgrade with the first of `protocols` (server's order of preference) that the client offers; 400 when none fits.
Task<Result<std::unique_ptr<WebSocket>>> accept_websocket(Request& request, Response& response,
                                                          std::span<const std::string_view> protocols);
// The client side: url is http(s)://...
Task<Result<std::unique_ptr<WebSocket>>> connect_websocket(Client& client, ClientRequest request,
                                                           std::span<const std::string_view> protocols);

}  // namespace base::http
