#include "runtime/images/blob.h"

#include <unistd.h>

#include <cerrno>

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
  explicit ResponseBlob(std::unique_ptr<base::http::ClientResponse> response) : response_(std::move(response)) {}
  Task<Result<size_t>> read(std::span<char> into) override {
    // Small pieces are gathered, so that each hand-over to the unpacker is worth its cost.
    size_t have = 0;
    while (have < into.size()) {
      response_->stream().set_read_deadline(base::Clock::now() + 60s);
      auto n = co_await response_->read(into.subspan(have));
      if (!n) co_return std::unexpected(n.error());
      if (*n == 0) break;
      have += *n;
    }
    co_return have;
  }

 private:
  std::unique_ptr<base::http::ClientResponse> response_;
};

}  // namespace

std::unique_ptr<BlobSource> blob_of_file(base::Fd file) { return std::make_unique<FileBlob>(std::move(file)); }

std::unique_ptr<BlobSource> blob_of_response(std::unique_ptr<base::http::ClientResponse> response) {
  return std::make_unique<ResponseBlob>(std::move(response));
}

}  // namespace runtime
