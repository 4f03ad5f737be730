#include "base/http/socket_stream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"

namespace base::http {
namespace asio = boost::asio;
using boost::system::error_code;

namespace {

Failure peer_gone(int err) { return unavailable(fmt::format("connection lost: {}", std::strerror(err))); }

// Throws when the enclosing coroutine was cancelled, as every wait does.
Task<> throw_when_cancelled() {
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(asio::error::operation_aborted);
}

// The socket, its two deadlines and the one timer that serves both. The timer is armed lazily: only by an operation that has to
// wait, and only when no earlier wake-up is pending; a deadline that moves forward costs nothing.
// The mutex is for move_to(): a wake-up may still be queued on the strand that had the stream before.
struct Socket : std::enable_shared_from_this<Socket> {
  asio::posix::stream_descriptor fd;
  asio::steady_timer timer;
  std::mutex mutex;
  std::optional<TimePoint> read_deadline, write_deadline;
  TimePoint armed = TimePoint::max();
  bool reading = false, writing = false;
  bool read_expired = false, write_expired = false;
  bool closed = false;

  Socket(const Executor& e, int native) : fd(e, native), timer(e) {}

  void arm() {  // with the mutex held
    TimePoint t = TimePoint::max();
    if (reading && read_deadline) t = std::min(t, *read_deadline);
    if (writing && write_deadline) t = std::min(t, *write_deadline);
    if (t >= armed || closed) return;
    armed = t;
    timer.expires_at(t);
    timer.async_wait([weak = weak_from_this()](const error_code& ec) {
      if (ec) return;
      if (auto self = weak.lock()) self->on_timer();
    });
  }

  void on_timer() {
    std::scoped_lock lock(mutex);
    if (closed) return;
    armed = TimePoint::max();
    TimePoint now = Clock::now();
    bool expired = false;
    if (reading && read_deadline && *read_deadline <= now) expired = read_expired = true;
    if (writing && write_deadline && *write_deadline <= now) expired = write_expired = true;
    // Both directions wake up; the one that has time left waits again.
    if (expired) {
      error_code ignored;
      fd.cancel(ignored);
    }
    arm();
  }

  void close() {
    std::scoped_lock lock(mutex);
    if (closed) return;
    closed = true;
    error_code ignored;
    fd.close(ignored);
    timer.cancel();
  }
};

struct InFlight {
  Socket& socket;
  bool& flag;
  InFlight(Socket& s, bool& f) : socket(s), flag(f) {
    std::scoped_lock lock(s.mutex);
    flag = true;
    s.arm();
  }
  ~InFlight() {
    std::scoped_lock lock(socket.mutex);
    flag = false;
  }
};

class SocketStream final : public Stream {
 public:
  SocketStream(Fd fd, const Executor& e, std::string peer) : socket_(std::make_shared<Socket>(e, fd.release())), peer_(std::move(peer)) {
    error_code ignored;
    socket_->fd.native_non_blocking(true, ignored);
  }
  ~SocketStream() override { socket_->close(); }

  Task<Result<size_t>> read(std::span<char> into) override {
    auto s = socket_;
    if (s->closed) co_return unavailable("the stream is closed");
    if (into.empty()) co_return 0;
    // After a read that filled its buffer more is probably there already.
    if (full_) {
      ssize_t n = ::recv(s->fd.native_handle(), into.data(), into.size(), MSG_DONTWAIT);
      if (n >= 0) {
        full_ = static_cast<size_t>(n) == into.size();
        co_return static_cast<size_t>(n);
      }
      if (errno != EAGAIN && errno != EINTR) co_return peer_gone(errno);
      full_ = false;
    }
    for (;;) {
      s->read_expired = s->read_deadline && *s->read_deadline <= Clock::now();
      if (s->read_expired) co_return timeout("nothing arrived in time");
      error_code ec;
      size_t n = 0;
      {
        InFlight guard(*s, s->reading);
        n = co_await s->fd.async_read_some(asio::buffer(into.data(), into.size()), asio::redirect_error(asio::use_awaitable, ec));
      }
      if (!ec) {
        full_ = n == into.size();
        co_return n;
      }
      if (ec == asio::error::eof) co_return 0;
      if (ec != asio::error::operation_aborted) co_return peer_gone(ec.value());
      co_await throw_when_cancelled();
      if (s->closed) co_return unavailable("the stream is closed");
      if (s->read_expired) co_return timeout("nothing arrived in time");
    }
  }

  Task<Result<>> ready() override { return wait_ready(socket_); }

  Task<Result<>> write(std::span<const std::string_view> parts) override {
    auto s = socket_;
    size_t part = 0, offset = 0;
    for (;;) {
      if (s->closed) co_return unavailable("the stream is closed");
      iovec iov[32];
      size_t count = 0, total = 0;
      for (size_t i = part, skip = offset; i < parts.size() && count < 32; ++i, skip = 0) {
        if (parts[i].size() == skip) continue;
        iov[count++] = {const_cast<char*>(parts[i].data()) + skip, parts[i].size() - skip};
        total += parts[i].size() - skip;
      }
      if (count == 0) co_return Result<>{};
      msghdr message{};
      message.msg_iov = iov;
      message.msg_iovlen = count;
      ssize_t n = ::sendmsg(s->fd.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno != EAGAIN && errno != EINTR) co_return peer_gone(errno);
      for (auto left = static_cast<size_t>(std::max<ssize_t>(n, 0)); part < parts.size();) {
        size_t here = parts[part].size() - offset;
        if (left < here) {
          offset += left;
          break;
        }
        left -= here;
        offset = 0;
        ++part;
      }
      if (n >= 0 && static_cast<size_t>(n) == total) continue;
      s->write_expired = s->write_deadline && *s->write_deadline <= Clock::now();
      if (s->write_expired) co_return timeout("the peer does not read");
      error_code ec;
      {
        InFlight guard(*s, s->writing);
        co_await s->fd.async_wait(asio::posix::descriptor_base::wait_write, asio::redirect_error(asio::use_awaitable, ec));
      }
      if (!ec) continue;
      if (ec != asio::error::operation_aborted) co_return peer_gone(ec.value());
      co_await throw_when_cancelled();
      if (s->closed) co_return unavailable("the stream is closed");
      if (s->write_expired) co_return timeout("the peer does not read");
    }
  }

  Task<Result<>> shutdown_write() override {
    if (socket_->closed) co_return unavailable("the stream is closed");
    if (::shutdown(socket_->fd.native_handle(), SHUT_WR) != 0) co_return peer_gone(errno);
    co_return Result<>{};
  }

  void close() override { socket_->close(); }

  void set_read_deadline(std::optional<TimePoint> t) override {
    std::scoped_lock lock(socket_->mutex);
    socket_->read_deadline = t;
    if (socket_->reading) socket_->arm();
  }
  void set_write_deadline(std::optional<TimePoint> t) override {
    std::scoped_lock lock(socket_->mutex);
    socket_->write_deadline = t;
    if (socket_->writing) socket_->arm();
  }

  std::string peer_address() const override { return peer_; }
  std::string local_address() const override {
    sockaddr_storage a{};
    socklen_t n = sizeof a;
    if (socket_->closed || ::getsockname(socket_->fd.native_handle(), reinterpret_cast<sockaddr*>(&a), &n) != 0) return {};
    return format_address(a);
  }
  const std::string& peer_certificate() const override {
    static const std::string none;
    return none;
  }
  int native_handle() const override { return socket_->closed ? -1 : socket_->fd.native_handle(); }

  bool quiet() override {
    if (socket_->closed) return false;
    char byte = 0;
    return ::recv(socket_->fd.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }

  bool move_to(Executor e) override {
    std::shared_ptr<Socket> old = socket_;
    if (old->fd.get_executor() == e) return true;
    std::scoped_lock lock(old->mutex);
    if (old->closed || old->reading || old->writing) return false;
    old->closed = true;
    old->timer.cancel();
    socket_ = std::make_shared<Socket>(e, old->fd.release());
    return true;
  }

 private:
  // Small on purpose: one of these exists for each idle connection.
  static Task<Result<>> wait_ready(std::shared_ptr<Socket> s) {
    for (;;) {
      if (s->closed) co_return unavailable("the stream is closed");
      s->read_expired = s->read_deadline && *s->read_deadline <= Clock::now();
      if (s->read_expired) co_return timeout("nothing arrived in time");
      error_code ec;
      {
        InFlight guard(*s, s->reading);
        co_await s->fd.async_wait(asio::posix::descriptor_base::wait_read, asio::redirect_error(asio::use_awaitable, ec));
      }
      if (!ec) co_return Result<>{};
      if (ec != asio::error::operation_aborted) co_return peer_gone(ec.value());
      co_await throw_when_cancelled();
    }
  }

  std::shared_ptr<Socket> socket_;
  std::string peer_;
  bool full_ = false;
};

Task<Result<std::unique_ptr<Stream>>> connect_address(SocketAddress address, std::string description, Duration limit) {
  Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) co_return errno_error("socket");
  bool tcp = address.storage.ss_family != AF_UNIX;
  if (tcp) set_tcp_options(fd.get());
  int rc = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length);
  if (rc != 0 && errno != EINPROGRESS) {
    int err = errno;
    co_return unavailable(fmt::format("connect to {}: {}", description, std::strerror(err)));
  }
  Executor executor = co_await asio::this_coro::executor;
  if (rc != 0) {
    // The timer closes over a flag that outlives both.
    struct Attempt {
      asio::posix::stream_descriptor fd;
      asio::steady_timer timer;
      bool expired = false;
      Attempt(const Executor& e, int native) : fd(e, native), timer(e) {}
    };
    auto attempt = std::make_shared<Attempt>(executor, fd.release());
    attempt->timer.expires_after(limit);
    attempt->timer.async_wait([weak = std::weak_ptr(attempt)](const error_code& ec) {
      auto a = weak.lock();
      if (ec || !a) return;
      a->expired = true;
      error_code ignored;
      a->fd.cancel(ignored);
    });
    error_code ec;
    co_await attempt->fd.async_wait(asio::posix::descriptor_base::wait_write, asio::redirect_error(asio::use_awaitable, ec));
    attempt->timer.cancel();
    if (ec) {
      co_await throw_when_cancelled();
      if (attempt->expired) co_return timeout(fmt::format("connect to {}: no answer in time", description));
      co_return unavailable(fmt::format("connect to {}: {}", description, ec.message()));
    }
    fd = Fd(attempt->fd.release());
    int err = 0;
    socklen_t n = sizeof err;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &err, &n);
    if (err != 0) co_return unavailable(fmt::format("connect to {}: {}", description, std::strerror(err)));
  }
  co_return make_socket_stream(std::move(fd), executor, std::move(description));
}

}  // namespace

std::unique_ptr<Stream> make_socket_stream(Fd fd, Executor executor, std::string peer) {
  return std::make_unique<SocketStream>(std::move(fd), executor, std::move(peer));
}

std::string format_address(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    auto& a = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &a.sin_addr, text, sizeof text);
    return fmt::format("{}:{}", text, ntohs(a.sin_port));
  }
  if (address.ss_family == AF_INET6) {
    auto& a = reinterpret_cast<const sockaddr_in6&>(address);
    if (IN6_IS_ADDR_V4MAPPED(&a.sin6_addr)) {
      ::inet_ntop(AF_INET, a.sin6_addr.s6_addr + 12, text, sizeof text);
      return fmt::format("{}:{}", text, ntohs(a.sin6_port));
    }
    ::inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof text);
    return fmt::format("[{}]:{}", text, ntohs(a.sin6_port));
  }
  return "unix";
}

Result<SocketAddress> parse_address(const std::string& ip, uint16_t port) {
  SocketAddress out;
  auto& v4 = reinterpret_cast<sockaddr_in&>(out.storage);
  if (::inet_pton(AF_INET, ip.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    out.length = sizeof v4;
    return out;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out.storage);
  if (::inet_pton(AF_INET6, ip.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    out.length = sizeof v6;
    return out;
  }
  return bad_request(fmt::format("\"{}\" is not an IP address", ip));
}

void set_tcp_options(int fd) {
  auto set = [fd](int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A peer that vanished without a word is noticed after about a minute and a half.
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 45);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

Task<Result<std::unique_ptr<Stream>>> connect_tcp(std::string host, uint16_t port, Duration limit) {
  TimePoint deadline = Clock::now() + limit;
  CO_TRY(auto addresses, co_await resolve(host));
  Error last = unavailable(fmt::format("{} has no address", host)).error();
  for (size_t i = 0; i < addresses.size(); ++i) {
    CO_TRY(SocketAddress address, parse_address(addresses[i], port));
    // What is left is shared among the addresses that are left.
    Duration left = (deadline - Clock::now()) / static_cast<int>(addresses.size() - i);
    if (left <= Duration::zero()) co_return timeout(fmt::format("connect to {}: no answer in time", host));
    auto stream = co_await connect_address(address, format_address(address.storage), left);
    if (stream) co_return std::move(*stream);
    last = std::move(stream.error());
  }
  co_return std::unexpected(std::move(last));
}

Task<Result<std::unique_ptr<Stream>>> connect_unix(std::string path) {
  SocketAddress address;
  auto& un = reinterpret_cast<sockaddr_un&>(address.storage);
  if (path.size() >= sizeof un.sun_path) co_return bad_request(fmt::format("{}: longer than a socket path may be", path));
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path, path.data(), path.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  co_return co_await connect_address(address, path, 10s);
}

}  // namespace base::http
