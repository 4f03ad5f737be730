// WebSocket frames of a client, after its handshake.
#include "base/http/websocket.h"
#include "connection.h"
#include "fuzz.h"

using namespace std::string_view_literals;

const std::vector<std::string_view> fuzz::seeds = {"\x82\x83\0\0\0\0abc\x88\x82\0\0\0\0\x03\xe8"sv,
                                                   "\x01\x81\1\2\3\4b\x89\x80\0\0\0\0\x80\x82\0\0\0\0\xc3\xa9"sv,
                                                   "\x82\xfe\0\x80\0\0\0\0"sv, "\x82\xff\0\0\0\0\0\0\0\1\0\0\0\0x"sv};

namespace {

base::Task<> echo(base::http::Request& request, base::http::Response& response) {
  static constexpr std::string_view protocols[] = {"v5.channel.k8s.io"};
  auto socket = co_await base::http::accept_websocket(request, response, protocols);
  fuzz::require(socket.has_value());
  for (;;) {
    auto message = co_await (*socket)->receive();
    if (!message) co_return;
    if (message->kind == base::http::WebSocketMessage::Kind::close) break;
    co_await (*socket)->send(message->data);
  }
  co_await (*socket)->close();
}

}  // namespace

void fuzz::one(std::string_view input) {
  base::Runtime runtime(1);
  std::string says =
      "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
      "dGhlIHNhbXBsZSBub25jZQ==\r\n"
      "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";
  base::run_to_end(runtime, base::http::serve_connection(std::make_unique<Peer>(says + std::string(input)), echo));
}
