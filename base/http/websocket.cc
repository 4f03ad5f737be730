#include "base/http/websocket.h"

#include <cstring>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/http/wire.h"
#include "base/utf8.h"

namespace base::http {
namespace {

constexpr size_t kMaxMessage = 1u << 20;
constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

enum Opcode : uint8_t { op_continuation = 0, op_text = 1, op_binary = 2, op_close = 8, op_ping = 9, op_pong = 10 };

std::string accept_key(std::string_view key) { return base64_encode(sha1(fmt::format("{}{}", key, kGuid))); }

void apply_mask(char* data, size_t n, const unsigned char mask[4], size_t phase) {
  for (size_t i = 0; i < n; ++i) data[i] = static_cast<char>(static_cast<unsigned char>(data[i]) ^ mask[(phase + i) & 3]);
}

class WebSocketImpl final : public WebSocket {
 public:
  WebSocketImpl(Stream* stream, std::unique_ptr<Stream> owned, std::string protocol, bool client)
      : stream_(stream), owned_(std::move(owned)), protocol_(std::move(protocol)), client_(client) {}

  const std::string& protocol() const override { return protocol_; }

  Task<Result<WebSocketMessage>> receive() override {
    if (close_received_) co_return unavailable("the WebSocket is closed");
    WebSocketMessage message;
    bool started = false;
    for (;;) {
      unsigned char head[14];
      CO_CHECK_OK(co_await read_exactly(head, 2));
      bool final = head[0] & 0x80;
      auto opcode = static_cast<uint8_t>(head[0] & 0x0f);
      bool masked = head[1] & 0x80;
      uint64_t size = head[1] & 0x7f;
      bool control = opcode >= 8;
      if ((head[0] & 0x70) != 0) co_return co_await protocol_error(1002, "a reserved bit is set");
      if (masked == client_) co_return co_await protocol_error(1002, "masked the wrong way");
      if (control && (!final || size > 125)) co_return co_await protocol_error(1002, "a malformed control frame");
      if (size == 126) {
        CO_CHECK_OK(co_await read_exactly(head, 2));
        size = static_cast<uint64_t>(head[0]) << 8 | head[1];
      } else if (size == 127) {
        CO_CHECK_OK(co_await read_exactly(head, 8));
        size = 0;
        for (int i = 0; i < 8; ++i) size = size << 8 | head[i];
      }
      unsigned char mask[4] = {};
      if (masked) CO_CHECK_OK(co_await read_exactly(mask, 4));

      if (!control) {
        if (opcode > op_binary || (opcode == op_continuation) != started) co_return co_await protocol_error(1002, "an unexpected opcode");
        if (size > kMaxMessage || message.data.size() + size > kMaxMessage)
          co_return co_await protocol_error(1009, "the message is too large");
        if (!started) message.kind = opcode == op_text ? WebSocketMessage::Kind::text : WebSocketMessage::Kind::binary;
        started = true;
        size_t at = message.data.size();
        message.data.resize(at + static_cast<size_t>(size));
        CO_CHECK_OK(co_await read_exactly(message.data.data() + at, static_cast<size_t>(size)));
        if (masked) apply_mask(message.data.data() + at, static_cast<size_t>(size), mask, 0);
        if (!final) continue;
        if (message.kind == WebSocketMessage::Kind::text && !is_utf8(message.data))
          co_return co_await protocol_error(1007, "text that is not UTF-8");
        co_return message;
      }

      char payload[125];
      CO_CHECK_OK(co_await read_exactly(payload, static_cast<size_t>(size)));
      if (masked) apply_mask(payload, static_cast<size_t>(size), mask, 0);
      std::string text(payload, static_cast<size_t>(size));
      if (opcode == op_ping) {
        CO_CHECK_OK(co_await send_frame(op_pong, text));
      } else if (opcode == op_close) {
        close_received_ = true;
        if (!close_sent_) {
          close_sent_ = true;
          auto answered = co_await send_frame(op_close, text.substr(0, 2));
          (void)answered;
        }
        co_return WebSocketMessage{WebSocketMessage::Kind::close, text.size() > 2 ? text.substr(2) : std::string()};
      } else if (opcode != op_pong) {
        co_return co_await protocol_error(1002, "an unknown opcode");
      }
    }
  }

  Task<Result<>> send(std::string_view data, bool text) override {
    if (close_sent_) co_return unavailable("the WebSocket is closed");
    co_return co_await send_frame(text ? op_text : op_binary, data);
  }

  Task<Result<>> close(uint16_t code, std::string_view reason) override {
    if (close_sent_) co_return Result<>{};
    close_sent_ = true;
    std::string payload;
    payload += static_cast<char>(code >> 8);
    payload += static_cast<char>(code & 0xff);
    payload += reason.substr(0, 123);
    co_return co_await send_frame(op_close, payload);
  }

 private:
  Task<Result<>> read_exactly(void* into, size_t n) {
    auto* at = static_cast<char*>(into);
    while (n > 0) {
      if (used_ < have_) {
        size_t k = std::min(n, have_ - used_);
        std::memcpy(at, buffer_ + used_, k);
        used_ += k;
        at += k;
        n -= k;
        continue;
      }
      // Large payloads go where they belong, the rest through a small buffer.
      bool direct = n >= sizeof buffer_;
      auto got = co_await stream_->read(direct ? std::span<char>(at, n) : std::span<char>(buffer_));
      if (!got) co_return std::unexpected(std::move(got.error()));
      if (*got == 0) co_return unavailable("the WebSocket ended without a close frame");
      if (direct) {
        at += *got;
        n -= *got;
      } else {
        used_ = 0;
        have_ = *got;
      }
    }
    co_return Result<>{};
  }

  // Frames of several coroutines of the strand go out one after the other.
  Task<Result<>> send_frame(uint8_t opcode, std::string_view data) {
    std::string masked;
    char head[14];
    size_t n = 0;
    head[n++] = static_cast<char>(0x80 | opcode);
    char mask_bit = client_ ? static_cast<char>(0x80) : 0;
    if (data.size() < 126) {
      head[n++] = static_cast<char>(mask_bit | static_cast<char>(data.size()));
    } else if (data.size() < 65536) {
      head[n++] = static_cast<char>(mask_bit | 126);
      head[n++] = static_cast<char>(data.size() >> 8);
      head[n++] = static_cast<char>(data.size() & 0xff);
    } else {
      head[n++] = static_cast<char>(mask_bit | 127);
      for (int shift = 56; shift >= 0; shift -= 8) head[n++] = static_cast<char>(static_cast<uint64_t>(data.size()) >> shift & 0xff);
    }
    if (client_) {
      std::string key = random_bytes(4);
      std::memcpy(head + n, key.data(), 4);
      masked = data;
      apply_mask(masked.data(), masked.size(), reinterpret_cast<unsigned char*>(head + n), 0);
      n += 4;
      data = masked;
    }
    while (writing_) {
      uint64_t seen = written_.version();
      if (!writing_) break;
      co_await written_.wait(seen);
    }
    struct Guard {
      WebSocketImpl& w;
      explicit Guard(WebSocketImpl& s) : w(s) { w.writing_ = true; }
      ~Guard() {
        w.writing_ = false;
        w.written_.notify();
      }
    } guard(*this);
    std::string_view parts[] = {{head, n}, data};
    co_return co_await stream_->write(std::span<const std::string_view>(parts));
  }

  Task<Result<WebSocketMessage>> protocol_error(uint16_t code, std::string reason) {
    auto sent = co_await close(code, reason);
    (void)sent;
    close_received_ = true;
    co_return bad_request(fmt::format("WebSocket: {}", reason));
  }

  Stream* stream_;
  std::unique_ptr<Stream> owned_;
  std::string protocol_;
  const bool client_;
  char buffer_[2048];
  size_t used_ = 0, have_ = 0;
  bool writing_ = false;
  Event written_;
  bool close_sent_ = false, close_received_ = false;
};

bool offers(const Request& request, std::string_view protocol) { return request.headers.has_token("Sec-WebSocket-Protocol", protocol); }

Task<Result<std::unique_ptr<WebSocket>>> refuse(Response& response, int status, std::string text) {
  response.status = status;
  response.headers.set("Content-Type", "text/plain");
  if (status == 426) response.headers.set("Sec-WebSocket-Version", "13");
  std::string body = text + "\n";
  auto sent = co_await response.send(body);
  (void)sent;
  co_return fail(status, "BadRequest", std::move(text));
}

}  // namespace

bool is_websocket_upgrade(const Request& request) {
  return request.headers.has_token("Connection", "upgrade") && request.headers.has_token("Upgrade", "websocket");
}

Task<Result<std::unique_ptr<WebSocket>>> accept_websocket(Request& request, Response& response,
                                                          std::span<const std::string_view> protocols) {
  if (request.method != "GET" || !is_websocket_upgrade(request)) co_return co_await refuse(response, 400, "not a WebSocket upgrade");
  if (request.headers.get("Sec-WebSocket-Version") != "13") co_return co_await refuse(response, 426, "WebSocket version 13 is required");
  auto key = base64_decode(request.headers.get("Sec-WebSocket-Key"));
  if (!key || key->size() != 16) co_return co_await refuse(response, 400, "a malformed Sec-WebSocket-Key");
  bool offered = request.headers.has("Sec-WebSocket-Protocol");
  std::string chosen;
  bool fits = protocols.empty();
  for (std::string_view p : protocols) {
    if (p.empty() ? offered : !offers(request, p)) continue;
    chosen = p;
    fits = true;
    break;
  }
  if (!fits) co_return co_await refuse(response, 400, "none of the offered WebSocket protocols is supported");
  response.status = 101;
  response.headers.set("Upgrade", "websocket");
  response.headers.set("Connection", "Upgrade");
  response.headers.set("Sec-WebSocket-Accept", accept_key(request.headers.get("Sec-WebSocket-Key")));
  if (!chosen.empty()) response.headers.set("Sec-WebSocket-Protocol", chosen);
  CO_TRY(Stream * stream, co_await response.upgrade());
  co_return std::make_unique<WebSocketImpl>(stream, nullptr, std::move(chosen), false);
}

Task<Result<std::unique_ptr<WebSocket>>> connect_websocket(Client& client, ClientRequest request,
                                                           std::span<const std::string_view> protocols) {
  std::string key = base64_encode(random_bytes(16));
  std::string offer;
  for (std::string_view p : protocols) {
    if (p.empty()) continue;
    if (!offer.empty()) offer += ", ";
    offer += p;
  }
  request.method = "GET";
  request.body.clear();
  request.headers.set("Connection", "Upgrade");
  request.headers.set("Upgrade", "websocket");
  request.headers.set("Sec-WebSocket-Version", "13");
  request.headers.set("Sec-WebSocket-Key", key);
  if (!offer.empty()) request.headers.set("Sec-WebSocket-Protocol", offer);
  CO_TRY(auto response, co_await client.send(std::move(request)));
  if (response->status != 101) {
    auto text = co_await response->body(4096);
    co_return fail(response->status, "UpgradeRequired",
                   fmt::format("the server answered the WebSocket upgrade with {} {}{}{}", response->status, status_text(response->status),
                               text && !text->empty() ? ": " : "", text ? *text : std::string()));
  }
  if (!equal_ignoring_case(response->headers.get("Upgrade"), "websocket") ||
      response->headers.get("Sec-WebSocket-Accept") != accept_key(key))
    co_return unavailable("the server's WebSocket handshake is wrong");
  std::string chosen(response->headers.get("Sec-WebSocket-Protocol"));
  std::unique_ptr<Stream> stream = response->take_stream();
  Stream* raw = stream.get();
  co_return std::make_unique<WebSocketImpl>(raw, std::move(stream), std::move(chosen), true);
}

}  // namespace base::http
