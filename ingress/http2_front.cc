#include "ingress/http2_front.h"

#include <fmt/format.h>

#include <boost/system/system_error.hpp>

#include "base/http/body.h"
#include "base/http/connection.h"
#include "base/http/wire.h"
#include "ingress/front.h"
#include "ingress/headers.h"

namespace ingress {
namespace {

using base::Result;
using base::Task;
using base::http::Body;
using base::http::equal_ignoring_case;
using base::http::Request;
using base::http::Response;
using base::http::Stream;

constexpr size_t kPiece = 16 * 1024;
constexpr size_t kMaxFields = 200;

// The inner end, with the names of the client's connection.
class Inner final : public Stream {
 public:
  Inner(std::unique_ptr<Stream> below, Stream& client) : below_(std::move(below)), peer_(client.peer_address()), sni_(client.sni()) {}
  Task<Result<size_t>> read(std::span<char> into) override { return below_->read(into); }
  Task<Result<>> write(std::span<const std::string_view> parts) override { return below_->write(parts); }
  Task<Result<>> shutdown_write() override { return below_->shutdown_write(); }
  void close() override { below_->close(); }
  void set_read_deadline(std::optional<base::TimePoint> t) override { below_->set_read_deadline(t); }
  void set_write_deadline(std::optional<base::TimePoint> t) override { below_->set_write_deadline(t); }
  std::string peer_address() const override { return peer_; }
  std::string local_address() const override { return below_->local_address(); }
  const std::string& peer_certificate() const override { return below_->peer_certificate(); }
  std::string_view sni() const override { return sni_; }
  bool quiet() override { return below_->quiet(); }

 private:
  const std::unique_ptr<Stream> below_;
  const std::string peer_, sni_;
};

std::string request_head(const Request& q) {
  std::string out = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", q.method, q.target, q.headers.get("host"));
  std::string cookies;
  for (auto& [name, value] : q.headers) {
    if (is_hop_by_hop(name) || equal_ignoring_case(name, "host") || equal_ignoring_case(name, "expect")) continue;
    if (equal_ignoring_case(name, "cookie")) {
      // Split for compression; one field in HTTP/1.1 (RFC 9113 part 8.2.3).
      if (!cookies.empty()) cookies += "; ";
      cookies += value;
      continue;
    }
    fmt::format_to(std::back_inserter(out), "{}: {}\r\n", name, value);
  }
  if (!cookies.empty()) fmt::format_to(std::back_inserter(out), "Cookie: {}\r\n", cookies);
  if (q.has_body() && !q.headers.has("content-length")) out += "Transfer-Encoding: chunked\r\n";
  return out + "\r\n";
}

// The request's body into the inner connection; then waits for the client to go away.
Task<> send_request(Request& q, Response& r, Stream& inner) {
  const bool chunked = !q.headers.has("content-length");
  if (q.has_body()) {
    auto buffer = std::make_unique_for_overwrite<char[]>(kPiece);
    for (;;) {
      auto n = co_await q.read_some({buffer.get(), kPiece});
      if (!n) co_return;
      if (*n == 0) break;
      std::string size = chunked ? fmt::format("{:x}\r\n", *n) : std::string();
      std::string_view parts[] = {size, {buffer.get(), *n}, chunked ? "\r\n" : ""};
      auto sent = co_await inner.write(std::span<const std::string_view>(parts));
      if (!sent) break;  // refused early: the answer counts
    }
    if (chunked) co_await inner.write("0\r\n\r\n");
  }
  co_await r.client_gone();
}

// Reads up to the end of the answer's head; 0 when it does not come.
Task<size_t> await_head(Stream& inner, base::http::ReadBuffer& in) {
  size_t scanned = 0;
  for (;;) {
    auto size = base::http::find_head_end(in.view(), scanned);
    if (!size) co_return 0;
    if (*size > 0) co_return *size;
    auto n = co_await inner.read(in.room(4096));
    if (!n || *n == 0) co_return 0;
    in.commit(*n);
  }
}

Task<> relay_answer(Stream& inner, Request& q, Response& r) {
  base::http::ReadBuffer in;
  Body body;
  for (;;) {
    size_t size = co_await await_head(inner, in);
    base::http::Head head;
    auto parsed =
        size > 0 ? base::http::parse_response_head(in.view().substr(0, size), kMaxFields, head) : Result<>(base::unavailable("no answer"));
    if (!parsed) {
      r.status = 502;
      co_await r.send("502 Bad Gateway\n");
      co_return;
    }
    const int status = head.status;
    if (status >= 200) {
      r.status = status;
      for (auto& [name, value] : head.fields)
        if (!is_hop_by_hop(name)) r.headers.add(name, value);
      if (q.method == "HEAD" || status == 204 || status == 304) body.start(Body::Framing::none);
      else if (head.chunked) body.start(Body::Framing::chunked);
      else body.start(head.content_length ? Body::Framing::length : Body::Framing::until_close, head.content_length.value_or(0));
    }
    in.consume(size);
    if (status >= 200) break;
  }
  auto begun = co_await r.begin();
  if (!begun) co_return;
  auto buffer = std::make_unique_for_overwrite<char[]>(kPiece);
  while (!body.done()) {
    auto n = co_await body.read(inner, in, {buffer.get(), kPiece});
    // What was sent is not whole, and the client is to see that: the stream is reset.
    if (!n) throw boost::system::system_error(make_error_code(boost::system::errc::operation_canceled));
    if (*n == 0) break;
    auto sent = co_await r.write(std::string_view(buffer.get(), *n));
    if (!sent) co_return;
  }
  co_await r.end();
}

Task<> serve_inner(std::shared_ptr<base::http::Connection> front) { co_await front->serve(); }

Task<> relay(Proxy& proxy, Proxy::Lane& lane, bool tls, uint16_t port, Request& q, Response& r) {
  auto [near, far] = base::http::make_stream_pair(lane.strand, lane.strand);
  std::unique_ptr<Stream> inner = std::move(near);
  proxy.tasks().spawn("ingress request", lane.strand,
                      serve_inner(make_front(proxy, lane, std::make_unique<Inner>(std::move(far), q.stream()), tls, port)));
  std::string head = request_head(q);
  auto sent = co_await inner->write(head);
  if (!sent) co_return;
  co_await base::race(relay_answer(*inner, q, r), send_request(q, r, *inner));
}

class Http2Front final : public base::http::Connection, public std::enable_shared_from_this<Http2Front> {
 public:
  Http2Front(Proxy& proxy, Proxy::Lane& lane, std::unique_ptr<Stream> client, bool tls, uint16_t port)
      : handler_([&proxy, &lane, tls, port](Request& q, Response& r) { return relay(proxy, lane, tls, port, q, r); }),
        connection_(base::http::make_http2_connection(std::move(client), handler_, {})) {}
  Task<> serve() override {
    auto self = shared_from_this();
    co_await connection_->serve();
  }
  void finish() override { connection_->finish(); }

 private:
  const base::http::Handler handler_;
  const std::shared_ptr<base::http::Connection> connection_;
};

}  // namespace

std::shared_ptr<base::http::Connection> make_http2_front(Proxy& proxy, Proxy::Lane& lane, std::unique_ptr<Stream> client, bool tls,
                                                         uint16_t port) {
  return std::make_shared<Http2Front>(proxy, lane, std::move(client), tls, port);
}

}  // namespace ingress
