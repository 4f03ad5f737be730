// HTTP/1.1 client with a pool of kept-alive connections per destination. Thread-safe; connections are not shared between strands at one time.
#pragma once

#include <functional>
#include <memory>

#include "base/http/message.h"
#include "base/http/stream.h"
#include "base/http/tls.h"

namespace base::http {

struct ClientRequest {
  std::string method = "GET";
  std::string url;  // http://host:port/path?query or https://...
  Headers headers;  // Host, Content-Length are added
  std::string body;
  // Until the response header; the body then has no deadline unless read with one. Retries once on a kept-alive connection that turns out dead.
  Duration timeout = 30s;
  // Redirects are never followed; a 3xx is handed back.
};

class ClientResponse {
 public:
  virtual ~ClientResponse() = default;
  int status = 0;
  Headers headers;
  // Some bytes of the body; 0 at its end, after which the connection returns to the pool.
  virtual Task<Result<size_t>> read(std::span<char> into) = 0;
  virtual Task<Result<std::string>> body(size_t limit = 64u << 20) = 0;
  // After 101 (or 2xx of CONNECT): the raw connection, owned by the caller.
  virtual std::unique_ptr<Stream> take_stream() = 0;
  virtual Stream& stream() = 0;
};

struct ClientOptions {
  TlsContextPtr tls;  // for https; null: system roots
  std::string user_agent = "appliance";
  // Replaces DNS and TCP: for tunnels and tests. The stream is used as is for http, and TLS is spoken over it for https.
  std::function<Task<Result<std::unique_ptr<Stream>>>(std::string host, uint16_t port)> dial;
  size_t idle_per_host = 8;
  Duration idle_timeout = 60s;
};

class Client {
 public:
  explicit Client(ClientOptions options);
  ~Client();
  Task<Result<std::unique_ptr<ClientResponse>>> send(ClientRequest request);
  void set_tls(TlsContextPtr tls);  // new connections
  void close_idle();

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

// One request on a stream that already exists; the stream belongs to the response afterwards.
Task<Result<std::unique_ptr<ClientResponse>>> send_on(std::unique_ptr<Stream> stream, ClientRequest request);

}  // namespace base::http
