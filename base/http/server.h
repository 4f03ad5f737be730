// HTTP/1.1 and HTTP/2 server on Streams, chosen by ALPN. A handler sees requests and responses of the project's own types.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/http/message.h"
#include "base/http/stream.h"
#include "base/http/tls.h"

namespace base::http {

struct Limits {
  size_t header_bytes = 64 * 1024;
  size_t headers = 200;
  Duration header_timeout = 30s;   // from the first byte of a request to the end of its header
  Duration idle_timeout = 120s;    // between requests
  Duration write_timeout = 60s;    // without progress of a write
  size_t streams = 100;            // requests at a time on one HTTP/2 connection
};

// A request whose header has arrived. The body is read by the handler; what it leaves is drained (up to 256 KiB, else the connection closes).
class Request {
 public:
  virtual ~Request() = default;
  std::string method;
  std::string target;  // as sent: /api/v1/pods?limit=5
  std::string path;    // of target, still percent-encoded
  Query query;
  Headers headers;
  // Until when body() may wait: 504 afterwards. Set by the handler; none: as long as something arrives within the idle timeout.
  std::optional<TimePoint> deadline;
  virtual Stream& stream() = 0;
  // All of the body; 413 past the limit (before reading when Content-Length says so).
  virtual Task<Result<std::string>> body(size_t limit) = 0;
  // Some bytes of the body; 0 at its end.
  virtual Task<Result<size_t>> read_some(std::span<char> into) = 0;
  virtual bool has_body() const = 0;
};

// Exactly one of send(), begin()...end() or upgrade() per request; nothing sent becomes a 500.
class Response {
 public:
  virtual ~Response() = default;
  int status = 200;
  Headers headers;
  // Whole body with Content-Length. The parts are gathered, not copied; they must live until it returns.
  virtual Task<Result<>> send(std::span<const std::string_view> parts) = 0;
  Task<Result<>> send(std::string_view body) {
    std::string_view parts[] = {body};
    co_return co_await send(std::span<const std::string_view>(parts));
  }
  // Streamed body (chunked, or DATA frames). Each write is flushed.
  virtual Task<Result<>> begin() = 0;
  virtual Task<Result<>> write(std::span<const std::string_view> parts) = 0;
  Task<Result<>> write(std::string_view chunk) {
    std::string_view parts[] = {chunk};
    co_return co_await write(std::span<const std::string_view>(parts));
  }
  virtual Task<Result<>> end() = 0;
  // Sends status (101 unless set otherwise) and headers and hands over the connection; HTTP on it is over. An error over HTTP/2.
  // The returned stream replays bytes that were already read. Valid until the handler returns, so the handler stays in it.
  virtual Task<Result<Stream*>> upgrade() = 0;
  virtual bool started() const = 0;
  // Completes when the client has gone away. For handlers that wait with nothing to write (watch, logs -f); not with upgrade().
  virtual Task<> client_gone() = 0;
};

using Handler = std::function<Task<>(Request&, Response&)>;

// Serves requests on one stream until it ends; with HTTP/2 several at a time, all on the caller's strand. The handler's exceptions become 500 and are logged.
Task<> serve_connection(std::unique_ptr<Stream> stream, Handler handler, Limits limits = {});

struct ServerOptions {
  std::string address = "0.0.0.0";  // IP literal; "::" for both families
  uint16_t port = 0;                // 0: any free one
  TlsContextPtr tls;                // null: plain
  Limits limits;
  size_t max_connections = 10000;   // further ones wait in the backlog
};

// A connection in someone else's hands: a proxy speaks HTTP itself, on the raw stream.
class Connection {
 public:
  virtual ~Connection() = default;
  // Until the connection's end. The Server keeps the object alive meanwhile.
  virtual Task<> serve() = 0;
  // Ends after the request in progress; at once when idle. On the connection's strand.
  virtual void finish() = 0;
};
// Called on the lane's strand, after the TLS handshake.
using ConnectionFactory = std::function<std::shared_ptr<Connection>(std::unique_ptr<Stream> stream, size_t lane)>;

// Accepts connections, each on a strand of its own.
class Server {
 public:
  Server(Runtime& runtime, ServerOptions options, Handler handler);
  // Connections are spread over the given strands, so that those of one lane can share what is bound to it.
  Server(Runtime& runtime, ServerOptions options, std::vector<Executor> lanes, ConnectionFactory factory);
  ~Server();
  // Binds and starts accepting. "address already in use" names the port.
  Result<> start();
  uint16_t port() const;
  // New connections use the new context; for certificate renewal. Thread-safe.
  void set_tls(TlsContextPtr tls);
  // Stops accepting, lets handlers finish for `grace`, then cancels them.
  Task<> stop(Duration grace = 5s);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace base::http
