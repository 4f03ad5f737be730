#include "ingress/proxy.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/http/wire.h"
#include "base/log.h"
#include "ingress/path.h"

namespace ingress {

using base::Result;
using base::Task;
using base::http::Head;
using base::http::Request;
using base::http::Response;

namespace {

constexpr size_t kBuffered = 64 * 1024;     // bodies up to this size travel in one piece, and can be sent again
constexpr size_t kHeadLimit = 64 * 1024;    // of a backend's answer
constexpr base::Duration kHeadTime = std::chrono::seconds(60);
constexpr base::Duration kBodyTime = std::chrono::seconds(60);
constexpr int kAttempts = 4;

// RFC 9110 section 7.6.1: these belong to one connection.
bool hop_by_hop(std::string_view name) {
  static constexpr std::array names = {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"};
  return std::any_of(names.begin(), names.end(), [&](std::string_view n) { return base::http::equal_ignoring_case(n, name); });
}

// What a client may not say for itself.
bool set_by_us(std::string_view name) {
  static constexpr std::array names = {"host", "content-length", "expect", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip"};
  return std::any_of(names.begin(), names.end(), [&](std::string_view n) { return base::http::equal_ignoring_case(n, name); });
}

bool listed(std::string_view connection, std::string_view name) {
  while (!connection.empty()) {
    size_t comma = connection.find(',');
    std::string_view token = connection.substr(0, comma);
    while (!token.empty() && (token.front() == ' ' || token.front() == '\t')) token.remove_prefix(1);
    while (!token.empty() && (token.back() == ' ' || token.back() == '\t')) token.remove_suffix(1);
    if (base::http::equal_ignoring_case(token, name)) return true;
    connection = comma == std::string_view::npos ? std::string_view() : connection.substr(comma + 1);
  }
  return false;
}

std::string_view address_only(std::string_view peer) {
  size_t colon = peer.rfind(':');
  std::string_view ip = colon == std::string_view::npos ? peer : peer.substr(0, colon);
  if (ip.starts_with('[') && ip.ends_with(']')) ip = ip.substr(1, ip.size() - 2);
  return ip;
}

Task<> answer(Response& response, int status, std::string_view text) {
  response.status = status;
  response.headers = {};
  response.headers.set("Content-Type", "text/plain; charset=utf-8");
  std::string body = fmt::format("{} {}{}{}\n", status, base::http::status_text(status), text.empty() ? "" : ": ", text);
  co_await response.send(std::string_view(body));
}

}  // namespace

// One request on its way.
struct Proxy::Exchange {
  Request& request;
  Response& response;
  BackendPtr backend;
  std::string head;    // as sent to the backend
  std::string body;    // whole, when `buffered`
  bool buffered = true;
  bool repeatable = false;  // sending it twice is harmless
  bool body_started = false;
  bool upgrade = false;
  bool is_head = false;
  std::string failure;  // of the last attempt
  int failure_status = 502;
};

void Proxy::set_routes(RouteTablePtr routes) {
  std::scoped_lock lock(mutex_);
  routes_ = std::move(routes);
}

RouteTablePtr Proxy::routes() const {
  std::scoped_lock lock(mutex_);
  return routes_;
}

Task<> Proxy::handle(Request& request, Response& response, bool tls) {
  auto table = routes();
  size_t question = request.target.find('?');
  auto path = canonical_path(std::string_view(request.target).substr(0, question));
  auto host = canonical_host(request.headers.get("Host"));
  if (!path || !host) {
    co_await answer(response, 400, path ? host.error().message : path.error().message);
    co_return;
  }
  if (tls) {
    auto sni = canonical_host(request.stream().sni());
    if (sni && !sni->empty() && *sni != *host) {
      co_await answer(response, 421, "the name of the TLS connection and the Host field differ");
      co_return;
    }
  }
  auto match = table->match(*host, *path);
  if (match.host && match.host->redirect_to_tls && !tls) {
    response.status = 308;
    response.headers.set("Location", "https://" + *host + request.target);
    co_await response.send(std::string_view());
    co_return;
  }
  if (!match.backend) {
    co_await answer(response, 404, "no Ingress has a rule for this host and path");
    co_return;
  }

  Exchange x{.request = request, .response = response, .backend = match.backend};
  const auto& h = request.headers;
  x.upgrade = h.has_token("Connection", "upgrade") && h.has("Upgrade");
  x.is_head = request.method == "HEAD";
  x.repeatable = !x.upgrade && request.method != "POST" && request.method != "PATCH" && request.method != "CONNECT";
  std::string peer = request.stream().peer_address();
  std::string_view client = address_only(peer);
  std::string_view connection = h.get("Connection");
  x.head.reserve(1024);
  auto out = std::back_inserter(x.head);
  fmt::format_to(out, "{} {}{} HTTP/1.1\r\nHost: {}\r\n", request.method, *path, question == std::string::npos ? std::string_view() : std::string_view(request.target).substr(question),
                 h.get("Host"));
  for (const auto& [name, value] : h) {
    if (hop_by_hop(name) || set_by_us(name) || listed(connection, name)) continue;
    fmt::format_to(out, "{}: {}\r\n", name, value);
  }
  fmt::format_to(out, "X-Forwarded-For: {0}\r\nX-Real-IP: {0}\r\nX-Forwarded-Host: {1}\r\nX-Forwarded-Proto: {2}\r\nX-Forwarded-Port: {3}\r\n", client, h.get("Host"),
                 tls ? "https" : "http", tls ? 443 : 80);
  if (x.upgrade) fmt::format_to(out, "Connection: Upgrade\r\nUpgrade: {}\r\n", h.get("Upgrade"));
  if (request.has_body()) {
    std::string_view length = h.get("Content-Length");
    x.buffered = !length.empty() && length.size() <= 5 && static_cast<size_t>(std::strtoul(std::string(length).c_str(), nullptr, 10)) <= kBuffered;
    if (x.buffered) {
      auto body = co_await request.body(kBuffered);
      if (!body) {
        co_await answer(response, body.error().code, body.error().message);
        co_return;
      }
      x.body = std::move(*body);
    }
    if (length.empty()) x.head += "Transfer-Encoding: chunked\r\n";
    else fmt::format_to(out, "Content-Length: {}\r\n", length);
  }
  x.head += "\r\n";
  co_await forward(x);
}

Task<> Proxy::forward(Exchange& x) {
  auto endpoints = x.backend->endpoints();
  if (endpoints->empty()) {
    co_await answer(x.response, 503, "the service has no ready endpoint");
    co_return;
  }
  size_t turn = x.backend->next();
  bool fresh = !x.buffered;
  for (int i = 0; i < kAttempts; ++i) {
    Endpoint endpoint = (*endpoints)[(turn + static_cast<size_t>(i)) % endpoints->size()];
    if (co_await attempt(x, endpoint, fresh)) co_return;
    // What is gone may have been replaced meanwhile.
    auto now = x.backend->endpoints();
    if (now != endpoints && !now->empty()) endpoints = now;
    if (i > 0) fresh = true;
  }
  co_await answer(x.response, x.failure_status, x.failure);
}

// True when an answer was sent (or the client is gone); false when another endpoint may be tried.
Task<bool> Proxy::attempt(Exchange& x, Endpoint endpoint, bool fresh) {
  auto acquired = co_await upstream_.acquire(endpoint, fresh);
  if (!acquired) {
    x.failure = "the backend cannot be reached";
    x.failure_status = acquired.error().code == 504 ? 504 : 502;
    co_return false;
  }
  Connection c = std::move(*acquired);
  c.stream->set_write_deadline(base::Clock::now() + kBodyTime);
  auto sent = co_await send_request(x, c);
  // A backend may answer before it has read everything, so a failed write is not the last word, unless nothing can come.
  c.stream->set_read_deadline(base::Clock::now() + kHeadTime);
  size_t scanned = 0, head_size = 0;
  bool first_byte = false;
  for (;;) {
    auto found = base::http::find_head_end(c.buffer.view(), scanned);
    if (!found || c.buffer.view().size() > kHeadLimit) {
      x.failure = "the backend's answer is malformed";
      x.failure_status = 502;
      co_await answer(x.response, 502, x.failure);
      co_return true;
    }
    head_size = *found;
    if (head_size) {
      Head interim;
      if (base::http::parse_response_head(c.buffer.view().substr(0, head_size), 200, interim) && interim.status >= 100 && interim.status < 200 && interim.status != 101) {
        c.buffer.consume(head_size);
        scanned = 0;
        continue;
      }
      break;
    }
    auto room = c.buffer.room(8192);
    auto n = co_await c.stream->read(room);
    if (n && *n > 0) {
      c.buffer.commit(*n);
      first_byte = true;
      continue;
    }
    bool late = !n && n.error().code == 504;
    x.failure = late ? "the backend did not answer in time" : "the backend closed the connection";
    x.failure_status = late ? 504 : 502;
    bool again = !first_byte && !late && !x.body_started && (x.repeatable || (c.reused && !sent));
    if (again) co_return false;
    co_await answer(x.response, x.failure_status, x.failure);
    co_return true;
  }
  co_await relay(x, std::move(endpoint), std::move(c), head_size);
  co_return true;
}

Task<Result<>> Proxy::send_request(Exchange& x, Connection& c) {
  if (x.buffered) {
    std::string_view parts[] = {x.head, x.body};
    co_return co_await c.stream->write(std::span<const std::string_view>(parts, x.body.empty() ? 1 : 2));
  }
  x.body_started = true;
  bool chunked = x.request.headers.get("Content-Length").empty();
  CO_CHECK_OK(co_await c.stream->write(std::string_view(x.head)));
  auto chunk = std::make_unique<std::array<char, 32768>>();
  for (;;) {
    auto n = co_await x.request.read_some(*chunk);
    if (!n) co_return std::unexpected(n.error());
    std::string_view data(chunk->data(), *n);
    c.stream->set_write_deadline(base::Clock::now() + kBodyTime);
    if (chunked) {
      std::string size = fmt::format("{:x}\r\n", data.size());
      std::string_view parts[] = {size, data, "\r\n"};
      CO_CHECK_OK(co_await c.stream->write(std::span<const std::string_view>(parts)));
    } else if (!data.empty()) {
      CO_CHECK_OK(co_await c.stream->write(data));
    }
    if (data.empty()) co_return Result<>{};
  }
}

Task<> Proxy::relay(Exchange& x, Endpoint endpoint, Connection c, size_t head_size) {
  // The head's views point into a copy: the buffer moves on with the body.
  std::string text(c.buffer.view().substr(0, head_size));
  c.buffer.consume(head_size);
  Head head;
  if (auto parsed = base::http::parse_response_head(text, 200, head); !parsed) {
    co_await answer(x.response, 502, "the backend's answer is malformed");
    co_return;
  }
  std::string_view connection = head.get("Connection");
  x.response.status = head.status;
  for (const auto& [name, value] : head.fields) {
    if (hop_by_hop(name) || listed(connection, name) || base::http::equal_ignoring_case(name, "content-length")) continue;
    x.response.headers.add(name, value);
  }
  if (head.status == 101) {
    if (!x.upgrade) {
      co_await answer(x.response, 502, "the backend switched protocols without being asked");
      co_return;
    }
    x.response.headers.set("Connection", "Upgrade");
    x.response.headers.set("Upgrade", head.get("Upgrade"));
    co_await tunnel(x, std::move(c));
    co_return;
  }
  base::http::Body body;
  bool bodiless = x.is_head || head.status == 204 || head.status == 304;
  if (bodiless) body.start(base::http::Body::Framing::none);
  else if (head.chunked) body.start(base::http::Body::Framing::chunked);
  else if (head.content_length) body.start(base::http::Body::Framing::length, *head.content_length);
  else body.start(base::http::Body::Framing::until_close);

  bool whole = bodiless || (head.content_length && !head.chunked && *head.content_length <= kBuffered);
  Result<> delivered;
  if (whole) {
    std::string data;
    if (!bodiless) data.resize(static_cast<size_t>(*head.content_length));
    size_t have = 0;
    while (have < data.size()) {
      auto n = co_await body.read(*c.stream, c.buffer, std::span<char>(data.data() + have, data.size() - have));
      if (!n || *n == 0) {
        co_await answer(x.response, 502, "the backend closed the connection in the middle of its answer");
        co_return;
      }
      have += *n;
    }
    delivered = co_await x.response.send(std::string_view(data));
  } else {
    delivered = co_await x.response.begin();
    auto chunk = std::make_unique<std::array<char, 65536>>();
    while (delivered) {
      c.stream->set_read_deadline(base::Clock::now() + std::chrono::hours(1));
      auto n = co_await body.read(*c.stream, c.buffer, *chunk);
      // Without end(), the server closes the connection: the client sees that the answer is cut.
      if (!n) co_return;
      if (*n == 0) break;
      delivered = co_await x.response.write(std::string_view(chunk->data(), *n));
    }
    if (delivered) delivered = co_await x.response.end();
  }
  if (delivered && head.keep_alive && body.done() && body.framing() != base::http::Body::Framing::until_close && c.buffer.empty() && !x.body_started)
    upstream_.release(endpoint, std::move(c));
}

Task<> Proxy::tunnel(Exchange& x, Connection c) {
  auto upgraded = co_await x.response.upgrade();
  if (!upgraded) co_return;
  base::http::Stream& client = **upgraded;
  c.stream->set_read_deadline(std::nullopt);
  c.stream->set_write_deadline(std::nullopt);
  if (!c.buffer.empty()) {
    std::string first(c.buffer.view());
    if (auto r = co_await client.write(std::string_view(first)); !r) co_return;
  }
  co_await base::http::pipe(client, *c.stream);
}

}  // namespace ingress
