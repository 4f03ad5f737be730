// A SPDY/3.1 session, the server's side, on a transport that has been upgraded (or on the inside of a WebSocket).
//
// There is no window accounting: the peers that still speak this protocol (spdystream) do none either, and would never open a window again.
// Back-pressure is the transport's: reading stops while a stream of the session has 256 KiB unread.
// Everything lives on the strand of run().
#pragma once

#include <map>
#include <memory>
#include <string>

#include "agent/streams/scope.h"
#include "agent/streams/spdy_frame.h"
#include "base/http/stream.h"

namespace agent::spdy {

using base::Task;

class Session;

class Stream {
 public:
  uint32_t id() const { return id_; }
  const Headers& headers() const { return headers_; }
  // 0 at the end (the peer's FIN, a reset, or the session's end).
  Task<size_t> read(std::span<char> into) { return in_.read(into); }
  Task<Result<>> write(std::string_view bytes);
  // Half-close: no more will be written.
  Task<Result<>> finish();
  // Drops the stream both ways.
  Task<Result<>> reset();
  bool was_reset() const { return reset_; }

 private:
  friend class Session;
  Stream(Session& s, uint32_t id, Headers h) : session_(s), id_(id), headers_(std::move(h)) {}
  Session& session_;
  const uint32_t id_;
  const Headers headers_;
  BytePipe in_;
  bool finished_ = false, reset_ = false;
};
using StreamPtr = std::shared_ptr<Stream>;

class Session {
 public:
  // The transport must outlive the session; streams must not outlive it.
  explicit Session(base::http::Stream& transport);
  ~Session();

  // Reads frames until the transport ends, fails or violates the protocol; then ends all streams.
  Task<> run();
  // The next stream the peer opened, already answered with SYN_REPLY. Null when the session has ended.
  Task<StreamPtr> accept();
  // Tells the peer that no more streams are taken, and closes the transport.
  Task<> close();
  bool ended() const { return ended_; }
  // Returns when the session has ended.
  Task<> wait_ended();

 private:
  friend class Stream;
  Task<Result<>> read_exact(std::span<char> into);
  Task<Result<>> handle_control(FrameHeader f, std::string payload);
  Task<Result<>> send(std::string frame);
  Task<Result<>> send_data(uint32_t id, std::string_view bytes, bool fin);
  Task<Result<>> open_stream(uint8_t flags, std::string payload);

  base::http::Stream& transport_;
  Inflater inflater_;
  Deflater deflater_;
  std::map<uint32_t, StreamPtr> streams_;
  std::deque<StreamPtr> accepted_;
  base::Event changed_;
  Turn writing_;
  uint32_t last_id_ = 0;
  bool ended_ = false;
};

}  // namespace agent::spdy
