#include "base/http/server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include <fmt/format.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/http/connection.h"
#include "base/http/socket_stream.h"
#include "base/log.h"

namespace base::http {
namespace asio = boost::asio;

struct Server::Impl : std::enable_shared_from_this<Server::Impl> {
  // A connection, or the accepting loop. `connection` belongs to the strand.
  struct Entry {
    Executor strand;
    asio::cancellation_signal cancel;
    size_t lane = 0;
    std::shared_ptr<Connection> connection;
    bool finishing = false;
  };
  using EntryPtr = std::shared_ptr<Entry>;

  Runtime& runtime;
  ServerOptions options;
  Handler handler;
  std::vector<Executor> lanes;
  ConnectionFactory factory;  // null: connections with the handler
  uint16_t port = 0;

  std::mutex mutex;
  TlsContextPtr tls;
  std::unordered_map<Entry*, EntryPtr> entries;
  EntryPtr acceptor;
  bool stopping = false;
  Event changed;

  Impl(Runtime& r, ServerOptions o, Handler h) : runtime(r), options(std::move(o)), handler(std::move(h)), tls(options.tls) {}

  size_t count() {
    std::scoped_lock lock(mutex);
    return entries.size();
  }

  TlsContextPtr current_tls() {
    std::scoped_lock lock(mutex);
    return tls;
  }

  // Starts `task` on the entry's strand; the slot is only touched there.
  void launch(EntryPtr entry, Task<> task) {
    {
      std::scoped_lock lock(mutex);
      if (stopping) return;
      entries.emplace(entry.get(), entry);
    }
    auto done = [self = shared_from_this(), entry](std::exception_ptr failure) {
      if (failure) {
        try {
          std::rethrow_exception(failure);
        } catch (const boost::system::system_error& e) {
          if (e.code() != asio::error::operation_aborted) log::error("http", "a connection ended by an exception: {}", e.what());
        } catch (const std::exception& e) {
          log::error("http", "a connection ended by an exception: {}", e.what());
        }
      }
      entry->connection.reset();
      {
        std::scoped_lock lock(self->mutex);
        self->entries.erase(entry.get());
      }
      self->changed.notify();
    };
    post(entry->strand, [entry, task = std::move(task), done = std::move(done)]() mutable {
      asio::co_spawn(entry->strand, std::move(task), asio::bind_cancellation_slot(entry->cancel.slot(), std::move(done)));
    });
  }

  Task<> serve(EntryPtr entry, Fd fd, std::string peer) {
    auto self = shared_from_this();
    std::unique_ptr<Stream> stream = make_socket_stream(std::move(fd), entry->strand, std::move(peer));
    if (TlsContextPtr context = current_tls()) {
      auto secured = co_await tls_accept(std::move(stream), std::move(context), options.limits.header_timeout);
      if (!secured) {
        log::debug("http", "{}", secured.error().message);
        co_return;
      }
      stream = std::move(*secured);
    }
    auto connection = factory ? factory(std::move(stream), entry->lane) : make_connection(std::move(stream), handler, options.limits);
    entry->connection = connection;
    if (entry->finishing) connection->finish();
    co_await connection->serve();
  }

  Task<> accept_loop(EntryPtr entry, Fd listener) {
    auto self = shared_from_this();
    asio::posix::stream_descriptor socket(entry->strand, listener.release());
    bool complained = false;
    size_t turn = 0;
    for (;;) {
      uint64_t seen = changed.version();
      if (count() > options.max_connections) {
        co_await changed.wait(seen);
        continue;
      }
      sockaddr_storage address{};
      socklen_t length = sizeof address;
      Fd fd(::accept4(socket.native_handle(), reinterpret_cast<sockaddr*>(&address), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd) {
        complained = false;
        auto connection = std::make_shared<Entry>();
        connection->lane = lanes.empty() ? 0 : turn++ % lanes.size();
        connection->strand = lanes.empty() ? runtime.strand() : lanes[connection->lane];
        launch(connection, serve(connection, std::move(fd), format_address(address)));
        continue;
      }
      int err = errno;
      if (err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM) {
        if (!complained) log::error("http", "cannot accept a connection: {}", std::strerror(err));
        complained = true;
        co_await changed.wait(seen, Clock::now() + 200ms);
        continue;
      }
      if (err != EAGAIN) continue;  // the connection was gone before it was accepted
      boost::system::error_code ec;
      co_await socket.async_wait(asio::posix::descriptor_base::wait_read, asio::redirect_error(asio::use_awaitable, ec));
      if (ec) co_return;
    }
  }

  Result<> start() {
    TRY(SocketAddress address, parse_address(options.address, options.port));
    Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return errno_error("socket");
    int one = 1, zero = 0;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address.storage.ss_family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    set_tcp_options(fd.get());
    auto where = format_address(address.storage);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address.storage), address.length) != 0 || ::listen(fd.get(), 4096) != 0) {
      int err = errno;
      if (err == EADDRINUSE)
        return fail(500, "AddressInUse",
                    fmt::format("cannot listen on {}: port {} is already in use by another process", where, options.port));
      return errno_error(fmt::format("cannot listen on {}", where), err);
    }
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &length);
    std::string text = format_address(bound);
    port = static_cast<uint16_t>(std::stoi(text.substr(text.rfind(':') + 1)));
    acceptor = std::make_shared<Entry>();
    acceptor->strand = runtime.strand();
    launch(acceptor, accept_loop(acceptor, std::move(fd)));
    return {};
  }

  Task<> stop(Duration grace) {
    auto self = shared_from_this();
    TimePoint deadline = Clock::now() + grace;
    each([acceptor = acceptor](const EntryPtr& e) {
      e->finishing = true;
      if (e == acceptor) e->cancel.emit(asio::cancellation_type::terminal);
      else if (e->connection) e->connection->finish();
    });
    bool cancelled = false;
    for (;;) {
      uint64_t seen = changed.version();
      if (count() == 0) co_return;
      if (cancelled) {
        co_await changed.wait(seen);
        continue;
      }
      bool in_time = co_await changed.wait(seen, deadline);
      if (in_time) continue;
      cancelled = true;
      each([](const EntryPtr& e) { e->cancel.emit(asio::cancellation_type::terminal); });
    }
  }

  template <class F>
  void each(F f) {
    std::scoped_lock lock(mutex);
    stopping = true;
    for (auto& [key, e] : entries) asio::post(e->strand, [e, f] { f(e); });
  }
};

Server::Server(Runtime& runtime, ServerOptions options, Handler handler)
    : impl_(std::make_shared<Impl>(runtime, std::move(options), std::move(handler))) {}
Server::Server(Runtime& runtime, ServerOptions options, std::vector<Executor> lanes, ConnectionFactory factory)
    : impl_(std::make_shared<Impl>(runtime, std::move(options), Handler())) {
  impl_->lanes = std::move(lanes);
  impl_->factory = std::move(factory);
}
Server::~Server() = default;
Result<> Server::start() { return impl_->start(); }
uint16_t Server::port() const { return impl_->port; }
void Server::set_tls(TlsContextPtr tls) {
  std::scoped_lock lock(impl_->mutex);
  impl_->tls = std::move(tls);
}
Task<> Server::stop(Duration grace) { return impl_->stop(grace); }

}  // namespace base::http
