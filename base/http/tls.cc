#include "base/http/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <fmt/format.h>

#include "base/files.h"
#include "base/http/tls_context.h"
#include "base/openssl.h"

namespace base::http {
namespace {

int no_password(char*, int, int, void*) { return 0; }

Result<> use_identity(SSL_CTX* ctx, const KeyPair& identity) {
  openssl::Bio in = openssl::reader(identity.certificate_pem);
  openssl::Certificate leaf(PEM_read_bio_X509(in.get(), nullptr, no_password, nullptr));
  if (!leaf) return bad_request(fmt::format("no certificate in the PEM text: {}", openssl_errors()));
  if (SSL_CTX_use_certificate(ctx, leaf.get()) != 1)
    return bad_request(fmt::format("the certificate cannot be used: {}", openssl_errors()));
  while (X509* next = PEM_read_bio_X509(in.get(), nullptr, no_password, nullptr)) {
    if (SSL_CTX_add0_chain_cert(ctx, next) != 1) {
      X509_free(next);
      return bad_request(fmt::format("the certificate chain cannot be used: {}", openssl_errors()));
    }
  }
  ERR_clear_error();
  openssl::Bio key_in = openssl::reader(identity.key_pem);
  openssl::Key key(PEM_read_bio_PrivateKey(key_in.get(), nullptr, no_password, nullptr));
  if (!key) return bad_request(fmt::format("no private key in the PEM text: {}", openssl_errors()));
  if (SSL_CTX_use_PrivateKey(ctx, key.get()) != 1 || SSL_CTX_check_private_key(ctx) != 1)
    return bad_request(fmt::format("the private key does not belong to the certificate: {}", openssl_errors()));
  return {};
}

// Adds every certificate of the bundle to the trusted ones; with `names` also to the list a server sends.
Result<> trust(SSL_CTX* ctx, std::string_view pem, bool names) {
  openssl::Bio in = openssl::reader(pem);
  X509_STORE* store = SSL_CTX_get_cert_store(ctx);
  int count = 0;
  while (openssl::Certificate ca{PEM_read_bio_X509(in.get(), nullptr, no_password, nullptr)}) {
    X509_STORE_add_cert(store, ca.get());
    if (names) SSL_CTX_add_client_CA(ctx, ca.get());
    ++count;
  }
  ERR_clear_error();
  if (count == 0) return bad_request("no certificate in the CA bundle");
  return {};
}

Result<> trust_system_roots(SSL_CTX* ctx) {
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
                           "/etc/ssl/cert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"}) {
    if (!exists(path)) continue;
    TRY(std::string pem, read_file(path));
    return trust(ctx, pem, false);
  }
  // A host without a bundle trusts nobody: connections fail with a verification error that says so.
  return {};
}

std::string alpn_wire(const std::vector<std::string>& names) {
  std::string out;
  for (auto& n : names) {
    if (n.empty() || n.size() > 255) continue;
    out += static_cast<char>(n.size());
    out += n;
  }
  return out;
}

Result<TlsContextPtr> make_context(const SSL_METHOD* method) {
  SSL_CTX* ctx = SSL_CTX_new(method);
  if (ctx == nullptr) return internal(fmt::format("TLS: {}", openssl_errors()));
  auto context = std::make_shared<TlsContext>(ctx);
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(ctx, 0);
  // Forward secrecy and authenticated encryption only.
  SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
  return context;
}

int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* in, unsigned in_length, void* arg) {
  auto* context = static_cast<TlsContext*>(arg);
  unsigned char* chosen = nullptr;
  int rc = SSL_select_next_proto(&chosen, out_length, reinterpret_cast<const unsigned char*>(context->alpn_wire.data()),
                                 static_cast<unsigned>(context->alpn_wire.size()), in, in_length);
  if (rc != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

int choose_certificate(SSL* ssl, int*, void* arg) {
  auto* context = static_cast<TlsContext*>(arg);
  auto* state = static_cast<TlsConnectionState*>(SSL_get_app_data(ssl));
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name == nullptr || state == nullptr) return SSL_TLSEXT_ERR_NOACK;
  state->sni = name;
  if (!context->by_sni) return SSL_TLSEXT_ERR_OK;
  if (TlsContextPtr other = context->by_sni(name)) {
    SSL_set_SSL_CTX(ssl, other->ctx);
    state->chosen = std::move(other);
  }
  return SSL_TLSEXT_ERR_OK;
}

// A certificate that does not verify is handed up as refused: an answer with a status tells the user more than a failed
// handshake. The result stays in the session, also across resumption.
int accept_any(int, X509_STORE_CTX*) { return 1; }

}  // namespace

std::string openssl_errors() {
  std::string out;
  while (unsigned long code = ERR_get_error()) {
    const char* reason = ERR_reason_error_string(code);
    if (!out.empty()) out += "; ";
    out += reason != nullptr ? reason : "unknown error";
  }
  return out.empty() ? "unknown error" : out;
}

Result<TlsContextPtr> make_server_context(const TlsServerOptions& options) {
  TRY(TlsContextPtr context, make_context(TLS_server_method()));
  SSL_CTX* ctx = context->ctx;
  context->server = true;
  CHECK_OK(use_identity(ctx, options.identity));
  // Sessions live in tickets the client keeps; the server holds nothing.
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(ctx, 1);
  static const unsigned char id[] = "appliance";
  SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1);
  if (!options.client_ca_pem.empty()) {
    CHECK_OK(trust(ctx, options.client_ca_pem, true));
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, accept_any);
  }
  context->alpn_wire = alpn_wire(options.alpn);
  if (!context->alpn_wire.empty()) SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, context.get());
  context->by_sni = options.by_sni;
  SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
  SSL_CTX_set_tlsext_servername_arg(ctx, context.get());
  return context;
}

Result<TlsContextPtr> make_client_context(const TlsClientOptions& options) {
  TRY(TlsContextPtr context, make_context(TLS_client_method()));
  SSL_CTX* ctx = context->ctx;
  if (options.identity) CHECK_OK(use_identity(ctx, *options.identity));
  if (options.system_roots) CHECK_OK(trust_system_roots(ctx));
  if (!options.ca_pem.empty()) CHECK_OK(trust(ctx, options.ca_pem, false));
  context->verify = options.verify;
  SSL_CTX_set_verify(ctx, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  // A CA of ours may be any certificate of the bundle, not only a self-signed root.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
  context->alpn_wire = alpn_wire(options.alpn);
  if (!context->alpn_wire.empty())
    SSL_CTX_set_alpn_protos(ctx, reinterpret_cast<const unsigned char*>(context->alpn_wire.data()),
                            static_cast<unsigned>(context->alpn_wire.size()));
  return context;
}

}  // namespace base::http
