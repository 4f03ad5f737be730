// TLS over any Stream: OpenSSL runs on two in-memory ends, and this file moves the bytes.
//
// Memory of an idle connection: the SSL object (its record buffers are released between records). Input goes through 2 KiB of its own
// while a connection is in use; larger buffers are borrowed from a small per-thread stock while they are in use.
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/http/tls_context.h"

namespace base::http {
namespace {

constexpr size_t kRecord = 16 * 1024;
constexpr size_t kSmall = 2048;
constexpr size_t kLarge = 72 * 1024;  // four records with their overhead

// Buffers of kLarge bytes, a few kept per thread.
class Borrowed {
 public:
  Borrowed() {
    if (stock().empty()) {
      buffer_ = std::make_unique_for_overwrite<char[]>(kLarge);
    } else {
      buffer_ = std::move(stock().back());
      stock().pop_back();
    }
  }
  ~Borrowed() {
    if (buffer_ && stock().size() < 4) stock().push_back(std::move(buffer_));
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  char* data() { return buffer_.get(); }

 private:
  using Stock = std::vector<std::unique_ptr<char[]>>;
  static Stock& stock() {
    thread_local Stock s;
    return s;
  }
  std::unique_ptr<char[]> buffer_;
};

// The two ends OpenSSL reads from and writes to.
struct Ends {
  const char* in = nullptr;
  size_t in_left = 0;
  bool in_ended = false;
  char* out = nullptr;  // where records go while an operation has lent a buffer
  size_t out_used = 0, out_size = 0;
  std::string spill;  // what did not fit, or was written with no buffer lent (alerts, key updates)
};

int bio_read(BIO* bio, char* into, int size) {
  auto* e = static_cast<Ends*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (e->in_left == 0) {
    if (e->in_ended) return 0;
    BIO_set_retry_read(bio);
    return -1;
  }
  size_t n = std::min(e->in_left, static_cast<size_t>(size));
  std::memcpy(into, e->in, n);
  e->in += n;
  e->in_left -= n;
  return static_cast<int>(n);
}

int bio_write(BIO* bio, const char* data, int size) {
  auto* e = static_cast<Ends*>(BIO_get_data(bio));
  auto n = static_cast<size_t>(size);
  if (e->out != nullptr && e->spill.empty() && e->out_size - e->out_used >= n) {
    std::memcpy(e->out + e->out_used, data, n);
    e->out_used += n;
  } else {
    e->spill.append(data, n);
  }
  return size;
}

long bio_ctrl(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) {
    auto* e = static_cast<Ends*>(BIO_get_data(bio));
    return e->in_left == 0 && e->in_ended;
  }
  return 0;
}

BIO_METHOD* bio_method() {
  static BIO_METHOD* method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_ctrl(m, bio_ctrl);
    BIO_meth_set_create(m, [](BIO* b) {
      BIO_set_init(b, 1);
      return 1;
    });
    return m;
  }();
  return method;
}

// Everything that operations in flight need, so that the stream may be destroyed under them.
struct Connection {
  TlsConnectionState state;
  std::unique_ptr<Stream> lower;
  SSL* ssl = nullptr;
  Ends ends;
  std::unique_ptr<char[]> small;  // kSmall bytes, absent while idle
  std::optional<Borrowed> large;  // while input comes in bulk
  bool bulk = false;
  bool writing = false;           // lower->write in flight
  bool ended = false, broken = false;
  Event written;
  std::string certificate;
  bool certificate_refused = false;

  ~Connection() { SSL_free(ssl); }
};
using ConnectionPtr = std::shared_ptr<Connection>;

// Exclusive use of lower->write, of which only one may be in flight.
struct Writing {
  Connection& c;
  explicit Writing(Connection& conn) : c(conn) { c.writing = true; }
  ~Writing() {
    c.writing = false;
    c.written.notify();
  }
};

// Sends what OpenSSL produced outside of a write.
Task<Result<>> flush_spill(ConnectionPtr c) {
  while (c->writing) {
    uint64_t seen = c->written.version();
    if (!c->writing) break;
    co_await c->written.wait(seen);
  }
  if (c->ends.spill.empty()) co_return Result<>{};
  std::string out = std::move(c->ends.spill);
  c->ends.spill.clear();
  Writing guard(*c);
  co_return co_await c->lower->write(std::string_view(out));
}

// Brings more ciphertext; an empty OpenSSL input is the precondition.
Task<Result<>> fill(ConnectionPtr c) {
  std::span<char> into;
  if (c->bulk) {
    if (!c->large) c->large.emplace();
    into = std::span<char>(c->large->data(), kLarge);
  } else {
    c->large.reset();
    if (!c->small) c->small = std::make_unique_for_overwrite<char[]>(kSmall);
    into = std::span<char>(c->small.get(), kSmall);
  }
  auto n = co_await c->lower->read(into);
  if (!n) co_return std::unexpected(std::move(n.error()));
  if (*n == 0) c->ends.in_ended = true;
  c->ends.in = into.data();
  c->ends.in_left = *n;
  co_return Result<>{};
}

// The large buffer is for input that keeps filling what it is given; a connection never waits idle with it for long.
void after_input_consumed(Connection& c, size_t last_fill) {
  c.bulk = last_fill == (c.large ? kLarge : kSmall);
  if (!c.bulk && c.ends.in_left == 0) c.large.reset();
}

Failure tls_failure(Connection& c, std::string_view what) {
  c.broken = true;
  return unavailable(fmt::format("TLS: {}: {}", what, openssl_errors()));
}

class TlsStream final : public Stream {
 public:
  explicit TlsStream(ConnectionPtr c) : c_(std::move(c)) {}
  ~TlsStream() override { TlsStream::close(); }

  Task<Result<size_t>> read(std::span<char> into) override { return read_from(c_, into); }
  Task<Result<>> write(std::span<const std::string_view> parts) override { return write_to(c_, parts); }
  Task<Result<>> ready() override {
    if (c_->ended || c_->broken || c_->ends.in_left > 0 || SSL_pending(c_->ssl) > 0) return Stream::ready();
    c_->small.reset();
    c_->large.reset();
    return c_->lower->ready();
  }

  Task<Result<>> shutdown_write() override {
    auto c = c_;
    if (c->broken) co_return unavailable("TLS: the connection is broken");
    ERR_clear_error();
    SSL_shutdown(c->ssl);
    CO_CHECK_OK(co_await flush_spill(c));
    co_return co_await c->lower->shutdown_write();
  }

  void close() override { c_->lower->close(); }
  void set_read_deadline(std::optional<TimePoint> t) override { c_->lower->set_read_deadline(t); }
  void set_write_deadline(std::optional<TimePoint> t) override { c_->lower->set_write_deadline(t); }
  std::string peer_address() const override { return c_->lower->peer_address(); }
  std::string local_address() const override { return c_->lower->local_address(); }
  const std::string& peer_certificate() const override { return c_->certificate; }
  bool peer_certificate_refused() const override { return c_->certificate_refused; }
  std::string_view alpn() const override {
    const unsigned char* name = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(c_->ssl, &name, &length);
    return {reinterpret_cast<const char*>(name), length};
  }
  std::string_view sni() const override { return c_->state.sni; }
  bool quiet() override { return !c_->ended && !c_->broken && c_->ends.in_left == 0 && SSL_pending(c_->ssl) == 0 && c_->lower->quiet(); }
  bool move_to(Executor e) override { return !c_->writing && c_->lower->move_to(e); }

 private:
  static Task<Result<size_t>> read_from(ConnectionPtr c, std::span<char> into) {
    if (into.empty()) co_return 0;
    size_t filled = 0;
    for (;;) {
      if (c->broken) co_return unavailable("TLS: the connection is broken");
      if (c->ended) co_return 0;
      size_t n = 0;
      ERR_clear_error();
      int rc = SSL_read_ex(c->ssl, into.data(), into.size(), &n);
      int error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, rc);
      if (!c->ends.spill.empty()) CO_CHECK_OK(co_await flush_spill(c));
      if (rc == 1) {
        // Takes what further records have arrived whole already.
        while (n < into.size() && (SSL_pending(c->ssl) > 0 || c->ends.in_left > 0)) {
          size_t more = 0;
          ERR_clear_error();
          if (SSL_read_ex(c->ssl, into.data() + n, into.size() - n, &more) != 1) break;
          n += more;
        }
        if (filled > 0) after_input_consumed(*c, filled);
        co_return n;
      }
      if (error == SSL_ERROR_ZERO_RETURN) {
        c->ended = true;
        co_return 0;
      }
      if (error != SSL_ERROR_WANT_READ) co_return tls_failure(*c, "read");
      if (filled > 0) after_input_consumed(*c, filled);
      CO_CHECK_OK(co_await fill(c));
      filled = c->ends.in_left;
    }
  }

  // Small parts are joined into one record; a large part is encrypted where it lies.
  static Task<Result<>> write_to(ConnectionPtr c, std::span<const std::string_view> parts) {
    while (c->writing) {
      uint64_t seen = c->written.version();
      if (!c->writing) break;
      co_await c->written.wait(seen);
    }
    Writing guard(*c);
    Borrowed out;
    size_t part = 0, offset = 0;
    for (;;) {
      if (c->broken) co_return unavailable("TLS: the connection is broken");
      c->ends.out = out.data();
      c->ends.out_size = kLarge;
      c->ends.out_used = 0;
      bool more = true, failed = false;
      while (more && c->ends.out_used + kRecord + 256 <= kLarge) {
        thread_local char joined[kRecord];
        size_t size = 0;
        const char* from = joined;
        while (part < parts.size() && size < kRecord) {
          std::string_view rest = parts[part].substr(offset);
          if (size == 0 && rest.size() >= kRecord) {
            from = rest.data();
            size = kRecord;
            offset += kRecord;
          } else {
            size_t n = std::min(rest.size(), kRecord - size);
            if (n > 0) std::memcpy(joined + size, rest.data(), n);
            size += n;
            offset += n;
          }
          if (offset == parts[part].size()) {
            ++part;
            offset = 0;
          }
          if (from != joined) break;
        }
        more = size > 0;
        if (!more) break;
        size_t done = 0;
        ERR_clear_error();
        // The output end takes everything, so a record is written whole or not at all.
        if (SSL_write_ex(c->ssl, from, size, &done) != 1 || done != size) {
          failed = true;
          break;
        }
      }
      c->ends.out = nullptr;
      if (failed) co_return tls_failure(*c, "write");
      std::string spill = std::move(c->ends.spill);
      c->ends.spill.clear();
      if (c->ends.out_used == 0 && spill.empty()) co_return Result<>{};
      std::string_view pieces[] = {{out.data(), c->ends.out_used}, spill};
      CO_CHECK_OK(co_await c->lower->write(std::span<const std::string_view>(pieces)));
      if (!more) co_return Result<>{};
    }
  }

  ConnectionPtr c_;
};

std::string describe_failure(Connection& c, bool server) {
  long verified = SSL_get_verify_result(c.ssl);
  if (!server && verified != X509_V_OK) {
    ERR_clear_error();
    return fmt::format("certificate verification failed: {}", X509_verify_cert_error_string(verified));
  }
  return openssl_errors();
}

Task<Result<std::unique_ptr<Stream>>> handshake(ConnectionPtr c, bool server, Duration limit) {
  TimePoint deadline = Clock::now() + limit;
  c->lower->set_read_deadline(deadline);
  c->lower->set_write_deadline(deadline);
  for (;;) {
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    int error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, rc);
    std::string reason = rc == 1 || error == SSL_ERROR_WANT_READ ? std::string() : describe_failure(*c, server);
    auto flushed = co_await flush_spill(c);
    if (!reason.empty()) co_return unavailable(fmt::format("TLS handshake: {}", reason));
    if (!flushed) co_return std::unexpected(std::move(flushed.error()));
    if (rc == 1) break;
    if (c->ends.in_ended) co_return unavailable("TLS handshake: the peer closed the connection");
    CO_CHECK_OK(co_await fill(c));
  }
  c->lower->set_read_deadline(std::nullopt);
  c->lower->set_write_deadline(std::nullopt);
  X509* peer = SSL_get0_peer_certificate(c->ssl);
  c->certificate_refused = peer != nullptr && SSL_get_verify_result(c->ssl) != X509_V_OK;
  if (peer != nullptr && !c->certificate_refused) {
    unsigned char* der = nullptr;
    int n = i2d_X509(peer, &der);
    if (n > 0) c->certificate.assign(reinterpret_cast<char*>(der), static_cast<size_t>(n));
    OPENSSL_free(der);
  }
  co_return std::make_unique<TlsStream>(std::move(c));
}

Result<ConnectionPtr> make_connection(std::unique_ptr<Stream> lower, TlsContextPtr context) {
  if (!context) return internal("TLS without a configuration");
  auto c = std::make_shared<Connection>();
  c->lower = std::move(lower);
  c->ssl = SSL_new(context->ctx);
  if (c->ssl == nullptr) return internal(fmt::format("TLS: {}", openssl_errors()));
  c->state.context = std::move(context);
  SSL_set_app_data(c->ssl, &c->state);
  BIO* bio = BIO_new(bio_method());
  BIO_set_data(bio, &c->ends);
  SSL_set_bio(c->ssl, bio, bio);
  return c;
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> tls_accept(std::unique_ptr<Stream> stream, TlsContextPtr context, Duration limit) {
  CO_TRY(ConnectionPtr c, make_connection(std::move(stream), std::move(context)));
  SSL_set_accept_state(c->ssl);
  co_return co_await handshake(std::move(c), true, limit);
}

Task<Result<std::unique_ptr<Stream>>> tls_connect(std::unique_ptr<Stream> stream, TlsContextPtr context, std::string server_name,
                                                  Duration limit) {
  CO_TRY(ConnectionPtr c, make_connection(std::move(stream), std::move(context)));
  SSL_set_connect_state(c->ssl);
  unsigned char address[16];
  bool literal = ::inet_pton(AF_INET, server_name.c_str(), address) == 1 || ::inet_pton(AF_INET6, server_name.c_str(), address) == 1;
  if (!literal && !server_name.empty()) SSL_set_tlsext_host_name(c->ssl, server_name.c_str());
  if (c->state.context->verify) {
    X509_VERIFY_PARAM* param = SSL_get0_param(c->ssl);
    int ok = literal ? X509_VERIFY_PARAM_set1_ip_asc(param, server_name.c_str())
                     : X509_VERIFY_PARAM_set1_host(param, server_name.c_str(), server_name.size());
    if (ok != 1 || server_name.empty()) co_return bad_request(fmt::format("\"{}\" cannot be verified as a server's name", server_name));
  }
  co_return co_await handshake(std::move(c), false, limit);
}

}  // namespace base::http
