#include "ingress/front.h"

#include <algorithm>

#include <fmt/format.h>

#include "ingress/front_state.h"
#include "ingress/headers.h"
#include "ingress/path.h"

namespace ingress {
namespace {

constexpr size_t kIdleBuffer = 4096;
constexpr size_t kBuffered = 64 * 1024;  // request bodies up to this size can be sent again
constexpr int kAttempts = 4;
constexpr base::Duration kIdleTime = std::chrono::seconds(120);
constexpr base::Duration kShortIdle = std::chrono::seconds(1);  // until buffers are given back
constexpr base::Duration kHeadTime = std::chrono::seconds(30);

}  // namespace

Task<> Front::serve() {
  auto self = shared_from_this();
  for (;;) {
    idle_ = true;
    if (finishing_) break;
    size_t head_size = 0;
    int refused = co_await receive_head(head_size);
    if (refused == kEnded) {
      client_->close();
      co_return;
    }
    if (refused == kNothing) {
      // Idle for longer: no buffers are held, and only this frame.
      in_.release();
      client_->set_read_deadline(Clock::now() + kIdleTime);
      auto ready = co_await client_->ready();
      if (!ready) break;
      continue;
    }
    idle_ = false;
    if (refused != 0) {
      keep_alive_ = false;
      request_body_.start(Body::Framing::until_close);
      co_await refuse(refused, note_);
      break;
    }
    answered_ = false;
    note_.clear();
    int status = take_head(in_.view().substr(0, head_size));
    in_.consume(head_size);
    if (status != 0) {
      co_await refuse(status, note_);
    } else {
      co_await forward();
    }
    backend_.reset();
    if (!keep_alive_ || finishing_) break;
  }
  co_await linger();
  client_->close();
}

// The size of the head that is in in_, or what keeps it from coming: a status to answer, kEnded, kNothing.
Task<int> Front::receive_head(size_t& head_size) {
  size_t scanned = 0;
  in_.shrink(kIdleBuffer);
  bool began = !in_.empty();
  client_->set_read_deadline(Clock::now() + (began ? kHeadTime : kShortIdle));
  for (;;) {
    if (scanned == 0 && in_.view().substr(0, 2) == "\r\n") in_.consume(2);
    auto found = base::http::find_head_end(in_.view(), scanned);
    if (!found) {
      note_ = found.error().message;
      co_return 400;
    }
    head_size = *found;
    if (head_size > kHeadLimit || (head_size == 0 && in_.view().size() >= kHeadLimit)) {
      note_ = "the header is too large";
      co_return 431;
    }
    if (head_size > 0) co_return 0;
    auto n = co_await client_->read(in_.room(in_.empty() ? kIdleBuffer : 2048));
    if (!n && n.error().code == 504) {
      if (!began) co_return kNothing;
      note_ = "the header did not arrive in time";
      co_return 408;
    }
    if (!n || *n == 0) co_return kEnded;
    idle_ = false;
    in_.commit(*n);
    if (!began) client_->set_read_deadline(Clock::now() + kHeadTime);
    began = true;
  }
}

int Front::take_head(std::string_view text) {
  thread_local Head head;
  auto parsed = base::http::parse_request_head(text, kMaxFields, head);
  if (!parsed) {
    note_ = parsed.error().message;
    keep_alive_ = false;
    request_body_.start(Body::Framing::until_close);
    return parsed.error().code;
  }
  minor_ = head.minor;
  keep_alive_ = head.keep_alive;
  head_method_ = head.method == "HEAD";
  upgrade_ = head.upgrade;
  expect_ = head.expect_continue;
  chunked_ = head.chunked;
  if (head.chunked) request_body_.start(Body::Framing::chunked);
  else request_body_.start(head.content_length ? Body::Framing::length : Body::Framing::none, head.content_length.value_or(0));
  repeatable_ =
      !upgrade_ && (head_method_ || head.method == "GET" || head.method == "PUT" || head.method == "DELETE" || head.method == "OPTIONS");

  std::string_view target = head.target;
  if (target.front() != '/') {
    // The absolute form names the host itself (RFC 9112 part 3.2.2).
    size_t scheme = target.find("://");
    if (scheme == std::string_view::npos || head.method == "CONNECT") {
      note_ = "a malformed request target";
      return 400;
    }
    target.remove_prefix(scheme + 3);
    size_t slash = std::min(target.find_first_of("/?"), target.size());
    head.host = target.substr(0, slash);
    target.remove_prefix(slash);
    if (target.empty()) target = "/";
  }
  size_t mark = std::min(target.find('?'), target.size());
  std::string_view path = target.substr(0, mark), query = target.substr(mark);
  std::string canonical;
  if (!is_canonical_path(path)) {
    auto p = canonical_path(path);
    if (!p) {
      note_ = p.error().message;
      return 400;
    }
    canonical = std::move(*p);
    path = canonical;
  }
  auto host = canonical_host(head.host);
  if (!host) {
    note_ = host.error().message;
    return 400;
  }
  if (tls_ && !sni_.empty() && sni_ != *host) {
    note_ = "the name of the TLS connection and the Host field differ";
    return 421;
  }
  RouteTablePtr table = proxy_.routes();
  auto match = table->match(*host, path);
  if (!tls_ && match.host && match.host->redirect_to_tls) {
    note_ = fmt::format("https://{}{}{}", *host, path, query);
    return 308;
  }
  if (!match.backend) {
    note_ = "no Ingress has a rule for this host and path";
    return 404;
  }
  backend_ = std::move(match.backend);
  write_request_head(head, path, query, {address_of(peer_), tls_ ? "https" : "http", port_}, up_head_);
  if (upgrade_) {
    up_head_ += "Connection: Upgrade\r\nUpgrade: ";
    up_head_ += head.get("Upgrade");
    up_head_ += "\r\n";
  }
  if (chunked_) up_head_ += "Transfer-Encoding: chunked\r\n";
  else if (head.content_length) fmt::format_to(std::back_inserter(up_head_), "Content-Length: {}\r\n", *head.content_length);
  up_head_ += "\r\n";
  return 0;
}

// Answers by ourselves. What is left of the request's body ends the connection.
Task<> Front::refuse(int status, std::string_view text) {
  if (!request_body_.done()) keep_alive_ = false;
  std::string body = status == 308 ? std::string() : fmt::format("{} {}: {}\n", status, base::http::status_text(status), text);
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n{}", status, base::http::status_text(status), base::http::date_line());
  if (status == 308) fmt::format_to(std::back_inserter(head), "Location: {}\r\n", text);
  else head += "Content-Type: text/plain; charset=utf-8\r\n";
  fmt::format_to(std::back_inserter(head), "Content-Length: {}\r\n{}\r\n", body.size(),
                 !keep_alive_ || finishing_ ? "Connection: close\r\n" : minor_ == 0 ? "Connection: keep-alive\r\n" : "");
  std::string_view parts[] = {head, head_method_ ? std::string_view() : std::string_view(body)};
  auto sent = co_await to_client(parts);
  if (!sent) keep_alive_ = false;
}

Task<Result<>> Front::to_client(std::span<const std::string_view> parts) {
  answered_ = true;
  client_->set_write_deadline(Clock::now() + proxy_.times().client);
  return client_->write(parts);
}

// Reads a small body whole, so that it can be sent more than once. False: the client is gone.
Task<bool> Front::collect_body() {
  body_.resize(static_cast<size_t>(request_body_.left()));
  size_t have = 0;
  if (expect_ && in_.view().size() < body_.size()) {
    std::string_view go_on[] = {"HTTP/1.1 100 Continue\r\n\r\n"};
    auto told = co_await client_->write(go_on);
    if (!told) co_return false;
  }
  expect_ = false;
  while (!request_body_.done()) {
    client_->set_read_deadline(Clock::now() + proxy_.times().client);
    auto n = co_await request_body_.read(*client_, in_, {body_.data() + have, body_.size() - have});
    if (!n) co_return false;
    have += *n;
  }
  co_return true;
}

Task<> Front::forward() {
  body_.clear();
  if (request_body_.framing() == Body::Framing::length && !request_body_.done() && request_body_.left() <= kBuffered) {
    bool whole = co_await collect_body();
    if (!whole) {
      keep_alive_ = false;
      co_return;
    }
  }
  bool streaming = !request_body_.done();
  auto endpoints = backend_->endpoints();
  size_t turn = backend_->next();
  int status = 503;
  note_ = "the service has no ready endpoint";
  for (int i = 0, skipped = 0; i < kAttempts && !endpoints->empty(); ++i) {
    const Endpoint endpoint = (*endpoints)[turn++ % endpoints->size()];
    if (skipped < static_cast<int>(endpoints->size()) && lane_.upstream.avoid(endpoint)) {
      ++skipped;
      --i;
      continue;
    }
    BackendConnection c;
    // A second try does not rely on another kept connection.
    bool kept = i == 0 && lane_.upstream.take(endpoint, !repeatable_ || streaming, c);
    if (!kept) {
      auto made = co_await lane_.upstream.connect(endpoint);
      if (!made) {
        status = made.error().code == 504 ? 504 : 502;
        note_ = "the backend cannot be reached";
        endpoints = backend_->endpoints();  // what is gone may have been replaced
        continue;
      }
      c = std::move(*made);
    }
    Outcome outcome = co_await attempt(endpoint, std::move(c));
    if (outcome == Outcome::done) co_return;
    if (outcome == Outcome::broken) {
      keep_alive_ = false;
      if (answered_) {
        client_->close();  // what was sent is not whole, and the client is to see that
        co_return;
      }
      status = note_.empty() ? 502 : 504;
      if (note_.empty()) note_ = "the backend closed the connection";
      break;
    }
    status = 502;
    note_ = "the backend closed the connection";
    endpoints = backend_->endpoints();
  }
  co_await refuse(status, note_);
}

// One try on one connection. `again` only when nothing of the request can have had an effect, or repeating it is harmless.
Task<Front::Outcome> Front::attempt(const Endpoint& endpoint, BackendConnection c) {
  std::shared_ptr<Upload> upload;
  Stream* backend = c.stream.get();
  note_.clear();
  backend->set_write_deadline(Clock::now() + proxy_.times().client);
  std::string_view parts[] = {up_head_, body_};
  auto sent = co_await backend->write(std::span<const std::string_view>(parts, body_.empty() ? 1 : 2));
  if (!sent && c.reused) co_return Outcome::again;
  if (sent && !request_body_.done()) {
    upload = std::make_shared<Upload>();
    upload->to = std::move(c.stream);
    proxy_.tasks().spawn("ingress upload", lane_.strand, send_body(shared_from_this(), upload));
  }
  // A backend may refuse early, without reading everything: the answer counts, not the write.
  auto head_size = co_await answer_head(c, *backend, upload.get());
  bool reusable = false, whole = false;
  Outcome failure = Outcome::broken;
  if (head_size) {
    whole = co_await relay(c, *backend, *head_size, reusable);
    if (!whole) note_.clear();
  } else if (head_size.error().code == 504) {
    note_ = "the backend did not answer in time";
  } else if (c.buffer.empty() && !upload && repeatable_ && head_size.error().code != 499) {
    failure = Outcome::again;
  }
  if (upload) co_await end_upload(upload);
  if (!whole) co_return failure;
  if (reusable && !upload) lane_.upstream.release(endpoint, std::move(c));
  co_return Outcome::done;
}

// Announces the end and reads for a moment what the client still sends: closing at once would reset the connection and could take the answer with it.
Task<> Front::linger() {
  auto ended = co_await client_->shutdown_write();
  if (!ended || (request_body_.done() && in_.empty())) co_return;
  client_->set_read_deadline(Clock::now() + std::chrono::seconds(2));
  std::string scratch(16 * 1024, '\0');
  for (size_t total = 0; total < (1u << 20);) {
    auto n = co_await client_->read(scratch);
    if (!n || *n == 0) break;
    total += *n;
  }
}

std::shared_ptr<base::http::Connection> make_front(Proxy& proxy, Proxy::Lane& lane, std::unique_ptr<Stream> client, bool tls,
                                                   uint16_t port) {
  return std::make_shared<Front>(proxy, lane, std::move(client), tls, port);
}

}  // namespace ingress
