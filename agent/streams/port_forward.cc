#include "agent/streams/port_forward.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>

#include <fmt/format.h>

#include "agent/streams/spdy.h"

namespace agent {

namespace http = base::http;
using namespace std::chrono_literals;

Task<Result<size_t>> WebSocketStream::read(std::span<char> into) {
  while (offset_ == pending_.size()) {
    if (closed_) co_return base::unavailable("the connection is closed");
    auto message = co_await socket_->receive();
    if (!message) co_return std::unexpected(std::move(message).error());
    if (message->kind == http::WebSocketMessage::Kind::close) co_return 0;
    pending_ = std::move(message->data);
    offset_ = 0;
  }
  size_t n = std::min(into.size(), pending_.size() - offset_);
  std::memcpy(into.data(), pending_.data() + offset_, n);
  offset_ += n;
  co_return n;
}

Task<Result<>> WebSocketStream::write(std::span<const std::string_view> parts) {
  if (closed_) co_return base::unavailable("the connection is closed");
  std::string all;
  for (std::string_view p : parts) all.append(p);
  co_return co_await socket_->send(all);
}

Task<Result<>> WebSocketStream::shutdown_write() { co_return co_await socket_->close(); }

namespace {

std::optional<uint16_t> parse_port(std::string_view text) {
  unsigned v = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (ec != std::errc() || end != text.data() + text.size() || v == 0 || v > 65535) return std::nullopt;
  return static_cast<uint16_t>(v);
}

Task<> refuse(http::Response& response, int status, std::string text) {
  response.status = status;
  response.headers.set("Content-Type", "text/plain; charset=utf-8");
  auto r = co_await response.send(text);
  (void)r;
}

// --- SPDY: streams come in pairs of one requestID.

struct Pair {
  spdy::StreamPtr data, error;
};

Task<> report(spdy::StreamPtr error, std::string text) {
  if (!error) co_return;
  auto r = co_await error->write(text);
  r = co_await error->finish();
  (void)r;
}

// One direction; ends with the reader's end. The other one goes on until its own end.
Task<> copy_to_pod(spdy::StreamPtr from, std::shared_ptr<http::Stream> to) {
  std::vector<char> buffer(32 * 1024);
  for (;;) {
    size_t n = co_await from->read(buffer);
    if (n == 0) break;
    auto w = co_await to->write(std::string_view(buffer.data(), n));
    if (!w) break;
  }
  if (from->was_reset()) {
    to->close();
    co_return;
  }
  auto r = co_await to->shutdown_write();
  (void)r;
}

Task<> forward_one(base::Tasks& children, std::shared_ptr<spdy::Session> session, Pair pair, PodDialer dial) {
  (void)session;  // kept alive
  auto port = parse_port(spdy::header(pair.data->headers(), "port"));
  if (!port) {
    co_await report(pair.error, "bad port");
    auto r = co_await pair.data->reset();
    (void)r;
    co_return;
  }
  auto target = co_await dial(*port);
  if (!target) {
    co_await report(pair.error, fmt::format("error forwarding port {}: {}", *port, target.error().message));
    auto r = co_await pair.data->reset();
    (void)r;
    co_return;
  }
  std::shared_ptr<http::Stream> stream = std::move(*target);
  auto strand = co_await base::this_executor();
  children.spawn("port-forward to pod", strand, copy_to_pod(pair.data, stream));
  std::vector<char> buffer(32 * 1024);
  std::string failure;
  for (;;) {
    auto n = co_await stream->read(buffer);
    if (!n) {
      if (!pair.data->was_reset()) failure = n.error().message;
      break;
    }
    if (*n == 0) break;
    auto w = co_await pair.data->write(std::string_view(buffer.data(), *n));
    if (!w) break;
  }
  auto r = co_await pair.data->finish();
  if (!failure.empty()) {
    co_await report(pair.error, fmt::format("error forwarding port {}: {}", *port, failure));
  } else if (pair.error) {
    r = co_await pair.error->finish();
  }
}

Task<> serve_session(base::Runtime& runtime, std::shared_ptr<spdy::Session> session, PodDialer dial) {
  co_await with_children(runtime, [session, dial](base::Tasks& children) -> Task<> {
    auto strand = co_await base::this_executor();
    children.spawn("spdy", strand, session->run());
    std::map<std::string, Pair> waiting;
    for (;;) {
      spdy::StreamPtr s = co_await session->accept();
      if (!s) co_return;
      std::string id(spdy::header(s->headers(), "requestid"));
      if (id.empty()) {
        // Clients before requestID: the error stream is opened first, with the data stream right after it.
        bool is_error = spdy::header(s->headers(), "streamtype") == "error";
        id = fmt::format("#{}", is_error ? s->id() : s->id() - 2);
      }
      std::string_view type = spdy::header(s->headers(), "streamtype");
      Pair& pair = waiting[id];
      if (type == "error") {
        pair.error = s;
      } else if (type == "data") {
        pair.data = s;
      } else {
        auto r = co_await s->reset();
        (void)r;
        continue;
      }
      if (pair.error && pair.data) {
        Pair ready = std::move(pair);
        waiting.erase(id);
        children.spawn("port-forward", strand, forward_one(children, session, std::move(ready), dial));
      }
    }
  });
}

// --- WebSocket channels: port i has channel 2i for data and 2i+1 for errors; the first message on each is the port, little-endian.

Task<> serve_channels(base::Runtime& runtime, std::shared_ptr<http::WebSocket> socket, std::vector<uint16_t> ports, PodDialer dial) {
  struct State {
    Turn writing;
    std::vector<std::shared_ptr<http::Stream>> targets;
    std::vector<std::shared_ptr<BytePipe>> inputs;
  };
  auto state = std::make_shared<State>();
  auto send = [](std::shared_ptr<http::WebSocket> s, std::shared_ptr<State> st, size_t channel, std::string bytes) -> Task<Result<>> {
    auto turn = co_await st->writing.take();
    co_return co_await s->send(static_cast<char>(channel) + bytes);
  };
  co_await with_children(runtime, [=](base::Tasks& children) -> Task<> {
    auto strand = co_await base::this_executor();
    for (size_t i = 0; i < ports.size(); ++i) {
      std::string number{static_cast<char>(ports[i] & 0xff), static_cast<char>(ports[i] >> 8)};
      for (size_t channel : {2 * i, 2 * i + 1}) {
        auto r = co_await send(socket, state, channel, number);
        if (!r) co_return;
      }
      auto input = std::make_shared<BytePipe>();
      state->inputs.push_back(input);
      auto target = co_await dial(ports[i]);
      if (!target) {
        auto r = co_await send(socket, state, 2 * i + 1, fmt::format("error forwarding port {}: {}", ports[i], target.error().message));
        input->discard();
        if (!r) co_return;
        continue;
      }
      std::shared_ptr<http::Stream> stream = std::move(*target);
      children.spawn("port-forward to pod", strand, [](std::shared_ptr<BytePipe> from, std::shared_ptr<http::Stream> to) -> Task<> {
        std::vector<char> buffer(32 * 1024);
        for (;;) {
          size_t n = co_await from->read(buffer);
          if (n == 0) break;
          auto w = co_await to->write(std::string_view(buffer.data(), n));
          if (!w) break;
        }
        auto r = co_await to->shutdown_write();
        (void)r;
      }(input, stream));
      children.spawn("port-forward from pod", strand,
                     [](decltype(send) put, std::shared_ptr<http::WebSocket> s, std::shared_ptr<State> st, size_t channel,
                        std::shared_ptr<http::Stream> from) -> Task<> {
                       std::vector<char> buffer(32 * 1024);
                       for (;;) {
                         auto n = co_await from->read(buffer);
                         if (!n || *n == 0) break;
                         auto r = co_await put(s, st, channel, std::string(buffer.data(), *n));
                         if (!r) break;
                       }
                     }(send, socket, state, 2 * i, stream));
    }
    for (;;) {
      auto message = co_await socket->receive();
      if (!message || message->kind == http::WebSocketMessage::Kind::close) co_return;
      if (message->data.empty()) continue;
      size_t channel = static_cast<unsigned char>(message->data[0]);
      if (channel % 2 || channel / 2 >= state->inputs.size()) continue;
      co_await state->inputs[channel / 2]->push(message->data.substr(1));
    }
  });
}

Task<> serve_websocket(base::Runtime& runtime, http::Request& request, http::Response& response, PodDialer dial) {
  static constexpr std::string_view kProtocols[] = {"SPDY/3.1+portforward.k8s.io", "v2.portforward.k8s.io", "v4.channel.k8s.io",
                                                    "portforward.k8s.io"};
  std::vector<uint16_t> ports;
  for (std::string_view list : request.query.all("ports")) {
    for (size_t from = 0; from <= list.size();) {
      size_t comma = std::min(list.find(',', from), list.size());
      auto port = parse_port(list.substr(from, comma - from));
      if (!port || ports.size() >= 64) {
        co_await refuse(response, 400, "bad value of the query parameter ports");
        co_return;
      }
      ports.push_back(*port);
      from = comma + 1;
    }
  }
  auto socket = co_await http::accept_websocket(request, response, kProtocols);
  if (!socket) {
    if (!response.started()) co_await refuse(response, 400, socket.error().message);
    co_return;
  }
  const std::string protocol = (*socket)->protocol();
  if (protocol == "SPDY/3.1+portforward.k8s.io" || protocol == "v2.portforward.k8s.io") {
    WebSocketStream transport(std::move(*socket));
    auto session = std::make_shared<spdy::Session>(transport);
    co_await serve_session(runtime, session, std::move(dial));
    co_return;
  }
  if (ports.empty()) {
    auto r = co_await (*socket)->close(1008, "query parameter ports is required");
    (void)r;
    co_return;
  }
  co_await serve_channels(runtime, std::shared_ptr<http::WebSocket>(std::move(*socket)), std::move(ports), std::move(dial));
}

}  // namespace

Task<> serve_port_forward(base::Runtime& runtime, http::Request& request, http::Response& response, PodDialer dial) {
  if (http::is_websocket_upgrade(request)) {
    co_await serve_websocket(runtime, request, response, std::move(dial));
    co_return;
  }
  if (!request.headers.has_token("Upgrade", "SPDY/3.1")) {
    co_await refuse(response, 400, "unable to upgrade: missing upgrade headers in request");
    co_return;
  }
  response.status = 101;
  response.headers.set("Connection", "Upgrade");
  response.headers.set("Upgrade", "SPDY/3.1");
  if (request.headers.has("X-Stream-Protocol-Version")) response.headers.set("X-Stream-Protocol-Version", "portforward.k8s.io");
  auto transport = co_await response.upgrade();
  if (!transport) co_return;
  auto session = std::make_shared<spdy::Session>(**transport);
  co_await serve_session(runtime, session, std::move(dial));
}

}  // namespace agent
