#include "base/inotify.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace base {
namespace asio = boost::asio;

struct Inotify::Impl {
  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;
  Impl(Executor e, int fd) : descriptor(e, fd), timer(e) {}
};

Inotify::Inotify(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Inotify::~Inotify() = default;

Task<Result<std::unique_ptr<Inotify>>> Inotify::open() {
  auto executor = co_await asio::this_coro::executor;
  int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) co_return errno_error("inotify_init1");
  co_return std::unique_ptr<Inotify>(new Inotify(std::make_unique<Impl>(executor, fd)));
}

Result<> Inotify::add(const std::string& path, uint32_t mask) {
  if (::inotify_add_watch(impl_->descriptor.native_handle(), path.c_str(), mask) < 0) return errno_error("watch " + path);
  return {};
}

Task<Result<bool>> Inotify::wait(std::optional<TimePoint> deadline) {
  bool late = false;
  if (deadline) {
    impl_->timer.expires_at(*deadline);
    impl_->timer.async_wait([&late, this](const boost::system::error_code& ec) {
      if (ec) return;
      late = true;
      impl_->descriptor.cancel();
    });
  }
  boost::system::error_code ec;
  co_await impl_->descriptor.async_wait(asio::posix::stream_descriptor::wait_read, asio::redirect_error(asio::use_awaitable, ec));
  if (late) co_return false;
  if (deadline && impl_->timer.cancel() == 0) {
    // The timer's handler is already queued and refers to this frame: let it run first.
    co_await sleep_for(Duration::zero());
  }
  if (ec) throw boost::system::system_error(ec);
  char events[4096];
  while (::read(impl_->descriptor.native_handle(), events, sizeof events) > 0) {
  }
  co_return true;
}

}  // namespace base
