// TLS configuration and handshakes over any Stream. TLS 1.2 and later only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/http/stream.h"

namespace base::http {

struct KeyPair {
  std::string certificate_pem;  // chain, leaf first
  std::string key_pem;
};

// Immutable server or client configuration; shared by connections. Thread-safe.
class TlsContext;
using TlsContextPtr = std::shared_ptr<TlsContext>;

struct TlsServerOptions {
  KeyPair identity;
  // PEM bundle; when set, a client certificate is asked for and verified if sent. Connections without one are accepted.
  std::string client_ca_pem;
  std::vector<std::string> alpn = {"http/1.1"};
  // When set, chooses the certificate by SNI for each connection; null falls back to `identity`. Called on any thread.
  std::function<TlsContextPtr(std::string_view sni)> by_sni;
};
Result<TlsContextPtr> make_server_context(const TlsServerOptions& options);

struct TlsClientOptions {
  std::string ca_pem;         // empty with system_roots: the host's bundle
  bool system_roots = false;
  bool verify = true;         // false only for insecure_skip_verify
  std::optional<KeyPair> identity;
  std::vector<std::string> alpn = {"http/1.1"};
};
Result<TlsContextPtr> make_client_context(const TlsClientOptions& options);

// Both take the stream and hand back the encrypted one.
Task<Result<std::unique_ptr<Stream>>> tls_accept(std::unique_ptr<Stream> stream, TlsContextPtr context, Duration timeout = 10s);
// server_name: verified against the certificate (DNS name or IP literal) and sent as SNI where it is a name.
Task<Result<std::unique_ptr<Stream>>> tls_connect(std::unique_ptr<Stream> stream, TlsContextPtr context, std::string server_name,
                                                  Duration timeout = 10s);

}  // namespace base::http
