#include <array>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/http/stream.h"

namespace base::http {
namespace asio = boost::asio;

namespace {

// One direction. An error or a timeout closes both ends, which ends the other direction too; the end of the input is passed on.
Task<> pump(Stream& from, Stream& to, Duration idle_timeout, TimePoint& last_activity) {
  std::string buffer(16 * 1024, '\0');
  for (;;) {
    // Idle means idle in both directions.
    from.set_read_deadline(last_activity + idle_timeout);
    auto n = co_await from.read(buffer);
    if (!n && n.error().code == 504 && Clock::now() < last_activity + idle_timeout) continue;
    if (!n) break;
    if (*n == 0) {
      auto ended = co_await to.shutdown_write();
      if (!ended) break;
      co_return;
    }
    last_activity = Clock::now();
    to.set_write_deadline(last_activity + idle_timeout);
    auto written = co_await to.write(std::string_view(buffer.data(), *n));
    if (!written) break;
  }
  from.close();
  to.close();
}

}  // namespace

Task<> pipe(Stream& a, Stream& b, Duration idle_timeout) {
  Executor executor = co_await asio::this_coro::executor;
  asio::steady_timer ended(executor, TimePoint::max());
  TimePoint last_activity = Clock::now();
  bool running = true;
  asio::co_spawn(executor, pump(b, a, idle_timeout, last_activity), [&](std::exception_ptr) {
    running = false;
    ended.cancel();
  });
  std::exception_ptr failure;
  try {
    co_await pump(a, b, idle_timeout, last_activity);
  } catch (...) {
    failure = std::current_exception();
    a.close();
    b.close();
  }
  // The other direction uses this frame: its end is awaited whatever happens; a cancellation closes both streams, which ends it.
  co_await asio::this_coro::throw_if_cancelled(false);
  while (running) {
    boost::system::error_code ec;
    co_await ended.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    if (!running) break;
    a.close();
    b.close();
  }
  co_await asio::this_coro::throw_if_cancelled(true);
  a.close();
  b.close();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace base::http
