// A byte stream (TCP, TLS, Unix socket, in-memory pair, the inside of a WebSocket) behind one virtual interface, so that
// Asio's and OpenSSL's templates are instantiated in one file each.
//
// A stream lives on one strand: that of the coroutine that made it (or accepted it). One read and one write may be in flight at
// the same time. Every operation fails with 504 Timeout when the deadline passes and with 503 when the peer is gone.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/io.h"

namespace base::http {

class Stream {
 public:
  virtual ~Stream() = default;
  // Some bytes, at least one; 0 at the end of the stream.
  virtual Task<Result<size_t>> read(std::span<char> into) = 0;
  // All bytes of all parts, gathered (writev). The parts must live until it returns.
  virtual Task<Result<>> write(std::span<const std::string_view> parts) = 0;
  // No more will be written; the peer sees the end after what was written.
  virtual Task<Result<>> shutdown_write() = 0;
  // Aborts what is in flight; safe to call more than once, on the stream's strand.
  virtual void close() = 0;
  // For the operations that follow (and those in flight); nullopt: none.
  virtual void set_read_deadline(std::optional<TimePoint> t) = 0;
  virtual void set_write_deadline(std::optional<TimePoint> t) = 0;
  // "10.0.0.1:4711", or a description for what is not IP.
  virtual std::string peer_address() const = 0;
  virtual std::string local_address() const = 0;
  // DER of the peer's verified TLS certificate; empty without one.
  virtual const std::string& peer_certificate() const = 0;
  // The peer sent a certificate that did not verify: another CA's, expired, or not for a client.
  virtual bool peer_certificate_refused() const { return false; }
  // ALPN protocol chosen ("h2", "http/1.1", or empty); SNI name the client sent.
  virtual std::string_view alpn() const { return {}; }
  virtual std::string_view sni() const { return {}; }
  // The socket where there is exactly one below and nothing buffered above it (for splice), else -1.
  virtual int native_handle() const { return -1; }
  // Waits, without holding a buffer, until a read will return at once. For long idle times; the read deadline counts.
  virtual Task<Result<>> ready() { co_return Result<>{}; }
  // Whether nothing has arrived since the last read and the peer has not closed: asked before a pooled connection is used again. Does not wait.
  virtual bool quiet() { return true; }
  // Hands the stream over to the strand of the caller while nothing is in flight and no deadline is set. False when it cannot.
  virtual bool move_to(Executor) { return false; }

  Task<Result<>> write(std::string_view one) {
    std::string_view parts[] = {one};
    co_return co_await write(std::span<const std::string_view>(parts));
  }
};

// Copies both ways until both ends are done or one fails; half-close is passed on. Closes both.
Task<> pipe(Stream& a, Stream& b, Duration idle_timeout = 4h);

// Two connected in-memory streams (64 KiB buffer each way), for tests and for components in one process.
std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> make_stream_pair(Executor a, Executor b);

// Stub resolver: IP literals, /etc/hosts, then the servers of /etc/resolv.conf over UDP with TCP fallback (a static executable has no NSS).
Task<Result<std::vector<std::string>>> resolve(std::string host);

// Plain connection to an IP literal or name; tries each address.
Task<Result<std::unique_ptr<Stream>>> connect_tcp(std::string host, uint16_t port, Duration timeout = 10s);
Task<Result<std::unique_ptr<Stream>>> connect_unix(std::string path);

}  // namespace base::http
