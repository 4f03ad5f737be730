#include <catch2/catch.hpp>

#include "exchange.h"

using namespace test;

namespace {

Task<> echo(Request& q, Response& r) {
  auto body = co_await q.body(1000);
  if (!body) {
    r.status = body.error().code;
    co_await r.send(body.error().message);
    co_return;
  }
  r.headers.set("X-Path", q.path);
  std::string_view parts[] = {q.method, " ", *body};
  co_await r.send(std::span<const std::string_view>(parts));
}

Task<> ignore_body(Request&, Response& r) { co_await r.send("ok"); }

std::string ok(std::string_view path, std::string_view body, bool close = false) {
  return "HTTP/1.1 200 OK\r\nX-Path: " + std::string(path) + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         (close ? "Connection: close\r\n" : "") + "\r\n" + std::string(body);
}

}  // namespace

TEST_CASE("a kept-alive connection answers pipelined requests in order") {
  CHECK(serve("GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b?c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz"
              "PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
              "GET /never HTTP/1.1\r\nHost: x\r\n\r\n",
              echo) == ok("/a", "GET ") + ok("/b", "POST xyz") + ok("/c", "PUT abc", true));
}

TEST_CASE("HTTP/1.0 closes unless asked to stay") {
  CHECK(serve("GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n", echo) == ok("/", "GET ", true));
  CHECK(serve("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", echo).find("Connection: keep-alive") != std::string::npos);
}

TEST_CASE("HEAD has the length and no body") {
  CHECK(serve("HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n", echo) == "HTTP/1.1 200 OK\r\nX-Path: /h\r\nContent-Length: 5\r\n\r\n");
}

TEST_CASE("the absolute form sets the host") {
  CHECK(serve("GET http://other/p?q HTTP/1.1\r\nHost: x\r\n\r\n", [](Request& q, Response& r) -> Task<> {
          std::string text = q.path + " " + std::string(q.headers.get("host"));
          co_await r.send(text);
        }).ends_with("\r\n\r\n/p other"));
}

TEST_CASE("a body past the limit is 413 before it is read") {
  auto got = serve("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n", echo);
  CHECK(got.starts_with("HTTP/1.1 413 "));
  CHECK(got.find("100 Continue") == std::string::npos);
  std::string chunks = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, 'x') + "\r\n0\r\n\r\n";
  CHECK(serve(chunks, echo).starts_with("HTTP/1.1 413 "));
}

TEST_CASE("a client that expects 100-continue gets it when the handler reads") {
  CHECK(serve("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", [](Request& q, Response& r) -> Task<> {
          char c[8];
          auto n = co_await q.read_some(c);
          (void)n;
          co_await r.send("read");
        }).starts_with("HTTP/1.1 100 Continue\r\n\r\n"));
  auto unread = serve("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", ignore_body);
  CHECK(unread == "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
}

TEST_CASE("an unread body is drained, a large one closes the connection") {
  std::string small = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nGET / HTT";
  std::string next = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  std::string one = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  CHECK(serve(small + next, ignore_body) == one + one);
  CHECK(serve("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + std::string(900000, 'x') + next, ignore_body) ==
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
}

TEST_CASE("smuggling attempts end the connection with one answer") {
  std::string second = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
  for (std::string_view fields :
       {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "X: y\n\r\n", "X: y\r\n z\r\n\r\n", "Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"}) {
    INFO(fields);
    auto got = serve("POST / HTTP/1.1\r\nHost: x\r\n" + std::string(fields) + second, echo);
    CHECK(got.find("smuggled") == std::string::npos);
    CHECK((got.starts_with("HTTP/1.1 4") || got.starts_with("HTTP/1.1 501")));
    CHECK(got.find("HTTP/1.1", 5) == std::string::npos);
    CHECK(got.find("Connection: close") != std::string::npos);
  }
}

TEST_CASE("headers are bounded in size, number and time") {
  CHECK(serve("GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(100000, 'y') + "\r\n\r\n", echo).starts_with("HTTP/1.1 431 "));
  std::string many = "GET / HTTP/1.1\r\nHost: x\r\n";
  for (int i = 0; i < 300; ++i) many += "X: y\r\n";
  CHECK(serve(many + "\r\n", echo).starts_with("HTTP/1.1 431 "));
  Limits quick;
  quick.header_timeout = 20ms;
  CHECK(serve("GET / HT", echo, quick, false).starts_with("HTTP/1.1 408 "));
  quick.idle_timeout = 20ms;
  CHECK(serve("", echo, quick, false).empty());
}

TEST_CASE("a streamed response is chunked, and its lack of an end tells of a failure") {
  auto handler = [](bool fail) {
    return [fail](Request&, Response& r) -> Task<> {
      co_await r.begin();
      co_await r.write("hello");
      std::string_view parts[] = {"a", "", "bc"};
      co_await r.write(std::span<const std::string_view>(parts));
      if (fail) throw std::runtime_error("expected by the test");
      co_await r.end();
    };
  };
  std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nabc\r\n";
  CHECK(serve("GET / HTTP/1.1\r\nHost: x\r\n\r\n", handler(false)) == head + "0\r\n\r\n");
  CHECK(serve("GET / HTTP/1.1\r\nHost: x\r\n\r\n", handler(true)) == head);
  CHECK(serve("GET / HTTP/1.0\r\n\r\n", handler(false)) == "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhelloabc");
}

TEST_CASE("an exception or silence of the handler is a 500") {
  CHECK(serve("GET / HTTP/1.1\r\nHost: x\r\n\r\n", [](Request&, Response&) -> Task<> {
          throw std::runtime_error("expected by the test");
          co_return;
        }).starts_with("HTTP/1.1 500 "));
  CHECK(serve("GET / HTTP/1.1\r\nHost: x\r\n\r\n", [](Request&, Response&) -> Task<> { co_return; }).starts_with("HTTP/1.1 500 "));
}

TEST_CASE("an upgraded connection replays what came with the request") {
  CHECK(serve("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly", [](Request&, Response& r) -> Task<> {
          r.headers.set("Connection", "Upgrade");
          r.headers.set("Upgrade", "echo");
          auto s = co_await r.upgrade();
          REQUIRE(s);
          std::string all = co_await read_all(**s);
          co_await (*s)->write(all);
        }) == "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly");
}

TEST_CASE("client_gone ends when the client closes, and keeps a request sent ahead") {
  Runtime runtime(2);
  bool noticed = false;
  auto handler = [&](Request& q, Response& r) -> Task<> {
    if (q.path == "/next") {
      co_await r.send("next");
      co_return;
    }
    co_await r.begin();
    co_await r.write("x");
    co_await r.client_gone();
    noticed = true;
  };
  auto run = [](Runtime& rt, Handler h) -> Task<> {
    auto [ours, theirs] = make_stream_pair(rt.strand(), rt.strand());
    Tasks tasks(rt);
    tasks.spawn("server", serve_connection(std::move(theirs), h));
    co_await ours->write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    co_await read_until(*ours, "1\r\nx\r\n");
    ours->close();
    while (tasks.running() > 0) co_await sleep_for(1ms);
  };
  run_to_end(runtime, run(runtime, handler));
  CHECK(noticed);
}

TEST_CASE("a server refuses a busy port by name, and stops while connections are open") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    Server server(rt, {.address = "127.0.0.1"}, echo);
    REQUIRE(server.start());
    Server second(rt, {.address = "127.0.0.1", .port = server.port()}, echo);
    auto busy = second.start();
    REQUIRE_FALSE(busy);
    CHECK(busy.error().message.find("port " + std::to_string(server.port()) + " is already in use") != std::string::npos);
    auto idle = co_await connect_tcp("127.0.0.1", server.port());
    REQUIRE(idle);
    auto stuck = co_await connect_tcp("127.0.0.1", server.port());
    REQUIRE(stuck);
    co_await (*stuck)->write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    co_await sleep_for(20ms);
    auto start = Clock::now();
    co_await server.stop(50ms);
    CHECK(Clock::now() - start < 2s);
    auto refused = co_await connect_tcp("127.0.0.1", server.port());
    CHECK_FALSE(refused);
  };
  run_to_end(runtime, run(runtime));
}
