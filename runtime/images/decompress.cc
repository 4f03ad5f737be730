#include "runtime/images/decompress.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace runtime {

using base::Result;

namespace {

constexpr size_t kChunk = 128 * 1024;

base::Failure damaged(std::string_view what) { return base::fail(422, "ImageInvalid", "the layer is damaged: " + std::string(what)); }

class Descriptor final : public ByteSource {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Result<size_t> read(std::span<char> into) override {
    for (;;) {
      ssize_t n = ::read(fd_, into.data(), into.size());
      if (n >= 0) return static_cast<size_t>(n);
      if (errno != EINTR) return base::errno_error("read");
    }
  }

 private:
  int fd_;
};

// Bytes already read, then the rest.
class Replay final : public ByteSource {
 public:
  Replay(std::string head, std::unique_ptr<ByteSource> rest) : head_(std::move(head)), rest_(std::move(rest)) {}
  Result<size_t> read(std::span<char> into) override {
    if (at_ == head_.size()) return rest_->read(into);
    size_t n = std::min(into.size(), head_.size() - at_);
    std::memcpy(into.data(), head_.data() + at_, n);
    at_ += n;
    return n;
  }

 private:
  std::string head_;
  size_t at_ = 0;
  std::unique_ptr<ByteSource> rest_;
};

class Gzip final : public ByteSource {
 public:
  explicit Gzip(std::unique_ptr<ByteSource> in) : in_(std::move(in)), buffer_(kChunk) { good_ = inflateInit2(&z_, 15 + 16) == Z_OK; }
  ~Gzip() override { inflateEnd(&z_); }

  Result<size_t> read(std::span<char> into) override {
    if (!good_) return damaged("no memory to decompress it");
    if (ended_) return size_t{0};
    z_.next_out = reinterpret_cast<Bytef*>(into.data());
    z_.avail_out = static_cast<uInt>(into.size());
    while (z_.avail_out == into.size()) {
      if (z_.avail_in == 0) {
        TRY(size_t n, in_->read(buffer_));
        if (n == 0) {
          if (between_) break;
          return damaged("gzip data ends too early");
        }
        z_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
        z_.avail_in = static_cast<uInt>(n);
      }
      if (between_) {
        // After a member: another one, or padding that is not part of the data.
        if (*z_.next_in != 0x1f) break;
        inflateReset(&z_);
        between_ = false;
      }
      int rc = inflate(&z_, Z_NO_FLUSH);
      if (rc == Z_STREAM_END) {
        between_ = true;
      } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
        return damaged(z_.msg ? z_.msg : "invalid gzip data");
      }
    }
    size_t produced = into.size() - z_.avail_out;
    ended_ = produced == 0;
    return produced;
  }

 private:
  std::unique_ptr<ByteSource> in_;
  std::vector<char> buffer_;
  z_stream z_{};
  bool good_ = false, between_ = false, ended_ = false;
};

class Zstd final : public ByteSource {
 public:
  explicit Zstd(std::unique_ptr<ByteSource> in) : in_(std::move(in)), buffer_(kChunk), z_(ZSTD_createDStream()) {
    ZSTD_DCtx_setParameter(z_, ZSTD_d_windowLogMax, 27);
  }
  ~Zstd() override { ZSTD_freeDStream(z_); }

  Result<size_t> read(std::span<char> into) override {
    ZSTD_outBuffer out{into.data(), into.size(), 0};
    while (out.pos == 0) {
      if (from_.pos == from_.size) {
        TRY(size_t n, in_->read(buffer_));
        if (n == 0) {
          // Output may still be held back when the last call filled its buffer.
          if (between_) return size_t{0};
          size_t left = ZSTD_decompressStream(z_, &out, &from_);
          if (ZSTD_isError(left) || (out.pos == 0 && left != 0)) return damaged("zstd data ends too early");
          between_ = left == 0;
          continue;
        }
        from_ = {buffer_.data(), n, 0};
      }
      size_t left = ZSTD_decompressStream(z_, &out, &from_);
      if (ZSTD_isError(left)) return damaged(ZSTD_getErrorName(left));
      between_ = left == 0;
    }
    return out.pos;
  }

 private:
  std::unique_ptr<ByteSource> in_;
  std::vector<char> buffer_;
  ZSTD_DStream* z_;
  ZSTD_inBuffer from_{nullptr, 0, 0};
  bool between_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> read_descriptor(int fd) { return std::make_unique<Descriptor>(fd); }

Result<std::unique_ptr<ByteSource>> decompress(std::unique_ptr<ByteSource> compressed) {
  std::string head(4, '\0');
  size_t got = 0;
  while (got < head.size()) {
    TRY(size_t n, compressed->read(std::span(head).subspan(got)));
    if (n == 0) break;
    got += n;
  }
  head.resize(got);
  bool gzip = head.starts_with("\x1f\x8b");
  bool zstd = head == std::string_view("\x28\xb5\x2f\xfd", 4) || (got == 4 && (head[0] & 0xf0) == 0x50 && head.substr(1) == "\x2a\x4d\x18");
  auto whole = std::make_unique<Replay>(std::move(head), std::move(compressed));
  if (gzip) return std::make_unique<Gzip>(std::move(whole));
  if (zstd) return std::make_unique<Zstd>(std::move(whole));
  return whole;
}

}  // namespace runtime
