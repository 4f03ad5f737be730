#include "base/http/connection.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include <boost/system/system_error.hpp>

#include "base/http/body.h"
#include "base/log.h"

namespace base::http {
namespace {

constexpr size_t kIdleBuffer = 4096;
constexpr Duration kShortIdle = 1s;  // until buffers are given back
constexpr size_t kDrain = 256 * 1024;
constexpr size_t kSlice = 256 * 1024;  // a write timeout is per slice

class ConnectionImpl;
using ConnectionPtr = std::shared_ptr<ConnectionImpl>;

class RequestImpl final : public Request {
 public:
  explicit RequestImpl(ConnectionImpl& c) : c_(c) {}
  Stream& stream() override;
  Task<Result<std::string>> body(size_t limit) override;
  Task<Result<size_t>> read_some(std::span<char> into) override;
  bool has_body() const override;

 private:
  ConnectionImpl& c_;
};

class ResponseImpl final : public Response {
 public:
  explicit ResponseImpl(ConnectionImpl& c) : c_(c) {}
  Task<Result<>> send(std::span<const std::string_view> parts) override;
  Task<Result<>> begin() override;
  Task<Result<>> write(std::span<const std::string_view> parts) override;
  Task<Result<>> end() override;
  Task<Result<Stream*>> upgrade() override;
  bool started() const override;
  Task<> client_gone() override;
  using Response::send;
  using Response::write;

 private:
  ConnectionImpl& c_;
};

class ConnectionImpl final : public Connection, public std::enable_shared_from_this<ConnectionImpl> {
 public:
  ConnectionImpl(std::unique_ptr<Stream> s, const Handler& h, const Limits& l) : stream(std::move(s)), handler(h), limits(l) {}

  Task<> serve() override {
    auto self = shared_from_this();
    for (;;) {
      // A request that has begun to arrive is answered.
      idle_ = buffer.empty();
      if (finishing_ && idle_) break;
      Received received = co_await receive_head();
      if (received == Received::nothing) {
        // Idle for longer: no buffers are held, and only this frame.
        buffer.release();
        stream->set_read_deadline(Clock::now() + limits.idle_timeout);
        auto ready = co_await stream->ready();
        if (!ready) break;
        continue;
      }
      if (received == Received::end) break;
      idle_ = false;
      std::exception_ptr failure;
      try {
        co_await handler(request, response);
      } catch (...) {
        failure = std::current_exception();
      }
      if (failure && !log_failure(request, failure)) std::rethrow_exception(failure);
      if (phase == Phase::none) {
        keep_alive = keep_alive && !failure;
        response.status = 500;
        response.headers = Headers{};
        static constexpr std::string_view text[] = {"internal error\n"};
        co_await response.send(text);
      } else if (phase == Phase::streaming) {
        // Unfinished: the missing last chunk tells the client.
        keep_alive = keep_alive && !failure;
        if (failure) break;
        co_await response.end();
      }
      if (phase == Phase::upgraded || phase == Phase::broken || watching) break;
      if (!keep_alive || (finishing_ && buffer.empty())) {
        co_await linger();
        break;
      }
      bool clean = co_await drain();
      if (!clean) {
        co_await linger();
        break;
      }
    }
    stream->close();
  }

  void finish() override {
    finishing_ = true;
    if (idle_) stream->close();
  }

  // Writes within the write timeout, which applies to every 256 KiB.
  Task<Result<>> write_out(std::span<const std::string_view> parts) {
    size_t total = 0;
    for (auto p : parts) total += p.size();
    stream->set_write_deadline(Clock::now() + limits.write_timeout);
    if (total <= kSlice) {
      auto r = co_await stream->write(parts);
      if (!r) phase = Phase::broken;
      co_return r;
    }
    std::array<std::string_view, 32> slice;
    size_t part = 0, offset = 0;
    while (part < parts.size()) {
      size_t count = 0, size = 0;
      while (part < parts.size() && count < slice.size() && size < kSlice) {
        std::string_view piece = parts[part].substr(offset, kSlice - size);
        slice[count++] = piece;
        size += piece.size();
        offset += piece.size();
        if (offset == parts[part].size()) {
          ++part;
          offset = 0;
        }
      }
      stream->set_write_deadline(Clock::now() + limits.write_timeout);
      auto r = co_await stream->write(std::span<const std::string_view>(slice.data(), count));
      if (!r) {
        phase = Phase::broken;
        co_return r;
      }
    }
    co_return Result<>{};
  }

  // Status line and fields, with framing as given.
  void format_head(std::optional<size_t> length, bool in_chunks) {
    head_text.clear();
    int status = response.status;
    fmt::format_to(std::back_inserter(head_text), "HTTP/1.1 {} {}\r\n", status, status_text(status));
    bool has_date = false;
    for (auto& [name, value] : response.headers) {
      if (name.size() == 4 && equal_ignoring_case(name, "date")) has_date = true;
      // Framing is ours alone; nothing from a handler may break a line.
      if (equal_ignoring_case(name, "content-length") || equal_ignoring_case(name, "transfer-encoding")) continue;
      if (phase != Phase::upgraded && equal_ignoring_case(name, "connection")) {
        if (equal_ignoring_case(value, "close")) keep_alive = false;
        continue;
      }
      if (name.find_first_of("\r\n: ") != std::string::npos || value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
        continue;
      head_text += name;
      head_text += ": ";
      head_text += value;
      head_text += "\r\n";
    }
    if (!has_date) head_text += date_line();
    if (length) fmt::format_to(std::back_inserter(head_text), "Content-Length: {}\r\n", *length);
    if (in_chunks) head_text += "Transfer-Encoding: chunked\r\n";
    if (phase != Phase::upgraded) {
      if (finishing_) keep_alive = false;
      if (!keep_alive) head_text += "Connection: close\r\n";
      else if (minor == 0) head_text += "Connection: keep-alive\r\n";
    }
    head_text += "\r\n";
  }

  bool bodiless() const { return head_request || response.status == 204 || response.status == 304 || response.status < 200; }

  // A body that will not be read to its end takes the connection with it.
  void settle_keep_alive() {
    if (body.done()) return;
    if (expect_continue || (body.framing() == Body::Framing::length && body.left() > kDrain + buffer.view().size())) keep_alive = false;
  }

  Task<Result<size_t>> read_body(std::span<char> into) {
    if (body.done()) co_return 0;
    if (expect_continue) {
      expect_continue = false;
      if (phase == Phase::none && buffer.empty()) {
        static constexpr std::string_view go_on[] = {"HTTP/1.1 100 Continue\r\n\r\n"};
        CO_CHECK_OK(co_await write_out(go_on));
      }
    }
    auto n = co_await body.read(*stream, buffer, into);
    if (!n) keep_alive = false;
    co_return n;
  }

  std::unique_ptr<Stream> stream;
  const Handler& handler;
  const Limits limits;
  ReadBuffer buffer;
  Body body;
  std::string head_text;
  RequestImpl request{*this};
  ResponseImpl response{*this};
  std::unique_ptr<Stream> replay;
  enum class Phase { none, streaming, done, upgraded, broken } phase = Phase::none;
  int minor = 1;
  bool keep_alive = true;
  bool head_request = false;
  bool chunked = false;
  bool expect_continue = false;
  bool watching = false;  // a client_gone() is reading

 private:
  enum class Received { request, nothing, end };
  // A malformed request has been answered when it returns `end`.
  Task<Received> receive_head() {
    buffer.shrink(kIdleBuffer);
    size_t scanned = 0;
    bool began = !buffer.empty();
    Duration wait = std::min<Duration>(limits.idle_timeout, kShortIdle);
    stream->set_read_deadline(Clock::now() + (began ? limits.header_timeout : wait));
    for (;;) {
      // One empty line before a request is forgiven (RFC 9112 part 2.2).
      if (scanned == 0 && buffer.view().substr(0, 2) == "\r\n") buffer.consume(2);
      auto length = find_head_end(buffer.view(), scanned);
      if (!length) co_return co_await refuse(length.error());
      if (*length > limits.header_bytes || (*length == 0 && buffer.view().size() >= limits.header_bytes))
        co_return co_await refuse(fail(431, "BadRequest", "the header is too large").error());
      if (*length > 0) {
        auto taken = take_head(buffer.view().substr(0, *length));
        if (!taken) co_return co_await refuse(taken.error());
        buffer.consume(*length);
        stream->set_read_deadline(std::nullopt);
        co_return Received::request;
      }
      auto n = co_await stream->read(buffer.room(buffer.view().empty() ? kIdleBuffer : 2048));
      if (!n && n.error().code == 504 && began)
        co_return co_await refuse(fail(408, "Timeout", "the header did not arrive in time").error());
      if (!n && n.error().code == 504 && !began) co_return wait < limits.idle_timeout ? Received::nothing : Received::end;
      if (!n || *n == 0) co_return Received::end;
      idle_ = false;
      buffer.commit(*n);
      if (!began) stream->set_read_deadline(Clock::now() + limits.header_timeout);
      began = true;
    }
  }

  Result<> take_head(std::string_view text) {
    thread_local Head head;
    CHECK_OK(parse_request_head(text, limits.headers, head));
    phase = Phase::none;
    minor = head.minor;
    keep_alive = head.keep_alive;
    head_request = head.method == "HEAD";
    expect_continue = head.expect_continue;
    response.status = 200;
    response.headers = Headers{};
    request.deadline.reset();
    request.method.assign(head.method);
    request.target.assign(head.target);
    std::string_view origin = head.target;
    std::string_view authority;
    // The absolute form names the host itself (RFC 9112 part 3.2.2).
    if (origin.front() != '/') {
      size_t scheme = origin.find("://");
      if (scheme != std::string_view::npos) {
        authority = origin.substr(scheme + 3);
        size_t slash = std::min(authority.find_first_of("/?"), authority.size());
        origin = authority.substr(slash);
        authority = authority.substr(0, slash);
        if (authority.empty() || authority.find('@') != std::string_view::npos) return bad_request("a malformed request target");
      } else if (head.method != "CONNECT" && !(head.target == "*" && head.method == "OPTIONS")) {
        return bad_request("a malformed request target");
      }
    }
    size_t mark = origin.find('?');
    request.path.assign(origin.substr(0, mark));
    if (request.path.empty()) request.path = "/";
    if (mark == std::string_view::npos) {
      if (!request.query.empty()) request.query = Query{};
    } else {
      request.query = Query(origin.substr(mark + 1));
    }
    request.headers = Headers{};
    for (auto& [name, value] : head.fields) request.headers.add(name, value);
    if (!authority.empty()) request.headers.set("Host", authority);
    if (head.chunked) body.start(Body::Framing::chunked);
    else if (head.content_length) body.start(Body::Framing::length, *head.content_length);
    else body.start(Body::Framing::none);
    return {};
  }

  Task<Received> refuse(Error error) {
    body.start(Body::Framing::until_close);  // what follows is not understood
    int status = error.code >= 400 && error.code < 600 ? error.code : 400;
    std::string text = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}\n",
                                   status, status_text(status), error.message.size() + 1, error.message);
    std::string_view parts[] = {text};
    auto sent = co_await write_out(parts);
    if (sent) co_await linger();
    co_return Received::end;
  }

  // Reads what is left of the request, so that the next one can be found. False when that is too much.
  Task<bool> drain() {
    if (body.done()) co_return true;
    if (expect_continue) co_return false;
    stream->set_read_deadline(Clock::now() + 10s);
    std::string scratch(16 * 1024, '\0');
    size_t total = 0;
    while (!body.done()) {
      auto n = co_await body.read(*stream, buffer, scratch);
      if (!n) co_return false;
      total += *n;
      if (total > kDrain) co_return false;
    }
    co_return true;
  }

  // Closing while the client still sends would reset the connection and could take the response with it: the end is
  // announced and what comes is read for a moment.
  Task<> linger() {
    auto ended = co_await stream->shutdown_write();
    if (!ended || (body.done() && buffer.empty())) co_return;
    stream->set_read_deadline(Clock::now() + 2s);
    std::string scratch(16 * 1024, '\0');
    for (size_t total = 0; total < 4 * kDrain;) {
      auto n = co_await stream->read(scratch);
      if (!n || *n == 0) break;
      total += *n;
    }
  }

  bool idle_ = true;
  bool finishing_ = false;
};

Stream& RequestImpl::stream() { return *c_.stream; }
bool RequestImpl::has_body() const { return !c_.body.done(); }
Task<Result<size_t>> RequestImpl::read_some(std::span<char> into) { return c_.read_body(into); }

Task<Result<std::string>> RequestImpl::body(size_t limit) {
  std::string out;
  auto& body = c_.body;
  bool sized = body.framing() == Body::Framing::length;
  if (sized && body.left() > limit) {
    co_return too_large(fmt::format("the request body is larger than {} bytes", limit));
  }
  out.resize(std::min(limit, sized ? static_cast<size_t>(body.left()) : size_t{8192}));
  size_t used = 0;
  while (!body.done()) {
    if (used == out.size()) {
      if (used == limit) {
        // One byte more decides.
        char extra = 0;
        auto n = co_await c_.read_body({&extra, 1});
        if (!n) co_return std::unexpected(std::move(n.error()));
        if (*n > 0) co_return too_large(fmt::format("the request body is larger than {} bytes", limit));
        break;
      }
      out.resize(std::min(limit, out.size() * 2));
    }
    TimePoint until = Clock::now() + c_.limits.idle_timeout;
    c_.stream->set_read_deadline(deadline ? std::min(until, *deadline) : until);
    auto n = co_await c_.read_body({out.data() + used, out.size() - used});
    if (!n) co_return std::unexpected(std::move(n.error()));
    used += *n;
  }
  c_.stream->set_read_deadline(std::nullopt);
  out.resize(used);
  co_return out;
}

bool ResponseImpl::started() const { return c_.phase != ConnectionImpl::Phase::none; }

Task<Result<>> ResponseImpl::send(std::span<const std::string_view> parts) {
  using Phase = ConnectionImpl::Phase;
  if (c_.phase != Phase::none) co_return internal("the response has begun already");
  size_t total = 0;
  for (auto p : parts) total += p.size();
  c_.settle_keep_alive();
  bool sized = status >= 200 && status != 204 && !(status == 304 && total == 0);
  c_.format_head(sized ? std::optional(total) : std::nullopt, false);
  c_.phase = Phase::done;
  if (c_.bodiless()) parts = {};
  if (parts.size() < 8) {
    std::array<std::string_view, 8> all;
    all[0] = c_.head_text;
    std::copy(parts.begin(), parts.end(), all.begin() + 1);
    co_return co_await c_.write_out(std::span<const std::string_view>(all.data(), parts.size() + 1));
  }
  std::vector<std::string_view> all;
  all.reserve(parts.size() + 1);
  all.push_back(c_.head_text);
  all.insert(all.end(), parts.begin(), parts.end());
  co_return co_await c_.write_out(all);
}

Task<Result<>> ResponseImpl::begin() {
  using Phase = ConnectionImpl::Phase;
  if (c_.phase != Phase::none) co_return internal("the response has begun already");
  c_.settle_keep_alive();
  c_.chunked = c_.minor >= 1 && !c_.bodiless();
  if (!c_.chunked && !c_.bodiless()) c_.keep_alive = false;
  c_.format_head(std::nullopt, c_.chunked);
  c_.phase = Phase::streaming;
  std::string_view parts[] = {c_.head_text};
  co_return co_await c_.write_out(parts);
}

Task<Result<>> ResponseImpl::write(std::span<const std::string_view> parts) {
  using Phase = ConnectionImpl::Phase;
  if (c_.phase == Phase::broken) co_return unavailable("the client is gone");
  if (c_.phase != Phase::streaming) co_return internal("no response has begun");
  if (c_.bodiless()) co_return Result<>{};
  size_t total = 0;
  for (auto p : parts) total += p.size();
  if (total == 0) co_return Result<>{};
  if (!c_.chunked) co_return co_await c_.write_out(parts);
  char size[24];
  auto end = fmt::format_to_n(size, sizeof size, "{:x}\r\n", total).out;
  std::string_view first(size, static_cast<size_t>(end - size));
  if (parts.size() <= 6) {
    std::array<std::string_view, 8> all;
    all[0] = first;
    std::copy(parts.begin(), parts.end(), all.begin() + 1);
    all[parts.size() + 1] = "\r\n";
    co_return co_await c_.write_out(std::span<const std::string_view>(all.data(), parts.size() + 2));
  }
  std::vector<std::string_view> all;
  all.reserve(parts.size() + 2);
  all.push_back(first);
  all.insert(all.end(), parts.begin(), parts.end());
  all.push_back("\r\n");
  co_return co_await c_.write_out(all);
}

Task<Result<>> ResponseImpl::end() {
  using Phase = ConnectionImpl::Phase;
  if (c_.phase == Phase::broken) co_return unavailable("the client is gone");
  if (c_.phase != Phase::streaming) co_return internal("no response has begun");
  c_.phase = Phase::done;
  if (!c_.chunked) co_return Result<>{};
  static constexpr std::string_view last[] = {"0\r\n\r\n"};
  co_return co_await c_.write_out(last);
}

Task<Result<Stream*>> ResponseImpl::upgrade() {
  using Phase = ConnectionImpl::Phase;
  if (c_.phase != Phase::none) co_return internal("the response has begun already");
  if (!c_.body.done()) co_return bad_request("an upgrade request must not have a body");
  if (c_.watching) co_return internal("client_gone() is waiting");
  if (status == 200 && c_.request.method != "CONNECT") status = 101;
  c_.phase = Phase::upgraded;
  c_.format_head(std::nullopt, false);
  std::string_view parts[] = {c_.head_text};
  CO_CHECK_OK(co_await c_.write_out(parts));
  c_.stream->set_write_deadline(std::nullopt);
  c_.stream->set_read_deadline(std::nullopt);
  if (c_.buffer.empty()) co_return c_.stream.get();
  c_.replay = make_replay_stream(std::string(c_.buffer.view()), *c_.stream, nullptr);
  c_.buffer.consume(c_.buffer.view().size());
  co_return c_.replay.get();
}

// Waits until reading fails. What a client sends ahead is kept for the next request, up to a bound.
Task<> wait_gone(ConnectionPtr c) {
  struct Watching {
    bool& flag;
    explicit Watching(bool& f) : flag(f) { flag = true; }
    ~Watching() { flag = false; }
  };
  if (c->watching || c->phase == ConnectionImpl::Phase::upgraded) co_return;
  Watching guard(c->watching);
  c->stream->set_read_deadline(std::nullopt);
  // A body nobody reads is not the next request; it is dropped.
  char scratch[512];
  while (!c->body.done()) {
    auto n = co_await c->read_body(scratch);
    if (!n) co_return;
  }
  while (c->buffer.view().size() < 64 * 1024) {
    auto n = co_await c->stream->read(c->buffer.room(512));
    if (!n || *n == 0) break;
    c->buffer.commit(*n);
  }
  c->keep_alive = false;
}

Task<> ResponseImpl::client_gone() { return wait_gone(c_.shared_from_this()); }

Task<> serve_with(std::unique_ptr<Stream> stream, Handler handler, Limits limits) {
  auto connection = make_connection(std::move(stream), handler, limits);
  co_await connection->serve();
}

}  // namespace

bool log_failure(const Request& request, std::exception_ptr failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const boost::system::system_error& e) {
    if (e.code() == boost::system::errc::operation_canceled) return false;
    log::error("http", "{} {}: {}", request.method, request.path, e.what());
  } catch (const std::exception& e) {
    log::error("http", "{} {}: {}", request.method, request.path, e.what());
  } catch (...) {
    log::error("http", "{} {}: an unknown exception", request.method, request.path);
  }
  return true;
}

std::shared_ptr<Connection> make_connection(std::unique_ptr<Stream> stream, const Handler& handler, const Limits& limits) {
  if (stream->alpn() == "h2") return make_http2_connection(std::move(stream), handler, limits);
  return std::make_shared<ConnectionImpl>(std::move(stream), handler, limits);
}

Task<> serve_connection(std::unique_ptr<Stream> stream, Handler handler, Limits limits) {
  return serve_with(std::move(stream), std::move(handler), limits);
}

}  // namespace base::http
