#include "base/http/http2.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include "base/http/wire.h"
#include "base/log.h"

namespace base::http {
namespace asio = boost::asio;

namespace {

constexpr int32_t kConnectionWindow = 1 << 20;
constexpr size_t kReadBuffer = 16 * 1024;
constexpr Duration kShortIdle = 1s;           // until the read buffer is given back
constexpr Duration kLeave = 1s;               // for the client to close after the last frame
constexpr Duration kSeeOff = 5s;              // for the client to read a response that came before its request's end
constexpr size_t kDrain = 256 * 1024;         // and what it may send meanwhile
constexpr size_t kGather = 256 * 1024;        // what is given to the socket at once, in bytes
constexpr size_t kPieces = 512;               // and in pieces
constexpr ssize_t kFrame = 16 * 1024 - 9;     // a frame fills a TLS record
constexpr size_t kDribble = 64;               // a window that lets fewer bytes pass is a nuisance
constexpr size_t kAcknowledgements = 100;     // waiting to be sent, of pings and settings

// Fields that say how a connection works have no place in HTTP/2 (RFC 9113 part 8.2.2); the date is our own unless set.
bool belongs_to_connection(std::string_view lower) {
  return lower == "connection" || lower == "keep-alive" || lower == "proxy-connection" || lower == "transfer-encoding" ||
         lower == "upgrade";
}

nghttp2_nv field(std::string_view name, std::string_view value) {
  auto bytes = [](std::string_view s) { return reinterpret_cast<uint8_t*>(const_cast<char*>(s.data())); };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

std::string_view text(nghttp2_rcbuf* b) {
  nghttp2_vec v = nghttp2_rcbuf_get_buf(b);
  return {reinterpret_cast<const char*>(v.base), v.len};
}

}  // namespace

bool Http2Budget::spend() {
  TimePoint now = Clock::now();
  left_ = std::min(capacity_, left_ + per_second_ * std::chrono::duration<double>(now - since_).count());
  since_ = now;
  if (left_ < 1) return false;
  left_ -= 1;
  return true;
}

// What libnghttp2 calls while it reads or gathers frames. None of these sends or waits.
struct Http2Callbacks {
  static Http2Connection& of(void* user) { return *static_cast<Http2Connection*>(user); }
  static Http2Exchange* exchange(nghttp2_session* s, int32_t id) {
    return static_cast<Http2Exchange*>(nghttp2_session_get_stream_user_data(s, id));
  }

  static int begin_headers(nghttp2_session* s, const nghttp2_frame* frame, void* user) {
    Http2Connection& c = of(user);
    c.header_since_ = Clock::now();
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    // A handler counts until its end, also when its stream was reset; some are just about to end.
    if (c.running_ + c.arrived_.size() >= 2 * c.limits.streams) {
      nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
      return 0;
    }
    auto e = std::make_shared<Http2Exchange>(c, frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(s, e->id, e.get());
    c.exchanges_.emplace(e->id, std::move(e));
    return 0;
  }

  static int header(nghttp2_session* s, const nghttp2_frame* frame, nghttp2_rcbuf* n, nghttp2_rcbuf* v, uint8_t, void* user) {
    Http2Connection& c = of(user);
    Http2Exchange* e = exchange(s, frame->hd.stream_id);
    if (!e || frame->headers.cat != NGHTTP2_HCAT_REQUEST || e->refusal) return 0;  // trailers are dropped
    std::string_view name = text(n), value = text(v);
    e->header_bytes += name.size() + value.size() + 32;
    if (e->header_bytes > c.limits.header_bytes) {
      e->refusal = fail(431, "BadRequest", "the header is too large").error();
    } else if (e->request.headers.size() >= c.limits.headers) {
      e->refusal = fail(431, "BadRequest", "too many header fields").error();
    } else if (name == ":method") {
      e->request.method = value;
    } else if (name == ":path") {
      e->request.target = value;
    } else if (name == ":authority") {
      e->authority = value;
    } else if (name.front() != ':') {
      while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
      while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
      e->request.headers.add(name, value);
    }
    return 0;
  }

  static int invalid_header(nghttp2_session* s, const nghttp2_frame* frame, nghttp2_rcbuf*, nghttp2_rcbuf*, uint8_t, void*) {
    if (Http2Exchange* e = exchange(s, frame->hd.stream_id); e && !e->refusal) e->refusal = bad_request("a malformed header field").error();
    return 0;
  }

  static int frame_received(nghttp2_session* s, const nghttp2_frame* frame, void* user) {
    Http2Connection& c = of(user);
    const bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    c.header_since_.reset();
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA:
        if (frame->hd.type == NGHTTP2_DATA && !last && frame->data.hd.length == frame->data.padlen) c.charge(c.nuisances_);
        if (Http2Exchange* e = exchange(s, frame->hd.stream_id)) {
          if (last) {
            e->in_ended = true;
            e->changed.notify();
          }
          if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) c.request_arrived(*e);
        }
        break;
      case NGHTTP2_RST_STREAM: c.charge(c.resets_); break;
      case NGHTTP2_WINDOW_UPDATE: break;
      default: c.charge(c.nuisances_); break;
    }
    return 0;
  }

  static int data_received(nghttp2_session* s, uint8_t, int32_t id, const uint8_t* data, size_t n, void*) {
    Http2Exchange* e = exchange(s, id);
    if (!e || e->discard) {
      nghttp2_session_consume(s, id, n);
      if (e && (e->discarded += n) > kDrain) e->changed.notify();
      return 0;
    }
    if (e->in_used > 0 && e->in_used * 2 >= e->in.size()) {
      e->in.erase(0, e->in_used);
      e->in_used = 0;
    }
    e->in.append(reinterpret_cast<const char*>(data), n);
    e->changed.notify();
    return 0;
  }

  static int stream_closed(nghttp2_session* s, int32_t id, uint32_t, void* user) {
    if (Http2Exchange* e = exchange(s, id)) {
      nghttp2_session_set_stream_user_data(s, id, nullptr);
      of(user).stream_closed(*e);
    }
    return 0;
  }

  static int frame_sent(nghttp2_session* s, const nghttp2_frame* frame, void* user) {
    Http2Connection& c = of(user);
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR) c.charge(c.resets_);
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
      if (Http2Exchange* e = exchange(s, frame->hd.stream_id)) {
        e->out_ended = true;
        if (e->dismissed && !e->in_ended) nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, e->id, NGHTTP2_NO_ERROR);
      }
    return 0;
  }

  static ssize_t frame_length(nghttp2_session*, uint8_t, int32_t, int32_t connection_window, int32_t stream_window, uint32_t largest,
                              void*) {
    return std::max<ssize_t>(1, std::min({kFrame, ssize_t{connection_window}, ssize_t{stream_window}, ssize_t{largest}}));
  }

  // How much of the handler's output goes into the next frame.
  static ssize_t output(nghttp2_session*, int32_t, uint8_t*, size_t room, uint32_t* flags, nghttp2_data_source* source, void* user) {
    auto& e = *static_cast<Http2Exchange*>(source->ptr);
    size_t n = std::min(room, e.out_left);
    if (n == 0 && !e.out_last) return NGHTTP2_ERR_DEFERRED;
    if (n == e.out_left && e.out_last) *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (n > 0) *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < e.out_left && n < kDribble) of(user).charge(of(user).nuisances_);
    return static_cast<ssize_t>(n);
  }

  // The frame's head is copied; its content is gathered where it lies.
  static int send_data(nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t length, nghttp2_data_source* source, void* user) {
    Http2Connection& c = of(user);
    auto& e = *static_cast<Http2Exchange*>(source->ptr);
    c.pieces_.push_back({nullptr, c.frames_.size(), 9});
    c.frames_.append(reinterpret_cast<const char*>(head), 9);
    c.gathered_ += length;
    if (!e.in_flight) {
      auto found = c.exchanges_.find(e.id);
      if (found == c.exchanges_.end()) return NGHTTP2_ERR_CALLBACK_FAILURE;
      e.in_flight = true;
      c.sending_.push_back(found->second);
    }
    e.progress = Clock::now();
    e.out_left -= length;
    while (length > 0) {
      std::string_view rest = e.out[e.out_part].substr(e.out_offset, length);
      if (!rest.empty()) c.pieces_.push_back({rest.data(), 0, rest.size()});
      length -= rest.size();
      e.out_offset += rest.size();
      if (e.out_offset == e.out[e.out_part].size()) {
        ++e.out_part;
        e.out_offset = 0;
      }
    }
    return 0;
  }

  static const nghttp2_session_callbacks* all() {
    static nghttp2_session_callbacks* callbacks = [] {
      nghttp2_session_callbacks* k = nullptr;
      if (nghttp2_session_callbacks_new(&k) != 0) return k;
      nghttp2_session_callbacks_set_on_begin_headers_callback(k, begin_headers);
      nghttp2_session_callbacks_set_on_header_callback2(k, header);
      nghttp2_session_callbacks_set_on_invalid_header_callback2(k, invalid_header);
      nghttp2_session_callbacks_set_on_frame_recv_callback(k, frame_received);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(k, data_received);
      nghttp2_session_callbacks_set_on_stream_close_callback(k, stream_closed);
      nghttp2_session_callbacks_set_on_frame_send_callback(k, frame_sent);
      nghttp2_session_callbacks_set_data_source_read_length_callback(k, frame_length);
      nghttp2_session_callbacks_set_send_data_callback(k, send_data);
      return k;
    }();
    return callbacks;
  }

  static const nghttp2_option* options() {
    static nghttp2_option* options = [] {
      nghttp2_option* o = nullptr;
      if (nghttp2_option_new(&o) != 0) return o;
      nghttp2_option_set_no_auto_window_update(o, 1);
      nghttp2_option_set_no_closed_streams(o, 1);
      nghttp2_option_set_max_outbound_ack(o, kAcknowledgements);
      nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(o, 1);  // Go's clients send such values; header() cuts them off
      return o;
    }();
    return options;
  }
};

Result<> Http2Connection::open() {
  const nghttp2_session_callbacks* callbacks = Http2Callbacks::all();
  const nghttp2_option* options = Http2Callbacks::options();
  if (!callbacks || !options || nghttp2_session_server_new2(&session, callbacks, this, options) != 0)
    return internal("HTTP/2: out of memory");
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, static_cast<uint32_t>(limits.streams)},
                                             {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(limits.header_bytes)}};
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2);
  nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  return {};
}

Task<> Http2Connection::serve() {
  auto self = shared_from_this();
  executor_ = co_await asio::this_coro::executor;
  wake_.emplace(executor_);
  auto opened = open();
  if (!opened) {
    log::error("http", "{}", opened.error().message);
    stream->close();
    co_return;
  }
  header_since_ = Clock::now();  // the preface is waited for no longer than a header
  if (finishing_) finish();
  std::exception_ptr failure;
  try {
    co_await race(read_frames(), write_frames());
    abandon();
    co_await take_leave();
  } catch (...) {
    failure = std::current_exception();
    abandon();
  }
  stream->close();
  // A cancelled connection also cancels its handlers. Their end is waited for in any case.
  co_await asio::this_coro::throw_if_cancelled(false);
  auto cancel_all = [this] {
    std::vector<Http2ExchangePtr> all;
    for (auto& [id, e] : exchanges_) all.push_back(e);
    for (auto& e : all) e->cancel.emit(asio::cancellation_type::terminal);
  };
  if (failure) cancel_all();
  for (;;) {
    uint64_t seen = ended_.version();
    if (running_ == 0) break;
    try {
      co_await ended_.wait(seen);
    } catch (const boost::system::system_error&) {
      failure = std::current_exception();
      cancel_all();
    }
  }
  exchanges_.clear();
  co_await asio::this_coro::throw_if_cancelled(true);
  if (failure) std::rethrow_exception(failure);
}

// Tells the handlers that nobody listens any more.
void Http2Connection::abandon() {
  for (auto& [id, e] : exchanges_) {
    e->closed = true;
    e->changed.notify();
  }
}

void Http2Connection::finish() {
  finishing_ = true;
  if (!session) return;
  for (auto& [id, e] : exchanges_) e->changed.notify();
  nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session), NGHTTP2_NO_ERROR, nullptr, 0);
  kick();
}

bool Http2Connection::over() const {
  if (!nghttp2_session_want_read(session) && !nghttp2_session_want_write(session)) return true;
  return finishing_ && exchanges_.empty();
}

void Http2Connection::kick() {
  if (nghttp2_session_want_write(session) || over()) wake();
}

void Http2Connection::wake() {
  kicked_ = true;
  if (wake_) wake_->cancel();
}

// Ends with the connection, or never after the last frame that may come: then the writer ends it.
Task<> Http2Connection::read_frames() {
  std::unique_ptr<char[]> buffer;
  Event never;
  for (;;) {
    const TimePoint now = Clock::now();
    std::optional<TimePoint> deadline;
    if (header_since_) deadline = *header_since_ + limits.header_timeout;
    else if (exchanges_.empty()) deadline = idle_since_ + limits.idle_timeout;
    const bool late = deadline && *deadline <= now;
    if (late) nghttp2_session_terminate_session(session, header_since_ ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_NO_ERROR);
    if (late || !nghttp2_session_want_read(session)) {
      wake();
      co_await never.wait(never.version());
    }
    // After a moment of silence nothing but this frame is held.
    const bool quiet = !buffer;
    stream->set_read_deadline(quiet ? deadline : std::optional(std::min(now + kShortIdle, deadline.value_or(TimePoint::max()))));
    if (quiet) {
      waiting_ = true;
      auto ready = co_await stream->ready();
      waiting_ = false;
      if (!ready && ready.error().code != 504) co_return;
      if (!ready) continue;
      buffer = std::make_unique_for_overwrite<char[]>(kReadBuffer);
      stream->set_read_deadline(Clock::now() + kShortIdle);
    }
    auto n = co_await stream->read(std::span<char>(buffer.get(), kReadBuffer));
    if (!n && n.error().code == 504) {
      buffer.reset();
      continue;
    }
    if (!n || *n == 0) co_return;
    ssize_t used = nghttp2_session_mem_recv(session, reinterpret_cast<const uint8_t*>(buffer.get()), *n);
    if (used < 0) {
      log::debug("http", "{}: HTTP/2: {}", stream->peer_address(), nghttp2_strerror(static_cast<int>(used)));
      co_return;
    }
    for (auto& e : std::exchange(arrived_, {})) start(std::move(e));
    kick();
  }
}

Task<> Http2Connection::write_frames() {
  // However a write ends, the handlers' buffers are theirs again.
  struct Sending {
    std::vector<Http2ExchangePtr>& all;
    ~Sending() {
      for (auto& e : all) {
        e->in_flight = false;
        e->changed.notify();
      }
      all.clear();
    }
  };
  for (;;) {
    kicked_ = false;
    Sending sending{sending_};
    bool some = gather();
    if (!some) {
      if (failed_ || over()) co_return;
      if (kicked_) continue;
      wake_->expires_at(TimePoint::max());
      boost::system::error_code ignored;
      co_await wake_->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(asio::error::operation_aborted);
      continue;
    }
    stream->set_write_deadline(Clock::now() + (calmed_ ? std::min<Duration>(limits.write_timeout, 5s) : limits.write_timeout));
    auto written = co_await stream->write(std::span<const std::string_view>(parts_));
    if (!written) co_return;
    if (frames_.capacity() > 4096 || pieces_.capacity() > 64) {
      frames_ = std::string();
      pieces_ = {};
      parts_ = {};
    }
  }
}

// Takes frames from the session until there is enough for one write. False: nothing is to be sent.
bool Http2Connection::gather() {
  frames_.clear();
  pieces_.clear();
  parts_.clear();
  gathered_ = 0;
  while (gathered_ < kGather && pieces_.size() < kPieces) {
    const uint8_t* data = nullptr;
    ssize_t n = nghttp2_session_mem_send(session, &data);
    if (n < 0) failed_ = true;
    if (n <= 0) break;
    pieces_.push_back({nullptr, frames_.size(), static_cast<size_t>(n)});
    frames_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(n));
    gathered_ += static_cast<size_t>(n);
  }
  for (const Piece& p : pieces_)
    parts_.push_back(p.data ? std::string_view(p.data, p.size) : std::string_view(frames_).substr(p.offset, p.size));
  return !parts_.empty();
}

// Closing while the client still sends would reset the connection and could take the last frames with it.
Task<> Http2Connection::take_leave() {
  auto ended = co_await stream->shutdown_write();
  if (!ended) co_return;
  stream->set_read_deadline(Clock::now() + kLeave);
  std::string scratch(kReadBuffer, '\0');
  for (size_t total = 0; total < (1u << 20);) {
    auto n = co_await stream->read(scratch);
    if (!n || *n == 0) break;
    total += *n;
  }
}

void Http2Connection::charge(Http2Budget& budget) {
  if (budget.spend() || calmed_) return;
  calmed_ = true;
  log::debug("http", "{}: HTTP/2: too many resets or frames without use", stream->peer_address());
  nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
}

// What HTTP/1.1 checks in the request line and the header, on a header that is whole.
void Http2Connection::request_arrived(Http2Exchange& e) {
  Http2Request& q = e.request;
  auto refuse = [&](Failure why) {
    if (!e.refusal) e.refusal = why.error();
  };
  if (q.method.size() > 32) refuse(bad_request("a malformed method"));
  if (q.method == "CONNECT") refuse(fail(501, "NotImplemented", "CONNECT is not served"));
  if (std::any_of(q.target.begin(), q.target.end(), [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; }))
    refuse(bad_request("a malformed request target"));
  if (q.headers.all("host").size() > 1) refuse(bad_request("more than one Host field"));
  std::string host(q.headers.get("host"));
  if (!e.authority.empty() && !host.empty() && !equal_ignoring_case(e.authority, host))
    refuse(bad_request("the authority and the Host field differ"));
  if (!e.authority.empty()) host = e.authority;
  if (host.empty() || host.find_first_of(" \t/@,\\#?") != host.npos) refuse(bad_request("no Host field, or a malformed one"));
  q.headers.set("Host", host);
  if (auto length = q.headers.get("content-length"); !length.empty()) {
    uint64_t n = 0;
    auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), n);
    if (error == std::errc() && end == length.data() + length.size()) e.content_length = n;
    else refuse(bad_request("a malformed Content-Length"));
  }
  if (auto expected = q.headers.get("expect"); !expected.empty()) {
    e.expect_continue = equal_ignoring_case(expected, "100-continue") && !e.in_ended;
    if (!equal_ignoring_case(expected, "100-continue")) refuse(fail(417, "BadRequest", "an unknown expectation"));
  }
  size_t mark = q.target.find('?');
  q.path = q.target.substr(0, mark);
  if (mark != q.target.npos) q.query = Query(std::string_view(q.target).substr(mark + 1));
  arrived_.push_back(exchanges_.at(e.id));
}

void Http2Connection::start(Http2ExchangePtr e) {
  if (e->closed) return;
  e->running = true;
  ++running_;
  asio::co_spawn(executor_, run(e), asio::bind_cancellation_slot(e->cancel.slot(), [self = shared_from_this(), e](std::exception_ptr) {
                   self->handler_ended(e);
                 }));
}

Task<> Http2Connection::run(Http2ExchangePtr e) {
  co_await answer(e);
  if (e->phase == Http2Exchange::Phase::done) co_await see_off(e);
}

// A request that goes on after its response is asked to stop, in a while; that is nobody's fault.
Task<> Http2Connection::see_off(Http2ExchangePtr e) {
  drop_body(*e);
  const TimePoint deadline = Clock::now() + kSeeOff;
  for (bool in_time = true; in_time;) {
    uint64_t seen = e->changed.version();
    if (e->closed || e->in_ended) co_return;
    if (finishing_ || e->discarded > kDrain) break;
    in_time = co_await e->changed.wait(seen, deadline);
  }
  e->dismissed = true;
  if (e->out_ended) reset(*e, NGHTTP2_NO_ERROR);
}

Task<> Http2Connection::answer(Http2ExchangePtr e) {
  if (e->refusal) {
    std::string why = e->refusal->message + "\n";
    e->response.status = e->refusal->code;
    e->response.headers.set("Content-Type", "text/plain");
    co_await e->response.send(why);
    co_return;
  }
  std::exception_ptr failure;
  try {
    co_await handler_(e->request, e->response);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure && !log_failure(e->request, failure)) std::rethrow_exception(failure);
  if (e->phase == Http2Exchange::Phase::none) {
    e->response.status = 500;
    e->response.headers = Headers{};
    co_await e->response.send("internal error\n");
  } else if (e->phase == Http2Exchange::Phase::streaming && !failure) {
    co_await e->response.end();
  }
}

void Http2Connection::handler_ended(Http2ExchangePtr e) {
  using Phase = Http2Exchange::Phase;
  e->running = false;
  --running_;
  if (e->closed) {
    stream_closed(*e);
  } else {
    drop_body(*e);
    // A response without an end tells of a failure.
    if (e->phase == Phase::none || e->phase == Phase::streaming) reset(*e, NGHTTP2_INTERNAL_ERROR);
  }
  ended_.notify();
}

// Also called when the handler of a closed stream has ended: whichever comes last forgets the exchange.
void Http2Connection::stream_closed(Http2Exchange& e) {
  e.closed = true;
  e.changed.notify();
  if (e.running) return;
  auto found = exchanges_.find(e.id);
  if (found == exchanges_.end() || found->second.get() != &e) return;
  exchanges_.erase(found);
  if (!exchanges_.empty()) return;
  idle_since_ = Clock::now();
  if (finishing_) wake();
  if (waiting_) stream->set_read_deadline(idle_since_ + limits.idle_timeout);
}

Result<> Http2Connection::submit_head(Http2Exchange& e, bool more) {
  if (e.closed) {
    e.phase = Http2Exchange::Phase::broken;
    return unavailable("the client is gone");
  }
  std::string status = std::to_string(e.response.status);
  std::vector<std::string> names;
  names.reserve(e.response.headers.size());
  std::vector<nghttp2_nv> fields;
  fields.reserve(e.response.headers.size() + 2);
  fields.push_back(field(":status", status));
  bool dated = false;
  for (auto& [name, value] : e.response.headers) {
    std::string lower = name;
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (lower == "date") dated = true;
    if (belongs_to_connection(lower) || lower.empty() || lower.find_first_of("\r\n: ") != lower.npos) continue;
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != value.npos) continue;
    fields.push_back(field(names.emplace_back(std::move(lower)), value));
  }
  if (!dated) fields.push_back(field("date", date_line().substr(6, 29)));
  nghttp2_data_provider provider{{.ptr = &e}, Http2Callbacks::output};
  int rc = nghttp2_submit_response(session, e.id, fields.data(), fields.size(), more ? &provider : nullptr);
  if (rc != 0) {
    e.phase = Http2Exchange::Phase::broken;
    return unavailable(fmt::format("HTTP/2: {}", nghttp2_strerror(rc)));
  }
  kick();
  return {};
}

void Http2Connection::submit_continue(Http2Exchange& e) {
  if (e.closed) return;
  nghttp2_nv status = field(":status", "100");
  nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, e.id, nullptr, &status, 1, nullptr);
  kick();
}

void Http2Connection::resume(Http2Exchange& e) {
  if (e.closed) return;
  nghttp2_session_resume_data(session, e.id);
  kick();
}

void Http2Connection::reset(Http2Exchange& e, uint32_t code) {
  if (e.closed) return;
  nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, e.id, code);
  kick();
}

void Http2Connection::consumed(Http2Exchange& e, size_t n) {
  if (e.closed) nghttp2_session_consume_connection(session, n);
  else nghttp2_session_consume(session, e.id, n);
  kick();
}

void Http2Connection::drop_body(Http2Exchange& e) {
  e.discard = true;
  size_t left = e.in.size() - e.in_used;
  e.in = std::string();
  e.in_used = 0;
  if (left > 0) consumed(e, left);
}

std::shared_ptr<Connection> make_http2_connection(std::unique_ptr<Stream> stream, const Handler& handler, const Limits& limits) {
  return std::make_shared<Http2Connection>(std::move(stream), handler, limits);
}

}  // namespace base::http
