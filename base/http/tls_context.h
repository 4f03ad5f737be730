// What a TlsContext is inside: an SSL_CTX and what its callbacks need. Internal to base/http.
#pragma once

#include <openssl/ssl.h>

#include "base/http/tls.h"

namespace base::http {

class TlsContext {
 public:
  explicit TlsContext(SSL_CTX* c) : ctx(c) {}
  ~TlsContext() { SSL_CTX_free(ctx); }
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  SSL_CTX* ctx;
  bool server = false;
  bool verify = true;       // client role
  std::string alpn_wire;    // length-prefixed names
  std::function<TlsContextPtr(std::string_view sni)> by_sni;
};

// The topmost entries of OpenSSL's error queue as text; clears it.
std::string openssl_errors();

// The TlsContext chosen by SNI is kept alive here: SSL's application data points at one of these.
struct TlsConnectionState {
  TlsContextPtr context, chosen;
  std::string sni;
};

}  // namespace base::http
