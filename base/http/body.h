// Reading from a stream with look-ahead, and message bodies by their framing (RFC 9112 part 6). Internal to base/http.
#pragma once

#include "base/http/stream.h"
#include "base/http/wire.h"

namespace base::http {

// Bytes that were read but not yet used.
class ReadBuffer {
 public:
  std::string_view view() const { return {data_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  void consume(size_t n) {
    begin_ += n;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  // Room for at least `n` more bytes.
  std::span<char> room(size_t n);
  void commit(size_t n) { end_ += n; }
  // Gives all memory back where nothing is kept.
  void release() {
    if (!empty()) return;
    data_.reset();
    size_ = begin_ = end_ = 0;
  }
  // Gives back what grew beyond `size`, where it is unused.
  void shrink(size_t size);

 private:
  std::unique_ptr<char[]> data_;
  size_t size_ = 0, begin_ = 0, end_ = 0;
};

// One message's body. Used on the stream's strand.
class Body {
 public:
  enum class Framing { none, length, chunked, until_close };
  void start(Framing framing, uint64_t length = 0);
  bool done() const { return done_; }
  Framing framing() const { return framing_; }
  uint64_t left() const { return left_; }  // of length framing
  // Some bytes; 0 at the end. An end of the stream before the body's is an error.
  Task<Result<size_t>> read(Stream& stream, ReadBuffer& buffer, std::span<char> into);

 private:
  Framing framing_ = Framing::none;
  uint64_t left_ = 0;
  bool done_ = true;
  ChunkDecoder chunks_;
};

// The stream with bytes in front of it. Owns it when given.
std::unique_ptr<Stream> make_replay_stream(std::string first, Stream& stream, std::unique_ptr<Stream> owned);

}  // namespace base::http
