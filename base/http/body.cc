#include "base/http/body.h"

#include <algorithm>
#include <cstring>

namespace base::http {

std::span<char> ReadBuffer::room(size_t n) {
  if (size_ - end_ < n) {
    size_t used = end_ - begin_;
    if (size_ >= used + n && begin_ > 0) {
      std::memmove(data_.get(), data_.get() + begin_, used);
    } else {
      size_t grown = std::max(size_ * 2, used + n);
      auto fresh = std::make_unique_for_overwrite<char[]>(grown);
      if (used > 0) std::memcpy(fresh.get(), data_.get() + begin_, used);
      data_ = std::move(fresh);
      size_ = grown;
    }
    begin_ = 0;
    end_ = used;
  }
  return {data_.get() + end_, size_ - end_};
}

void ReadBuffer::shrink(size_t size) {
  if (size_ <= size || end_ - begin_ > size) return;
  size_t used = end_ - begin_;
  auto fresh = std::make_unique_for_overwrite<char[]>(size);
  if (used > 0) std::memcpy(fresh.get(), data_.get() + begin_, used);
  data_ = std::move(fresh);
  size_ = size;
  begin_ = 0;
  end_ = used;
}

void Body::start(Framing framing, uint64_t length) {
  framing_ = framing;
  left_ = length;
  done_ = framing == Framing::none || (framing == Framing::length && length == 0);
  chunks_ = ChunkDecoder{};
}

Task<Result<size_t>> Body::read(Stream& stream, ReadBuffer& buffer, std::span<char> into) {
  if (into.empty()) co_return 0;
  while (!done_) {
    if (framing_ == Framing::chunked) {
      while (!buffer.empty() && !done_) {
        std::string_view in = buffer.view();
        std::string_view window = in.substr(0, std::min(in.size(), into.size()));
        std::string_view rest = window;
        CO_TRY(std::string_view run, chunks_.next(rest));
        if (!run.empty()) std::memcpy(into.data(), run.data(), run.size());
        buffer.consume(window.size() - rest.size());
        done_ = chunks_.done();
        if (!run.empty()) co_return run.size();
      }
      if (done_) break;
      std::span<char> room = buffer.room(4096);
      CO_TRY(size_t n, co_await stream.read(room));
      if (n == 0) co_return unavailable("the connection ended inside a body");
      buffer.commit(n);
      continue;
    }
    size_t want = framing_ == Framing::length ? static_cast<size_t>(std::min<uint64_t>(left_, into.size())) : into.size();
    size_t n = std::min(want, buffer.view().size());
    if (n > 0) {
      std::memcpy(into.data(), buffer.view().data(), n);
      buffer.consume(n);
    } else {
      CO_TRY(n, co_await stream.read(into.subspan(0, want)));
    }
    if (framing_ == Framing::until_close) {
      done_ = n == 0;
      co_return n;
    }
    if (n == 0) co_return unavailable("the connection ended inside a body");
    left_ -= n;
    done_ = left_ == 0;
    co_return n;
  }
  co_return 0;
}

namespace {

class ReplayStream final : public Stream {
 public:
  ReplayStream(std::string first, Stream& stream, std::unique_ptr<Stream> owned)
      : first_(std::move(first)), stream_(stream), owned_(std::move(owned)) {}

  Task<Result<size_t>> read(std::span<char> into) override {
    if (used_ == first_.size()) return stream_.read(into);
    return replay(into);
  }
  Task<Result<>> write(std::span<const std::string_view> parts) override { return stream_.write(parts); }
  Task<Result<>> ready() override { return used_ == first_.size() ? stream_.ready() : Stream::ready(); }
  Task<Result<>> shutdown_write() override { return stream_.shutdown_write(); }
  void close() override { stream_.close(); }
  void set_read_deadline(std::optional<TimePoint> t) override { stream_.set_read_deadline(t); }
  void set_write_deadline(std::optional<TimePoint> t) override { stream_.set_write_deadline(t); }
  std::string peer_address() const override { return stream_.peer_address(); }
  std::string local_address() const override { return stream_.local_address(); }
  const std::string& peer_certificate() const override { return stream_.peer_certificate(); }
  bool peer_certificate_refused() const override { return stream_.peer_certificate_refused(); }
  std::string_view alpn() const override { return stream_.alpn(); }
  std::string_view sni() const override { return stream_.sni(); }
  int native_handle() const override { return used_ == first_.size() ? stream_.native_handle() : -1; }
  bool quiet() override { return used_ == first_.size() && stream_.quiet(); }
  bool move_to(Executor e) override { return stream_.move_to(e); }

 private:
  Task<Result<size_t>> replay(std::span<char> into) {
    size_t n = std::min(into.size(), first_.size() - used_);
    std::memcpy(into.data(), first_.data() + used_, n);
    used_ += n;
    if (used_ == first_.size()) {
      first_ = std::string();
      used_ = 0;
    }
    co_return n;
  }

  std::string first_;
  size_t used_ = 0;
  Stream& stream_;
  std::unique_ptr<Stream> owned_;
};

}  // namespace

std::unique_ptr<Stream> make_replay_stream(std::string first, Stream& stream, std::unique_ptr<Stream> owned) {
  return std::make_unique<ReplayStream>(std::move(first), stream, std::move(owned));
}

}  // namespace base::http
