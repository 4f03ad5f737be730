#include <atomic>

#include <catch2/catch.hpp>

#include "exchange.h"
#include "pem.h"

#include "base/http/websocket.h"

using namespace test;

namespace {

// A client whose every connection is answered with the next of the given texts (then closed), and what it sent.
struct Scripted {
  Runtime& runtime;
  std::vector<std::string> answers;
  std::vector<std::string> sent;
  size_t dials = 0;
  Tasks tasks{runtime};

  Task<> play(std::unique_ptr<Stream> s, std::string answer, size_t index) {
    sent[index] = co_await read_until(*s, "\r\n\r\n");
    co_await s->write(answer);
    s->close();
  }

  Client client() {
    ClientOptions o;
    o.dial = [this](std::string, uint16_t) -> Task<Result<std::unique_ptr<Stream>>> {
      auto [a, b] = make_stream_pair(runtime.strand(), runtime.strand());
      size_t i = dials++;
      sent.resize(dials);
      if (i >= answers.size()) co_return unavailable("no more answers");
      tasks.spawn("peer", play(std::move(b), answers[i], i));
      co_return std::move(a);
    };
    return Client(o);
  }
};

Task<Result<std::string>> get(Client& c, std::string url, int* status = nullptr) {
  ClientRequest q;
  q.url = url;
  CO_TRY(auto r, co_await c.send(std::move(q)));
  if (status != nullptr) *status = r->status;
  co_return co_await r->body(1 << 20);
}

}  // namespace

TEST_CASE("responses of every framing are read") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    Scripted peer{rt,
                  {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nhello",
                   "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n",
                   "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "nonsense\r\n\r\n", ""}};
    Client c = peer.client();
    int status = 0;
    for (int i = 0; i < 3; ++i) CHECK(*(co_await get(c, "http://h:8080/p?q=1#frag")) == "hello");
    CHECK(peer.sent[0] == "GET /p?q=1 HTTP/1.1\r\nHost: h:8080\r\nUser-Agent: appliance\r\n\r\n");
    CHECK(*(co_await get(c, "http://h/", &status)) == "");
    CHECK(status == 404);
    CHECK(*(co_await get(c, "http://h/", &status)) == "");
    CHECK(status == 204);
    CHECK_FALSE(co_await get(c, "http://h/"));
    CHECK_FALSE(co_await get(c, "http://h/"));
    CHECK_FALSE(co_await get(c, "http://h/"));
    CHECK_FALSE(co_await get(c, "ftp://h/"));
    CHECK_FALSE(co_await get(c, "http://h/a b"));
    co_await peer.tasks.stop();
  };
  run_to_end(runtime, run(runtime));
}

TEST_CASE("a kept-alive connection is used again, also by other strands, and replaced when it died") {
  Runtime runtime(2);
  std::atomic<int> served = 0;
  auto run = [](Runtime& rt, std::atomic<int>& count) -> Task<> {
    Authority ca = make_authority("ca");
    auto handler = [&count](Request& q, Response& r) -> Task<> {
      ++count;
      std::string text = q.stream().peer_address();
      co_await r.send(text);
    };
    for (bool tls : {false, true}) {
      ServerOptions so{.address = "127.0.0.1"};
      ClientOptions co;
      if (tls) {
        so.tls = *make_server_context({.identity = ca.issue("127.0.0.1")});
        co.tls = *make_client_context({.ca_pem = ca.ca.certificate_pem});
      }
      auto server = std::make_unique<Server>(rt, so, handler);
      REQUIRE(server->start());
      uint16_t port = server->port();
      std::string url = (tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port) + "/";
      Client c(co);
      auto first = co_await get(c, url);
      REQUIRE(first);
      auto second = co_await get(c, url);
      CHECK(*second == *first);
      Result<std::string> elsewhere;
      Tasks tasks(rt);
      tasks.spawn("other strand",
                  [](Client& cl, std::string u, Result<std::string>& out) -> Task<> { out = co_await get(cl, u); }(c, url, elsewhere));
      while (tasks.running() > 0) co_await sleep_for(1ms);
      CHECK(*elsewhere == *first);
      // A restarted server has closed its connections.
      co_await server->stop(0ms);
      so.port = port;
      server = std::make_unique<Server>(rt, so, handler);
      REQUIRE(server->start());
      auto again = co_await get(c, url);
      REQUIRE(again);
      CHECK(*again != *first);
      co_await server->stop(0ms);
    }
  };
  run_to_end(runtime, run(runtime, served));
  CHECK(served == 8);
}

TEST_CASE("a server that does not answer is a timeout") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    ClientOptions o;
    std::vector<std::unique_ptr<Stream>> kept;
    o.dial = [&](std::string, uint16_t) -> Task<Result<std::unique_ptr<Stream>>> {
      auto [a, b] = make_stream_pair(rt.strand(), rt.strand());
      kept.push_back(std::move(b));
      co_return std::move(a);
    };
    Client c(o);
    ClientRequest q;
    q.url = "http://h/";
    q.timeout = 20ms;
    auto r = co_await c.send(std::move(q));
    REQUIRE_FALSE(r);
    CHECK(r.error().code == 504);
  };
  run_to_end(runtime, run(runtime));
}

TEST_CASE("a read deadline of a socket passes, moves and is lifted") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    Server server(rt, {.address = "127.0.0.1"}, [](Request&, Response& r) -> Task<> { co_await r.send("x"); });
    REQUIRE(server.start());
    auto s = co_await connect_tcp("localhost", server.port());
    REQUIRE(s);
    char c[64];
    for (int i = 0; i < 2; ++i) {
      (*s)->set_read_deadline(Clock::now() + 10ms);
      auto late = co_await (*s)->read(c);
      REQUIRE_FALSE(late);
      CHECK(late.error().code == 504);
    }
    (*s)->set_read_deadline(std::nullopt);
    co_await (*s)->write("GET / HTTP/1.0\r\n\r\n");
    CHECK((co_await read_all(**s)).ends_with("x"));
    (*s)->close();
    CHECK((co_await (*s)->read(c)).error().code == 503);
    co_await server.stop(0ms);
  };
  run_to_end(runtime, run(runtime));
}

TEST_CASE("WebSocket messages, pings and the close frame pass both ways") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    Server server(rt, {.address = "127.0.0.1"}, [](Request& q, Response& r) -> Task<> {
      std::string_view protocols[] = {"v5.channel.k8s.io", "v4.channel.k8s.io"};
      auto ws = co_await accept_websocket(q, r, protocols);
      if (!ws) co_return;
      for (;;) {
        auto m = co_await (*ws)->receive();
        if (!m || m->kind == WebSocketMessage::Kind::close) co_return;
        co_await (*ws)->send(m->data, m->kind == WebSocketMessage::Kind::text);
      }
    });
    REQUIRE(server.start());
    Client c({});
    ClientRequest q;
    q.url = "http://127.0.0.1:" + std::to_string(server.port()) + "/";
    std::string_view offer[] = {"v4.channel.k8s.io", "other"};
    auto ws = co_await connect_websocket(c, q, offer);
    REQUIRE(ws);
    CHECK((*ws)->protocol() == "v4.channel.k8s.io");
    for (size_t size : {0, 1, 125, 126, 65535, 65536, 1000000}) {
      std::string data(size, 'd');
      co_await (*ws)->send(data, size % 2 == 0);
      auto m = co_await (*ws)->receive();
      REQUIRE(m);
      CHECK((m->data == data));
      CHECK((m->kind == WebSocketMessage::Kind::text) == (size % 2 == 0));
    }
    co_await (*ws)->close();
    auto m = co_await (*ws)->receive();
    REQUIRE(m);
    CHECK(m->kind == WebSocketMessage::Kind::close);
    std::string_view none[] = {"other"};
    auto refused = co_await connect_websocket(c, q, none);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == 400);
    co_await server.stop(0ms);
  };
  run_to_end(runtime, run(runtime));
}

TEST_CASE("a WebSocket server on the wire: handshake of RFC 6455, fragments, ping, unmasked frames refused") {
  auto handler = [](Request& q, Response& r) -> Task<> {
    auto ws = co_await accept_websocket(q, r, {});
    REQUIRE(ws);
    auto m = co_await (*ws)->receive();
    if (m) co_await (*ws)->send(m->data, true);
  };
  std::string shake =
      "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
      "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  std::string head =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
      "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
  using namespace std::string_literals;
  std::string fragments = "\x01\x82\0\0\0\0he\x89\x81\0\0\0\0p\x80\x83\0\0\0\0llo"s;
  CHECK(serve(shake + fragments, handler) == head + "\x8a\x01p\x81\x05hello"s);
  CHECK(serve(shake + "\x81\x02hi"s, handler).starts_with(head + "\x88"s));
  CHECK(serve(shake + "\x81\xff\0\0\0\0\xff\0\0\0mask"s, handler).find("\x03\xf1"s) != std::string::npos);
}

TEST_CASE("pipe copies both ways and passes the half-close on") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    auto [a, a2] = make_stream_pair(rt.strand(), rt.strand());
    auto [b, b2] = make_stream_pair(rt.strand(), rt.strand());
    Tasks tasks(rt);
    tasks.spawn("pipe", [](std::unique_ptr<Stream> x, std::unique_ptr<Stream> y) -> Task<> {
      co_await pipe(*x, *y);
    }(std::move(a2), std::move(b2)));
    co_await a->write("question");
    co_await a->shutdown_write();
    CHECK(co_await read_all(*b) == "question");
    co_await b->write("answer");
    co_await b->shutdown_write();
    CHECK(co_await read_all(*a) == "answer");
    while (tasks.running() > 0) co_await sleep_for(1ms);
  };
  run_to_end(runtime, run(runtime));
}

TEST_CASE("a cancelled pipe ends") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    auto [a, a2] = make_stream_pair(rt.strand(), rt.strand());
    auto [b, b2] = make_stream_pair(rt.strand(), rt.strand());
    Tasks tasks(rt);
    tasks.spawn("pipe", [](std::unique_ptr<Stream> x, std::unique_ptr<Stream> y) -> Task<> {
      co_await pipe(*x, *y);
    }(std::move(a2), std::move(b2)));
    co_await sleep_for(5ms);
    co_await tasks.stop();
    CHECK(co_await read_all(*a) == "");
  };
  run_to_end(runtime, run(runtime));
}
