#include <catch2/catch.hpp>

#include "exchange.h"
#include "pem.h"

using namespace test;

namespace {

struct Ends {
  Result<std::unique_ptr<Stream>> server = internal("not done"), client = internal("not done");
};

Task<> accept_into(std::unique_ptr<Stream> s, TlsContextPtr c, Ends& ends) { ends.server = co_await tls_accept(std::move(s), c, 2s); }

Task<> shake(Runtime& rt, Ends& ends, TlsContextPtr server, TlsContextPtr client, std::string name) {
  auto [a, b] = make_stream_pair(rt.strand(), rt.strand());
  Tasks tasks(rt);
  tasks.spawn("accept", accept_into(std::move(b), server, ends));
  ends.client = co_await tls_connect(std::move(a), client, name, 2s);
  if (!ends.client) co_await sleep_for(5ms);
  while (tasks.running() > 0) co_await sleep_for(1ms);
}

TlsContextPtr client_context(const Authority& ca, std::optional<KeyPair> identity = {}) {
  return *make_client_context({.ca_pem = ca.ca.certificate_pem, .identity = identity});
}

}  // namespace

TEST_CASE("TLS carries data of any size both ways and ends cleanly") {
  Runtime runtime(2);
  Authority ca = make_authority("ca");
  auto run = [](Runtime& rt, Authority authority) -> Task<> {
    Ends ends;
    co_await shake(rt, ends, *make_server_context({.identity = authority.issue("host.test")}), client_context(authority), "host.test");
    REQUIRE(ends.server);
    REQUIRE(ends.client);
    CHECK((*ends.server)->sni() == "host.test");
    CHECK((*ends.server)->alpn() == "http/1.1");
    CHECK((*ends.server)->peer_certificate().empty());
    CHECK_FALSE((*ends.client)->peer_certificate().empty());
    for (size_t size : {size_t{1}, size_t{2047}, size_t{16384}, size_t{50000}, size_t{3000000}}) {
      std::string data(size, 'x');
      for (size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i * 7 + i / 251);
      std::string got;
      Tasks tasks(rt);
      tasks.spawn("writer", [](Stream& s, const std::string& d) -> Task<> {
        std::string_view all = d;
        std::string_view parts[] = {all.substr(0, d.size() / 3), {}, all.substr(d.size() / 3)};
        auto r = co_await s.write(std::span<const std::string_view>(parts));
        CHECK(r);
      }(**ends.server, data));
      std::string buffer(10000, '\0');
      while (got.size() < size) {
        auto n = co_await (*ends.client)->read(buffer);
        REQUIRE(n);
        REQUIRE(*n > 0);
        got.append(buffer, 0, *n);
      }
      CHECK((got == data));
      co_await tasks.stop();
    }
    co_await (*ends.client)->shutdown_write();
    char c = 0;
    auto end = co_await (*ends.server)->read({&c, 1});
    REQUIRE(end);
    CHECK(*end == 0);
  };
  run_to_end(runtime, run(runtime, ca));
}

TEST_CASE("a client certificate of the right CA is handed up, another is said to be refused") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    Authority ca = make_authority("ca"), other = make_authority("other");
    auto server = *make_server_context({.identity = ca.issue("10.0.0.1"), .client_ca_pem = ca.ca.certificate_pem});
    Ends good, bad, none;
    co_await shake(rt, good, server, client_context(ca, ca.issue("admin", true)), "10.0.0.1");
    REQUIRE(good.server);
    CHECK_FALSE((*good.server)->peer_certificate().empty());
    co_await shake(rt, bad, server, client_context(ca, other.issue("admin", true)), "10.0.0.1");
    REQUIRE(bad.server);
    CHECK((*bad.server)->peer_certificate().empty());
    CHECK((*bad.server)->peer_certificate_refused());
    CHECK_FALSE((*good.server)->peer_certificate_refused());
    co_await shake(rt, none, server, client_context(ca), "10.0.0.1");
    REQUIRE(none.server);
    CHECK((*none.server)->peer_certificate().empty());
    CHECK_FALSE((*none.server)->peer_certificate_refused());
  };
  run_to_end(runtime, run(runtime));
}

TEST_CASE("a server of another name or CA is refused") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    Authority ca = make_authority("ca"), other = make_authority("other");
    auto server = *make_server_context({.identity = ca.issue("host.test")});
    Ends name, authority, unverified;
    co_await shake(rt, name, server, client_context(ca), "elsewhere.test");
    REQUIRE_FALSE(name.client);
    CHECK(name.client.error().message.find("certificate verification failed") != std::string::npos);
    co_await shake(rt, authority, server, client_context(other), "host.test");
    CHECK_FALSE(authority.client);
    CHECK_FALSE(authority.server);
    co_await shake(rt, unverified, server, *make_client_context({.verify = false}), "elsewhere.test");
    CHECK(unverified.client);
  };
  run_to_end(runtime, run(runtime));
}

TEST_CASE("the certificate is chosen by SNI") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    Authority ca = make_authority("ca");
    auto special = *make_server_context({.identity = ca.issue("special.test")});
    auto server = *make_server_context({.identity = ca.issue("default.test"), .by_sni = [special](std::string_view sni) -> TlsContextPtr {
                                          return sni == "special.test" ? special : nullptr;
                                        }});
    Ends a, b;
    co_await shake(rt, a, server, client_context(ca), "special.test");
    CHECK(a.client);
    co_await shake(rt, b, server, client_context(ca), "default.test");
    CHECK(b.client);
  };
  run_to_end(runtime, run(runtime));
}

TEST_CASE("garbage and silence end a handshake") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    Authority ca = make_authority("ca");
    auto server = *make_server_context({.identity = ca.issue("a.test")});
    auto [a, b] = make_stream_pair(rt.strand(), rt.strand());
    co_await a->write("GET / HTTP/1.1\r\n\r\n");
    auto garbage = co_await tls_accept(std::move(b), server, 1s);
    REQUIRE_FALSE(garbage);
    auto [c, d] = make_stream_pair(rt.strand(), rt.strand());
    auto silence = co_await tls_accept(std::move(d), server, 10ms);
    REQUIRE_FALSE(silence);
    CHECK(silence.error().code == 504);
  };
  run_to_end(runtime, run(runtime));
}

TEST_CASE("bad PEM text is explained") {
  Authority ca = make_authority("ca");
  KeyPair leaf = ca.issue("a.test"), other = ca.issue("b.test");
  CHECK(make_server_context({.identity = {"", ""}}).error().message.find("no certificate") != std::string::npos);
  CHECK(make_server_context({.identity = {leaf.certificate_pem, "x"}}).error().message.find("no private key") != std::string::npos);
  CHECK(make_server_context({.identity = {leaf.certificate_pem, other.key_pem}}).error().message.find("does not belong") !=
        std::string::npos);
}
