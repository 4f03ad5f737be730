#include "agent/streams/spdy.h"

#include <algorithm>

#include "base/log.h"

namespace agent::spdy {

namespace {
constexpr size_t kMaxStreams = 256;
constexpr size_t kChunk = 32 * 1024;
constexpr uint32_t kRefusedStream = 3;
constexpr uint32_t kCancel = 5;
}  // namespace

Task<Result<>> Stream::write(std::string_view bytes) {
  if (finished_ || reset_) co_return base::unavailable("the stream is closed");
  co_return co_await session_.send_data(id_, bytes, false);
}

Task<Result<>> Stream::finish() {
  if (finished_ || reset_) co_return Result<>{};
  finished_ = true;
  Result<> r = co_await session_.send_data(id_, {}, true);
  if (in_.ended()) session_.streams_.erase(id_);
  co_return r;
}

Task<Result<>> Stream::reset() {
  if (reset_) co_return Result<>{};
  reset_ = true;
  in_.discard();
  session_.streams_.erase(id_);
  std::string payload;
  append_u32(payload, id_);
  append_u32(payload, kCancel);
  co_return co_await session_.send(control_frame(Kind::rst_stream, 0, payload));
}

Session::Session(base::http::Stream& transport) : transport_(transport) {}
Session::~Session() = default;

Task<Result<>> Session::read_exact(std::span<char> into) {
  while (!into.empty()) {
    auto n = co_await transport_.read(into);
    if (!n) co_return std::unexpected(std::move(n).error());
    if (*n == 0) co_return base::unavailable("the connection ended");
    into = into.subspan(*n);
  }
  co_return Result<>{};
}

Task<> Session::run() {
  struct End {
    Session& s;
    ~End() {
      s.ended_ = true;
      for (auto& [id, stream] : s.streams_) stream->in_.end();
      s.changed_.notify();
    }
  } at_end{*this};
  std::string payload;
  for (;;) {
    char head[kFrameHeaderSize];
    auto got = co_await read_exact(head);
    if (!got) co_return;
    FrameHeader f = parse_frame_header({head, sizeof head});
    if (f.length > kMaxFrame || (f.control && f.version != 3)) {
      base::log::warn("spdy", "closing a session: frame of {} bytes, version {}", f.length, f.version);
      co_return;
    }
    payload.assign(f.length, '\0');
    got = co_await read_exact(payload);
    if (!got) co_return;
    if (f.control) {
      got = co_await handle_control(f, std::move(payload));
      if (!got) {
        base::log::warn("spdy", "closing a session: {}", got.error().message);
        co_return;
      }
      payload = {};
      continue;
    }
    auto it = streams_.find(f.stream_id);
    if (it == streams_.end()) continue;  // reset meanwhile
    StreamPtr stream = it->second;
    co_await stream->in_.push(std::move(payload));
    payload = {};
    if (f.flags & kFlagFin) {
      stream->in_.end();
      if (stream->finished_) streams_.erase(f.stream_id);
    }
  }
}

Task<Result<>> Session::handle_control(FrameHeader f, std::string payload) {
  switch (static_cast<Kind>(f.type)) {
    case Kind::syn_stream:
      co_return co_await open_stream(f.flags, std::move(payload));
    case Kind::rst_stream: {
      if (payload.size() < 8) co_return base::bad_request("short RST_STREAM");
      auto it = streams_.find(read_u32(payload) & 0x7fffffff);
      if (it != streams_.end()) {
        it->second->reset_ = true;
        it->second->in_.end();
        streams_.erase(it);
      }
      co_return Result<>{};
    }
    case Kind::headers: {
      // Must pass the decompressor even when nobody looks at it: the state is the session's.
      if (payload.size() < 4) co_return base::bad_request("short HEADERS");
      auto h = inflater_.decode(std::string_view(payload).substr(4));
      if (!h) co_return std::unexpected(std::move(h).error());
      if (f.flags & kFlagFin) {
        auto it = streams_.find(read_u32(payload) & 0x7fffffff);
        if (it != streams_.end()) it->second->in_.end();
      }
      co_return Result<>{};
    }
    case Kind::syn_reply: {
      if (payload.size() < 4) co_return base::bad_request("short SYN_REPLY");
      auto h = inflater_.decode(std::string_view(payload).substr(4));
      if (!h) co_return std::unexpected(std::move(h).error());
      co_return Result<>{};
    }
    case Kind::ping: {
      if (payload.size() < 4) co_return base::bad_request("short PING");
      // Odd ids are the client's; ours we never send.
      if (read_u32(payload) % 2 == 1) co_return co_await send(control_frame(Kind::ping, 0, payload));
      co_return Result<>{};
    }
    case Kind::settings:
    case Kind::goaway:
    case Kind::window_update:
    default:
      co_return Result<>{};
  }
}

Task<Result<>> Session::open_stream(uint8_t flags, std::string payload) {
  if (payload.size() < 10) co_return base::bad_request("short SYN_STREAM");
  uint32_t id = read_u32(payload) & 0x7fffffff;
  auto headers = inflater_.decode(std::string_view(payload).substr(10));
  if (!headers) co_return std::unexpected(std::move(headers).error());
  if (id % 2 == 0 || id <= last_id_) co_return base::bad_request("stream ids must be odd and rise");
  last_id_ = id;
  if (streams_.size() >= kMaxStreams) {
    std::string refuse;
    append_u32(refuse, id);
    append_u32(refuse, kRefusedStream);
    co_return co_await send(control_frame(Kind::rst_stream, 0, refuse));
  }
  StreamPtr stream(new Stream(*this, id, std::move(*headers)));
  if (flags & kFlagFin) stream->in_.end();
  streams_[id] = stream;
  {
    auto turn = co_await writing_.take();
    std::string reply;
    append_u32(reply, id);
    reply += deflater_.encode({});
    std::string frame = control_frame(Kind::syn_reply, 0, reply);
    auto r = co_await transport_.write(frame);
    if (!r) co_return r;
  }
  accepted_.push_back(std::move(stream));
  changed_.notify();
  co_return Result<>{};
}

Task<Result<>> Session::send(std::string frame) {
  auto turn = co_await writing_.take();
  co_return co_await transport_.write(frame);
}

Task<Result<>> Session::send_data(uint32_t id, std::string_view bytes, bool fin) {
  do {
    std::string_view chunk = bytes.substr(0, kChunk);
    bytes.remove_prefix(chunk.size());
    std::string head = data_frame_header(id, fin && bytes.empty(), chunk.size());
    std::string_view parts[] = {head, chunk};
    auto turn = co_await writing_.take();
    auto r = co_await transport_.write(std::span<const std::string_view>(parts));
    if (!r) co_return r;
  } while (!bytes.empty());
  co_return Result<>{};
}

Task<StreamPtr> Session::accept() {
  for (;;) {
    uint64_t seen = changed_.version();
    if (!accepted_.empty()) break;
    if (ended_) co_return nullptr;
    co_await changed_.wait(seen);
  }
  StreamPtr s = std::move(accepted_.front());
  accepted_.pop_front();
  co_return s;
}

Task<> Session::wait_ended() {
  for (;;) {
    uint64_t seen = changed_.version();
    if (ended_) co_return;
    co_await changed_.wait(seen);
  }
}

Task<> Session::close() {
  std::string payload;
  append_u32(payload, last_id_);
  append_u32(payload, 0);
  auto r = co_await send(control_frame(Kind::goaway, 0, payload));
  if (r) r = co_await transport_.shutdown_write();
  (void)r;
}

}  // namespace agent::spdy
