#include "agent/endpoints/tunnel.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/http/client.h"
#include "base/log.h"

namespace agent {

namespace http = base::http;
using base::Result;
using base::Task;
using namespace std::chrono_literals;

namespace {

struct HostPort {
  std::string host;
  uint16_t port = 443;
};

Result<HostPort> parse_url(std::string_view url) {
  if (!url.starts_with("https://")) return base::bad_request(fmt::format("the server's URL \"{}\" does not begin with https://", url));
  url.remove_prefix(8);
  url = url.substr(0, url.find('/'));
  HostPort out;
  std::string_view port;
  if (url.starts_with('[')) {
    size_t close = url.find(']');
    out.host = url.substr(1, close - 1);
    if (close != std::string_view::npos && url.size() > close + 1) port = url.substr(close + 2);
  } else {
    size_t colon = url.rfind(':');
    out.host = url.substr(0, colon);
    if (colon != std::string_view::npos) port = url.substr(colon + 1);
  }
  if (!port.empty()) std::from_chars(port.data(), port.data() + port.size(), out.port);
  return out;
}

}  // namespace

Tunnel::Tunnel(base::Runtime& runtime, TunnelOptions options) : options_(std::move(options)), tasks_(runtime) {}

Task<> Tunnel::run() {
  base::Duration wait = 100ms;
  bool told = false;
  for (;;) {
    auto began = base::Clock::now();
    auto r = co_await control();
    if (base::Clock::now() - began > 5s) wait = 100ms, told = false;
    if (!r && !told) {
      base::log::warn("agent", "the tunnel to {} is down: {}", options_.server_url, r.error().message);
      told = true;
    }
    co_await base::sleep_for(wait);
    wait = std::min<base::Duration>(wait * 2, 5s);
  }
}

Task<> Tunnel::stop() { co_await tasks_.stop(); }

Task<Result<std::unique_ptr<http::Stream>>> Tunnel::connect(std::string path, std::string protocol) {
  CO_TRY(HostPort to, parse_url(options_.server_url));
  auto tcp = co_await http::connect_tcp(to.host, to.port, 10s);
  if (!tcp) co_return std::unexpected(std::move(tcp).error());
  auto tls = co_await http::tls_connect(std::move(*tcp), options_.tls(), to.host, 10s);
  if (!tls) co_return std::unexpected(std::move(tls).error());
  http::ClientRequest request;
  request.url = options_.server_url + path;
  request.headers.set("Connection", "Upgrade");
  request.headers.set("Upgrade", protocol);
  request.timeout = 10s;
  auto response = co_await http::send_on(std::move(*tls), std::move(request));
  if (!response) co_return std::unexpected(std::move(response).error());
  if ((*response)->status != 101) {
    auto body = co_await (*response)->body(4096);
    co_return base::unavailable(fmt::format("the server answered {} {}", (*response)->status, body.value_or("")));
  }
  co_return (*response)->take_stream();
}

Task<Result<>> Tunnel::control() {
  auto connected = co_await connect("/v1-appliance/tunnel", "appliance-tunnel");
  if (!connected) co_return std::unexpected(std::move(connected).error());
  std::shared_ptr<http::Stream> stream = std::move(*connected);
  auto writing = std::make_shared<Turn>();
  Result<> end;
  co_await with_children(tasks_.runtime(), [this, stream, writing, &end](base::Tasks& children) -> Task<> {
    auto strand = co_await base::this_executor();
    children.spawn("tunnel failures", strand, report_failures(stream, writing));
    end = co_await read_control(stream, writing);
  });
  co_return end;
}

Task<> Tunnel::report_failures(std::shared_ptr<http::Stream> stream, std::shared_ptr<Turn> writing) {
  for (;;) {
    auto line = co_await failures_.pop();
    if (!line) co_return;
    auto turn = co_await writing->take();
    auto w = co_await stream->write(*line);
    if (!w) co_return;
  }
}

Task<Result<>> Tunnel::read_control(std::shared_ptr<http::Stream> stream, std::shared_ptr<Turn> writing) {
  base::log::info("agent", "the tunnel to {} is up", options_.server_url);
  std::string in;
  char buffer[4096];
  for (;;) {
    // The server pings every 20 s.
    stream->set_read_deadline(base::Clock::now() + 60s);
    auto n = co_await stream->read(buffer);
    if (!n) co_return std::unexpected(std::move(n).error());
    if (*n == 0) co_return base::unavailable("the server closed the connection");
    in.append(buffer, *n);
    if (in.size() > 64 * 1024) co_return base::unavailable("the server sent an endless line");
    for (size_t end; (end = in.find('\n')) != std::string::npos; in.erase(0, end + 1)) {
      std::string line = in.substr(0, end);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line == "ping") {
        stream->set_write_deadline(base::Clock::now() + 20s);
        auto turn = co_await writing->take();
        auto w = co_await stream->write("pong\n");
        if (!w) co_return w;
      } else if (line.starts_with("open ")) {
        std::string id = line.substr(5);
        bool hex = !id.empty() && id.size() <= 64 &&
                   std::all_of(id.begin(), id.end(), [](char c) { return std::isxdigit(static_cast<unsigned char>(c)); });
        if (hex) tasks_.spawn("tunnel stream", serve_stream(std::move(id)));
      }
    }
  }
}

Task<> Tunnel::serve_stream(std::string id) {
  auto connected = co_await connect("/v1-appliance/tunnel/" + id, "appliance-stream");
  if (!connected) {
    base::log::warn("agent", "opening a tunnel stream: {}", connected.error().message);
    std::string why = connected.error().message;
    std::replace(why.begin(), why.end(), '\n', ' ');
    failures_.push(fmt::format("fail {} {}\n", id, why));
    co_return;
  }
  co_await http::serve_connection(std::move(*connected), options_.handler);
}

}  // namespace agent
