// HTTP/2 (RFC 9113) on one server connection, its frames by libnghttp2: each stream is a request with a handler of its own, all on the
// connection's strand. Internal to base/http.
//
// Bounds: Limits::streams at a time, and twice as many handlers when the client resets streams meanwhile; 64 KiB of unread body a stream and 1 MiB
// a connection, which are the windows; a handler's output stays in its own buffers until the client's window takes it. Resets of either side,
// pings, settings and frames without content draw on a budget that fills up with time; who exhausts it is sent away (ENHANCE_YOUR_CALM).
//
// A response may end before its request does. The client then has 5 s and 256 KiB to take notice before RST_STREAM with NO_ERROR (RFC 9113 part 8.1):
// curl and others forget a response that they read together with its reset while they upload.
#pragma once

#include <nghttp2/nghttp2.h>

#include <map>
#include <memory>
#include <optional>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/http/connection.h"

namespace base::http {

class Http2Connection;
struct Http2Exchange;

class Http2Request final : public Request {
 public:
  explicit Http2Request(Http2Exchange& e) : e_(e) {}
  Stream& stream() override;
  Task<Result<std::string>> body(size_t limit) override;
  Task<Result<size_t>> read_some(std::span<char> into) override;
  bool has_body() const override;

 private:
  Http2Exchange& e_;
};

class Http2Response final : public Response {
 public:
  explicit Http2Response(Http2Exchange& e) : e_(e) {}
  Task<Result<>> send(std::span<const std::string_view> parts) override;
  Task<Result<>> begin() override;
  Task<Result<>> write(std::span<const std::string_view> parts) override;
  Task<Result<>> end() override;
  Task<Result<Stream*>> upgrade() override;  // always an error: such requests come over HTTP/1.1
  bool started() const override;
  Task<> client_gone() override;
  using Response::send;
  using Response::write;

 private:
  Http2Exchange& e_;
};

// One stream. Lives until its handler has ended and the stream is closed.
struct Http2Exchange {
  Http2Exchange(Http2Connection& c, int32_t stream_id) : connection(c), id(stream_id) {}

  Http2Connection& connection;
  const int32_t id;
  Http2Request request{*this};
  Http2Response response{*this};
  Event changed;  // whatever a waiting handler may wait for
  boost::asio::cancellation_signal cancel;
  bool running = false;  // the handler
  bool closed = false;   // the stream: ended both ways, reset, or gone with its connection

  // The request as it arrives. A refusal is answered instead of the handler.
  std::string authority;
  size_t header_bytes = 0;
  std::optional<Error> refusal;
  std::optional<uint64_t> content_length;
  std::string in;        // body bytes not read yet
  size_t in_used = 0;    // of `in`
  bool in_ended = false;
  bool discard = false;  // nobody will read the body
  size_t discarded = 0;  // bytes
  bool expect_continue = false;

  // The response. `out` is the handler's, which waits until all is sent, or of `kept` where it is small.
  enum class Phase { none, streaming, done, broken } phase = Phase::none;
  std::span<const std::string_view> out;
  std::string kept;
  std::string_view kept_view;
  size_t out_part = 0, out_offset = 0;  // where in `out`
  size_t out_left = 0;
  bool out_last = false;   // nothing comes after `out`
  bool in_flight = false;  // the socket is being given views of `out`
  bool out_ended = false;  // the frame that ends the response has gone
  bool dismissed = false;  // after that frame the client is asked to stop sending
  TimePoint progress;      // when the client last took some of it

  bool bodiless() const { return request.method == "HEAD" || response.status == 204 || response.status == 304 || response.status < 200; }
};
using Http2ExchangePtr = std::shared_ptr<Http2Exchange>;

// Tokens that come back with time.
class Http2Budget {
 public:
  Http2Budget(double capacity, double per_second) : capacity_(capacity), per_second_(per_second), left_(capacity) {}
  bool spend();

 private:
  const double capacity_, per_second_;
  double left_;
  TimePoint since_ = Clock::now();
};

class Http2Connection final : public Connection, public std::enable_shared_from_this<Http2Connection> {
 public:
  Http2Connection(std::unique_ptr<Stream> s, const Handler& h, const Limits& l) : stream(std::move(s)), limits(l), handler_(h) {}
  ~Http2Connection() override { nghttp2_session_del(session); }
  Task<> serve() override;
  void finish() override;

  // For exchanges. Status and fields; `more`: a body follows.
  Result<> submit_head(Http2Exchange& e, bool more);
  void submit_continue(Http2Exchange& e);
  // Sends e.out within its time; the client's window decides when.
  Task<Result<>> send_out(Http2Exchange& e);
  void resume(Http2Exchange& e);
  void reset(Http2Exchange& e, uint32_t code);
  // Body bytes that were read, or will never be, open the windows again.
  void consumed(Http2Exchange& e, size_t n);
  void drop_body(Http2Exchange& e);

  std::unique_ptr<Stream> stream;
  const Limits limits;
  nghttp2_session* session = nullptr;

 private:
  friend struct Http2Callbacks;
  Result<> open();
  Task<> read_frames();
  Task<> write_frames();
  Task<> run(Http2ExchangePtr e);
  Task<> answer(Http2ExchangePtr e);
  Task<> see_off(Http2ExchangePtr e);
  Task<> take_leave();
  void abandon();
  bool gather();
  void kick();
  void wake();
  void start(Http2ExchangePtr e);
  void request_arrived(Http2Exchange& e);
  void handler_ended(Http2ExchangePtr e);
  void stream_closed(Http2Exchange& e);
  bool over() const;
  void charge(Http2Budget& budget);

  const Handler& handler_;
  Executor executor_;
  std::map<int32_t, Http2ExchangePtr> exchanges_;
  std::vector<Http2ExchangePtr> arrived_;  // whole requests whose handlers are to start
  size_t running_ = 0;
  Event ended_;
  std::optional<boost::asio::steady_timer> wake_;  // the writer waits for it without end; kick() cancels it
  bool kicked_ = false;
  Http2Budget resets_{500, 50}, nuisances_{2000, 200};
  std::optional<TimePoint> header_since_;  // an unfinished header block
  TimePoint idle_since_ = Clock::now();
  bool finishing_ = false, calmed_ = false, failed_ = false;
  bool waiting_ = false;  // the reader, without a buffer and perhaps without a deadline

  // One gathered write: pieces of `frames_`, or views of handlers' output.
  struct Piece {
    const char* data;  // null: at `offset` of frames_
    size_t offset, size;
  };
  std::string frames_;
  std::vector<Piece> pieces_;
  std::vector<std::string_view> parts_;
  std::vector<Http2ExchangePtr> sending_;
  size_t gathered_ = 0;
};

}  // namespace base::http
