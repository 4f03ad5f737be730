// From the backend to the client: waits for the head of an answer and carries its body in the framing it has.
#include <algorithm>

#include <fmt/format.h>

#include "ingress/front_state.h"
#include "ingress/headers.h"

namespace ingress {
namespace {

constexpr size_t kPiece = 64 * 1024;     // of a body on its way
constexpr base::Duration kGoneCheck = std::chrono::seconds(5);

}  // namespace

// The size of the head of the final answer, which is in c.buffer. 499: the client left meanwhile.
Task<Result<size_t>> Front::answer_head(BackendConnection& c, Stream& backend, Upload* upload) {
  size_t scanned = 0;
  base::TimePoint limit = Clock::now() + proxy_.times().answer;
  for (;;) {
    auto found = base::http::find_head_end(c.buffer.view(), scanned);
    if (!found) co_return std::unexpected(std::move(found.error()));
    if (*found > kHeadLimit || (*found == 0 && c.buffer.view().size() >= kHeadLimit))
      co_return base::bad_request("the answer's header is too large");
    if (*found > 0) {
      std::string_view text = c.buffer.view();
      bool interim = text.size() > 12 && text[9] == '1' && text.substr(9, 3) != "101";
      if (!interim) co_return *found;
      c.buffer.consume(*found);
      scanned = 0;
      continue;
    }
    auto now = Clock::now();
    // While a large body goes up, that is the sign of life, and reading from the client is the sender's.
    if (upload != nullptr && !upload->ended) limit = now + proxy_.times().answer;
    backend.set_read_deadline(std::min(limit, now + kGoneCheck));
    auto n = co_await backend.read(c.buffer.room(8192));
    if (!n && n.error().code == 504 && Clock::now() < limit) {
      bool gone = upload == nullptr && co_await client_is_gone();
      if (gone) co_return base::fail(499, "ClientGone", "the client is gone");
      continue;
    }
    if (!n) co_return std::unexpected(std::move(n.error()));
    if (*n == 0) co_return base::unavailable("the backend closed the connection");
    c.buffer.commit(*n);
  }
}

// Whether the client has closed. What it sends ahead is kept for the next request.
Task<bool> Front::client_is_gone() {
  if (client_->quiet() || in_.view().size() > kHeadLimit) co_return false;
  client_->set_read_deadline(Clock::now() + std::chrono::milliseconds(20));
  auto n = co_await client_->read(in_.room(2048));
  if (!n) co_return n.error().code != 504;
  in_.commit(*n);
  co_return *n == 0;
}

// Carries the answer. True when all of it reached the client.
Task<bool> Front::relay(BackendConnection& c, Stream& backend, size_t head_size, bool& reusable) {
  enum class Mode { none, length, chunks, until_close, tunnel } mode = Mode::none;
  uint64_t length = 0;
  {
    thread_local Head head;
    if (!base::http::parse_response_head(c.buffer.view().substr(0, head_size), kMaxFields, head)) co_return false;
    bool bodiless = head_method_ || head.status == 204 || head.status == 304;
    length = head.content_length.value_or(0);
    if (head.status == 101) mode = Mode::tunnel;
    else if (bodiless) mode = Mode::none;
    else if (head.chunked) mode = Mode::chunks;
    else if (head.content_length) mode = Mode::length;
    else mode = Mode::until_close;
    if (mode == Mode::tunnel && !upgrade_) co_return false;
    reusable = head.keep_alive && mode != Mode::until_close && mode != Mode::tunnel;
    if (minor_ == 0 && (mode == Mode::chunks || mode == Mode::until_close)) keep_alive_ = false;
    write_response_head(head, head.status != 204, down_head_);
    if (mode == Mode::tunnel) {
      down_head_ += "Connection: Upgrade\r\nUpgrade: ";
      down_head_ += head.get("Upgrade");
      down_head_ += "\r\n";
    } else if ((mode == Mode::chunks || mode == Mode::until_close) && minor_ == 1) {
      down_head_ += "Transfer-Encoding: chunked\r\n";
    }
    if (mode != Mode::tunnel && (!keep_alive_ || finishing_)) down_head_ += "Connection: close\r\n";
    else if (mode != Mode::tunnel && minor_ == 0) down_head_ += "Connection: keep-alive\r\n";
    down_head_ += "\r\n";
    c.buffer.consume(head_size);
  }
  bool whole = true;
  switch (mode) {
    case Mode::length: whole = co_await relay_length(c, backend, length); break;
    case Mode::chunks: whole = co_await relay_chunks(c, backend); break;
    case Mode::until_close: whole = co_await relay_until_close(c, backend); break;
    case Mode::tunnel: co_await tunnel(c, backend); break;
    case Mode::none: {
      std::string_view parts[] = {down_head_};
      auto sent = co_await to_client(parts);
      whole = sent.has_value();
      break;
    }
  }
  if (!c.buffer.empty()) reusable = false;
  co_return whole;
}

// The head goes out with the first piece of the body, in one write.
Task<bool> Front::relay_length(BackendConnection& c, Stream& backend, uint64_t left) {
  std::string_view head = down_head_;
  for (;;) {
    std::string_view piece = c.buffer.view();
    piece = piece.substr(0, static_cast<size_t>(std::min<uint64_t>(left, piece.size())));
    left -= piece.size();
    // Nothing of the body yet: it is probably close behind the head.
    if (!(piece.empty() && left > 0 && left <= kPiece)) {
      std::string_view parts[] = {head, piece};
      auto sent = co_await to_client(parts);
      if (!sent) co_return false;
      head = {};
    }
    c.buffer.consume(piece.size());
    if (left == 0) co_return true;
    backend.set_read_deadline(Clock::now() + proxy_.times().body);
    auto room = c.buffer.room(static_cast<size_t>(std::min<uint64_t>(left, kPiece)));
    auto n = co_await backend.read(room.subspan(0, static_cast<size_t>(std::min<uint64_t>(left, room.size()))));
    if (!n || *n == 0) co_return false;
    c.buffer.commit(*n);
  }
}

// Chunks pass as they are, after the decoder has agreed with them and knows where they end.
Task<bool> Front::relay_chunks(BackendConnection& c, Stream& backend) {
  std::string_view head = down_head_;
  base::http::ChunkDecoder decoder;
  for (;;) {
    std::string_view all = c.buffer.view(), rest = all;
    std::string plain;
    while (!rest.empty() && !decoder.done()) {
      auto run = decoder.next(rest);
      if (!run) co_return false;
      if (minor_ == 0) plain += *run;
    }
    std::string_view taken = all.substr(0, all.size() - rest.size());
    std::string_view parts[] = {head, minor_ == 0 ? std::string_view(plain) : taken};
    auto sent = co_await to_client(parts);
    if (!sent) co_return false;
    head = {};
    c.buffer.consume(taken.size());
    if (decoder.done()) co_return true;
    backend.set_read_deadline(Clock::now() + proxy_.times().body);
    auto n = co_await backend.read(c.buffer.room(16 * 1024));
    if (!n || *n == 0) co_return false;
    c.buffer.commit(*n);
  }
}

Task<bool> Front::relay_until_close(BackendConnection& c, Stream& backend) {
  std::string_view head = down_head_;
  for (;;) {
    std::string_view piece = c.buffer.view();
    char size[24];
    std::string_view size_line(size, static_cast<size_t>(fmt::format_to(size, "{:x}\r\n", piece.size()) - size));
    bool chunk = minor_ == 1 && !piece.empty();
    std::string_view parts[] = {head, chunk ? size_line : std::string_view(), piece, chunk ? "\r\n" : std::string_view()};
    auto sent = co_await to_client(parts);
    if (!sent) co_return false;
    head = {};
    c.buffer.consume(piece.size());
    backend.set_read_deadline(Clock::now() + proxy_.times().body);
    auto n = co_await backend.read(c.buffer.room(16 * 1024));
    if (!n) co_return false;
    if (*n == 0) break;
    c.buffer.commit(*n);
  }
  if (minor_ == 0) co_return true;
  std::string_view last[] = {"0\r\n\r\n"};
  auto sent = co_await to_client(last);
  co_return sent.has_value();
}

Task<> Front::tunnel(BackendConnection& c, Stream& backend) {
  keep_alive_ = false;
  std::string_view parts[] = {down_head_, c.buffer.view()};
  auto sent = co_await to_client(parts);
  if (!sent) co_return;
  c.buffer.consume(c.buffer.view().size());
  client_->set_write_deadline(std::nullopt);
  client_->set_read_deadline(std::nullopt);
  backend.set_write_deadline(std::nullopt);
  backend.set_read_deadline(std::nullopt);
  if (!in_.empty()) {
    sent = co_await backend.write(in_.view());
    if (!sent) co_return;
    in_.consume(in_.view().size());
  }
  co_await base::http::pipe(*client_, backend);
}

}  // namespace ingress
