#include "runtime/exec/fd_stream.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/exec/readiness.h"

namespace runtime {

namespace {

class Stream final : public FdStream {
 public:
  Stream(base::Runtime& runtime, base::Fd fd) : ready_(runtime, std::move(fd)) {}

  Task<Result<std::string>> read(size_t n) override {
    for (;;) {
      std::string data(std::clamp<size_t>(n, 1, 1u << 20), '\0');
      int err = 0;
      ssize_t got = ready_.with([&](int fd) -> ssize_t {
        if (fd < 0) return 0;
        ssize_t r = ::read(fd, data.data(), data.size());
        err = errno;
        return r;
      });
      if (got >= 0) {
        data.resize(static_cast<size_t>(got));
        co_return data;
      }
      if (err == EIO) co_return std::string();  // a terminal without users
      if (err == EINTR) continue;
      if (err != EAGAIN) co_return base::errno_error("read", err);
      if (!co_await ready_.readable()) co_return std::string();
    }
  }

  Task<Result<>> write(std::string data) override {
    size_t done = 0;
    while (done < data.size()) {
      int err = 0;
      ssize_t n = ready_.with([&](int fd) -> ssize_t {
        err = EPIPE;
        if (fd < 0) return -1;
        ssize_t r = ::write(fd, data.data() + done, data.size() - done);
        err = errno;
        return r;
      });
      if (n >= 0) {
        done += static_cast<size_t>(n);
        continue;
      }
      if (err == EINTR) continue;
      if (err == EPIPE || err == EIO) co_return base::fail(410, "BrokenPipe", "nobody reads the stream any more");
      if (err != EAGAIN) co_return base::errno_error("write", err);
      if (!co_await ready_.writable()) co_return base::fail(410, "BrokenPipe", "the stream has been closed");
    }
    co_return Result<>();
  }

  void close() override { ready_.close(); }

 private:
  Readiness ready_;
};

}  // namespace

FdStreamPtr make_fd_stream(base::Runtime& runtime, base::Fd fd) { return std::make_shared<Stream>(runtime, std::move(fd)); }

}  // namespace runtime
