// The engine between real sockets on loopback: a backend that is a base::http::Server, a client that is a base::http::Client.
#include <catch2/catch.hpp>

#include <fmt/format.h>

#include "base/http/client.h"
#include "base/http/websocket.h"
#include "ingress/proxy.h"

using namespace base;
using namespace base::http;

namespace {

// A front with one route to the given ports, and a client of it.
struct Front {
  Runtime& runtime;
  ingress::Proxy proxy;
  Server server;
  Client client;
  ingress::BackendPtr backend = std::make_shared<ingress::Backend>("d/s:80");

  explicit Front(Runtime& r)
      : runtime(r), proxy(r), server(r, {.address = "127.0.0.1"}, proxy.lanes(), proxy.factory(false, 80)), client(ClientOptions{}) {
    auto table = std::make_shared<ingress::RouteTable>();
    table->hosts["app"].paths.push_back({false, "/", backend});
    proxy.set_routes(table);
    REQUIRE(server.start());
  }
  void to(std::vector<uint16_t> ports) {
    std::vector<ingress::Endpoint> endpoints;
    for (auto p : ports) endpoints.push_back({"127.0.0.1", p});
    backend->set_endpoints(endpoints);
  }
  ClientRequest request(std::string path, std::string method = "GET") {
    ClientRequest q;
    q.method = std::move(method);
    q.url = fmt::format("http://127.0.0.1:{}{}", server.port(), path);
    q.headers.set("Host", "app");
    return q;
  }
  Task<std::string> fetch(ClientRequest q) {
    auto r = co_await client.send(std::move(q));
    if (!r) co_return "error: " + r.error().message;
    auto body = co_await (*r)->body();
    co_return fmt::format("{} {}", (*r)->status, body ? *body : body.error().message);
  }
};

Task<> echo(Request& q, Response& p) {
  if (q.path == "/headers") {
    std::string text;
    for (const auto& [name, value] : q.headers) text += name + "=" + value + "\n";
    co_await p.send(std::string_view(text));
  } else if (q.path == "/stream") {
    co_await p.begin();
    for (int i = 0; i < 3; ++i) co_await p.write(std::string_view("part "));
    co_await p.end();
  } else if (q.path == "/ws") {
    static constexpr std::string_view none[] = {"chat"};
    auto ws = co_await accept_websocket(q, p, none);
    if (!ws) co_return;
    auto m = co_await (*ws)->receive();
    if (m) co_await (*ws)->send("echo " + m->data, true);
    co_await (*ws)->receive();
  } else {
    auto body = co_await q.body(10 << 20);
    p.headers.set("X-Backend", "1");
    std::string text = fmt::format("{} {} {}", q.method, q.target, body ? body->size() : 0);
    co_await p.send(std::string_view(text));
  }
}

template <class F>
void with_front(F f) {
  Runtime runtime(2);
  Front front(runtime);
  Server backend(runtime, {.address = "127.0.0.1"}, echo);
  REQUIRE(backend.start());
  front.to({backend.port()});
  run_to_end(runtime, [](F run, Front& a, Server& b) -> Task<> {
    co_await run(a, b);
    co_await a.server.stop(0s);
    co_await a.proxy.stop();
    a.client.close_idle();
    co_await b.stop(0s);
  }(f, front, backend));
}

}  // namespace

TEST_CASE("requests and bodies of any size reach the backend") {
  with_front([](Front& f, Server&) -> Task<> {
    CHECK(co_await f.fetch(f.request("/a?b=c")) == "200 GET /a?b=c 0");
    for (size_t size : {10u, 70'000u, 3'000'000u}) {
      auto q = f.request("/up", "POST");
      q.body.assign(size, 'x');
      CHECK(co_await f.fetch(std::move(q)) == fmt::format("200 POST /up {}", size));
    }
    CHECK(co_await f.fetch(f.request("/stream")) == "200 part part part ");
  });
}

TEST_CASE("the backend sees who asked, and not what the client claims") {
  with_front([](Front& f, Server&) -> Task<> {
    auto q = f.request("/headers");
    q.headers.set("X-Forwarded-For", "6.6.6.6");
    q.headers.set("X-Real-IP", "6.6.6.6");
    q.headers.set("Connection", "keep-alive, X-Secret");
    q.headers.set("X-Secret", "1");
    q.headers.set("Proxy-Authorization", "x");
    std::string seen = co_await f.fetch(std::move(q));
    CHECK(seen.find("X-Forwarded-For=127.0.0.1\n") != std::string::npos);
    CHECK(seen.find("X-Forwarded-Proto=http\n") != std::string::npos);
    CHECK(seen.find("X-Forwarded-Host=app\n") != std::string::npos);
    CHECK(seen.find("Host=app\n") != std::string::npos);
    CHECK(seen.find("6.6.6.6") == std::string::npos);
    CHECK(seen.find("X-Secret") == std::string::npos);
    CHECK(seen.find("Proxy-Authorization") == std::string::npos);
  });
}

TEST_CASE("what cannot be served is answered by the right status") {
  with_front([](Front& f, Server&) -> Task<> {
    auto q = f.request("/");
    q.headers.set("Host", "nobody");
    CHECK((co_await f.fetch(std::move(q))).starts_with("404"));
    CHECK((co_await f.fetch(f.request("/a/%2e%2e/b"))).starts_with("400"));
    f.to({});
    CHECK((co_await f.fetch(f.request("/"))).starts_with("503"));
    f.to({1});
    CHECK((co_await f.fetch(f.request("/"))).starts_with("502"));
  });
}

TEST_CASE("a dead endpoint is passed over, and a backend that restarted costs no request") {
  with_front([](Front& f, Server& b) -> Task<> {
    f.to({1, b.port()});
    for (int i = 0; i < 4; ++i) CHECK((co_await f.fetch(f.request("/"))).starts_with("200"));
    auto second = std::make_unique<Server>(f.runtime, ServerOptions{.address = "127.0.0.1"}, echo);
    CHECK(second->start());
    f.to({second->port()});
    CHECK((co_await f.fetch(f.request("/"))).starts_with("200"));
    co_await second->stop(0s);
    f.to({second->port(), b.port()});
    for (int i = 0; i < 4; ++i) CHECK((co_await f.fetch(f.request("/"))).starts_with("200"));
  });
}

TEST_CASE("WebSockets pass through") {
  with_front([](Front& f, Server&) -> Task<> {
    static constexpr std::string_view protocols[] = {"chat"};
    auto ws = co_await connect_websocket(f.client, f.request("/ws"), protocols);
    REQUIRE(ws);
    CHECK((*ws)->protocol() == "chat");
    CHECK(co_await (*ws)->send("hello", true));
    auto m = co_await (*ws)->receive();
    REQUIRE(m);
    CHECK(m->data == "echo hello");
    co_await (*ws)->close();
  });
}
