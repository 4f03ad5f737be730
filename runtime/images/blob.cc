#include "runtime/images/blob.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace runtime {

using base::Result;
using base::Task;
using namespace std::chrono_literals;

namespace {

class FileBlob final : public BlobSource {
 public:
  explicit FileBlob(base::Fd file) : file_(std::move(file)) {}
  Task<Result<size_t>> read(std::span<char> into) override {
    int fd = file_.get();
    co_return co_await base::offload([fd, into]() -> Result<size_t> {
      for (;;) {
        ssize_t n = ::read(fd, into.data(), into.size());
        if (n >= 0) return static_cast<size_t>(n);
        if (errno != EINTR) return base::errno_error("read");
      }
    });
  }

 private:
  base::Fd file_;
};

class ResponseBlob final : public BlobSource {
 public:
  explicit ResponseBlob(std::unique_ptr<base::http::ClientResponse> response) : response_(std::move(response)) {
    std::string_view length = response_->headers.get("Content-Length");
    uint64_t value = 0;
    if (!length.empty() && std::from_chars(length.data(), length.data() + length.size(), value).ec == std::errc()) left_ = value;
  }
  Task<Result<size_t>> read(std::span<char> into) override {
    // Small pieces are gathered, so that each hand-over to the unpacker is worth its cost.
    size_t have = 0;
    // Once all of a body of known length has been read the connection belongs to the pool again.
    while (have < into.size() && left_ != 0) {
      response_->stream().set_read_deadline(base::Clock::now() + 60s);
      auto n = co_await response_->read(into.subspan(have));
      if (!n) co_return std::unexpected(n.error());
      if (*n == 0) break;
      have += *n;
      left_ -= std::min<uint64_t>(*n, left_);
    }
    co_return have;
  }

 private:
  std::unique_ptr<base::http::ClientResponse> response_;
  uint64_t left_ = UINT64_MAX;  // of the body; unknown: no end but that of the stream
};

}  // namespace

std::unique_ptr<BlobSource> blob_of_file(base::Fd file) { return std::make_unique<FileBlob>(std::move(file)); }

std::unique_ptr<BlobSource> blob_of_response(std::unique_ptr<base::http::ClientResponse> response) {
  return std::make_unique<ResponseBlob>(std::move(response));
}

}  // namespace runtime
