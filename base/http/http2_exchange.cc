// Requests and responses of one HTTP/2 stream, as handlers see them.
#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include "base/http/http2.h"
#include "base/http/wire.h"

namespace base::http {

using Phase = Http2Exchange::Phase;

namespace {

constexpr size_t kKept = 4096;  // a body that is copied rather than waited for

Failure client_is_gone() { return unavailable("the client is gone"); }

Task<Result<size_t>> read_body(Http2Exchange& e, std::span<char> into, std::optional<TimePoint> deadline) {
  if (into.empty()) co_return 0;
  if (e.expect_continue) {
    e.expect_continue = false;
    if (e.phase == Phase::none && e.in.empty()) e.connection.submit_continue(e);
  }
  for (;;) {
    uint64_t seen = e.changed.version();
    if (size_t n = std::min(into.size(), e.in.size() - e.in_used); n > 0) {
      std::memcpy(into.data(), e.in.data() + e.in_used, n);
      e.in_used += n;
      if (e.in_used == e.in.size()) {
        e.in.clear();
        e.in_used = 0;
      }
      e.connection.consumed(e, n);
      co_return n;
    }
    if (e.in_ended) co_return 0;
    if (e.closed || e.discard) co_return client_is_gone();
    bool in_time = co_await e.changed.wait(seen, deadline);
    if (!in_time) co_return timeout("nothing arrived in time");
  }
}

}  // namespace

Stream& Http2Request::stream() { return *e_.connection.stream; }
bool Http2Request::has_body() const { return !e_.in_ended || e_.in_used < e_.in.size(); }
Task<Result<size_t>> Http2Request::read_some(std::span<char> into) { return read_body(e_, into, std::nullopt); }

Task<Result<std::string>> Http2Request::body(size_t limit) {
  if (e_.content_length && *e_.content_length > limit) co_return too_large(fmt::format("the request body is larger than {} bytes", limit));
  std::string out;
  out.resize(e_.content_length ? static_cast<size_t>(*e_.content_length) : std::min<size_t>(limit, 8192));
  size_t used = 0;
  for (;;) {
    char extra = 0;
    // One byte more decides, where the end is not known.
    if (used == out.size() && used < limit && !e_.content_length) out.resize(std::min(limit, out.size() * 2));
    std::span<char> room = used < out.size() ? std::span<char>(out.data() + used, out.size() - used) : std::span<char>(&extra, 1);
    TimePoint until = Clock::now() + e_.connection.limits.idle_timeout;
    auto n = co_await read_body(e_, room, deadline ? std::min(until, *deadline) : until);
    if (!n) co_return std::unexpected(std::move(n.error()));
    if (*n == 0) break;
    if (room.data() == &extra) co_return too_large(fmt::format("the request body is larger than {} bytes", limit));
    used += *n;
  }
  out.resize(used);
  co_return out;
}

bool Http2Response::started() const { return e_.phase != Phase::none; }

Task<Result<>> Http2Response::send(std::span<const std::string_view> parts) {
  if (e_.phase != Phase::none) co_return internal("the response has begun already");
  size_t total = 0;
  for (auto p : parts) total += p.size();
  if (status >= 200 && status != 204 && !(status == 304 && total == 0)) headers.set("content-length", std::to_string(total));
  const bool body = total > 0 && !e_.bodiless();
  e_.phase = Phase::done;
  e_.out_last = true;
  if (body) {
    if (total <= kKept) {
      e_.kept.reserve(total);
      for (auto p : parts) e_.kept += p;
      e_.kept_view = e_.kept;
      parts = {&e_.kept_view, 1};
    }
    e_.out = parts;
    e_.out_left = total;
  }
  auto submitted = e_.connection.submit_head(e_, body);
  if (!submitted || !body || total <= kKept) co_return submitted;
  co_return co_await e_.connection.send_out(e_);
}

Task<Result<>> Http2Response::begin() {
  if (e_.phase != Phase::none) co_return internal("the response has begun already");
  if (!e_.bodiless()) headers.remove("content-length");  // the length of what HEAD leaves out may be told
  e_.phase = Phase::streaming;
  co_return e_.connection.submit_head(e_, !e_.bodiless());
}

Task<Result<>> Http2Response::write(std::span<const std::string_view> parts) {
  if (e_.phase == Phase::broken || e_.closed) co_return client_is_gone();
  if (e_.phase != Phase::streaming) co_return internal("no response has begun");
  size_t total = 0;
  for (auto p : parts) total += p.size();
  if (total == 0 || e_.bodiless()) co_return Result<>{};
  e_.out = parts;
  e_.out_part = e_.out_offset = 0;
  e_.out_left = total;
  co_return co_await e_.connection.send_out(e_);
}

Task<Result<>> Http2Response::end() {
  if (e_.phase == Phase::broken) co_return client_is_gone();
  if (e_.phase != Phase::streaming) co_return internal("no response has begun");
  e_.phase = Phase::done;
  e_.out_last = true;
  if (!e_.bodiless()) e_.connection.resume(e_);
  co_return Result<>{};
}

Task<Result<Stream*>> Http2Response::upgrade() { co_return bad_request("an HTTP/2 connection cannot be upgraded: ask over HTTP/1.1"); }

Task<> Http2Response::client_gone() {
  e_.connection.drop_body(e_);
  for (;;) {
    uint64_t seen = e_.changed.version();
    if (e_.closed) co_return;
    co_await e_.changed.wait(seen);
  }
}

// Returns, even when cancelled, only after the socket has no view of the handler's buffers any more.
Task<Result<>> Http2Connection::send_out(Http2Exchange& e) {
  e.progress = Clock::now();
  resume(e);
  std::exception_ptr cancelled;
  bool late = false;
  for (;;) {
    uint64_t seen = e.changed.version();
    const bool waits = !cancelled && !late && !e.closed && e.out_left > 0;
    if (!waits && !e.in_flight) break;
    std::optional<TimePoint> deadline;
    if (waits) deadline = e.progress + limits.write_timeout;
    bool in_time = true;
    try {
      in_time = co_await e.changed.wait(seen, deadline);
    } catch (const boost::system::system_error&) {
      cancelled = std::current_exception();
    }
    // Cleaning up goes on under a cancellation; every wait would throw at once otherwise.
    if (cancelled) co_await boost::asio::this_coro::throw_if_cancelled(false);
    if (!in_time && Clock::now() >= e.progress + limits.write_timeout) late = true;
  }
  const bool whole = e.out_left == 0;
  e.out = {};
  e.out_part = e.out_offset = e.out_left = 0;
  if (!whole) {
    e.phase = Phase::broken;
    if (!e.closed) reset(e, late ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR);
  }
  if (cancelled) {
    co_await boost::asio::this_coro::throw_if_cancelled(true);
    std::rethrow_exception(cancelled);
  }
  if (late && !whole) co_return timeout("the peer does not read");
  if (!whole) co_return client_is_gone();
  co_return Result<>{};
}

}  // namespace base::http
