// The engine between real sockets on loopback: a backend that is a base::http::Server, a client that is a base::http::Client.
#include <catch2/catch.hpp>

#include <fmt/format.h>

#include <map>

#include "base/http/client.h"
#include "base/http/websocket.h"
#include "ingress/http2_front.h"
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

std::string frame(uint8_t type, uint8_t flags, uint8_t stream, std::string_view payload) {
  std::string out;
  for (int shift : {16, 8, 0}) out += static_cast<char>(payload.size() >> shift);
  for (uint8_t b : {type, flags, uint8_t{0}, uint8_t{0}, uint8_t{0}, stream}) out += static_cast<char>(b);
  return out + std::string(payload);
}

// HPACK without compression.
std::string fields(std::vector<std::pair<std::string, std::string>> list) {
  std::string out;
  for (auto& [name, value] : list)
    out += std::string(1, '\0') + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) + value;
  return out;
}
std::string head_of(std::string method, std::string path) {
  return fields({{":method", std::move(method)}, {":path", std::move(path)}, {":scheme", "https"}, {":authority", "app"}});
}

// The DATA and the ends of streams that come back to these frames: "1:text" "1." (ended) "1!" (reset), until `ends` streams have ended.
Task<std::map<int, std::string>> over_http2(ingress::Proxy& proxy, std::string frames, size_t ends) {
  auto [ours, theirs] = make_stream_pair(proxy.lane(0).strand, proxy.lane(0).strand);
  auto connection = ingress::make_http2_front(proxy, proxy.lane(0), std::move(theirs), true, 443);
  proxy.tasks().spawn("connection", proxy.lane(0).strand, [](std::shared_ptr<Connection> c) -> Task<> { co_await c->serve(); }(connection));
  co_await ours->write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, "") + frames);
  std::map<int, std::string> out;
  std::string got;
  while (ends > 0) {
    char buffer[8192];
    ours->set_read_deadline(Clock::now() + std::chrono::seconds(5));
    auto n = co_await ours->read(buffer);
    if (!n || *n == 0) break;
    got.append(buffer, *n);
    while (got.size() >= 9) {
      size_t size = static_cast<unsigned char>(got[0]) << 16 | static_cast<unsigned char>(got[1]) << 8 | static_cast<unsigned char>(got[2]);
      if (got.size() < 9 + size) break;
      std::string& text = out[got[8]];
      if (got[3] == 0) text += got.substr(9, size);
      if (got[3] == 3) text += "!";
      if (got[3] < 2 && (got[4] & 1)) text += ".";
      if (got[3] == 3 || (got[3] < 2 && (got[4] & 1))) --ends;
      got.erase(0, 9 + size);
    }
  }
  ours->close();
  co_return out;
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

TEST_CASE("HTTP/2 requests reach backends by the same rules, several at a time") {
  with_front([](Front& f, Server&) -> Task<> {
    std::string frames = frame(1, 5, 1, head_of("GET", "/a?b=c")) + frame(1, 4, 3, head_of("POST", "/up")) + frame(0, 0, 3, "abc") +
                         frame(1, 5, 5, head_of("GET", "/stream")) + frame(0, 1, 3, "de") + frame(1, 5, 7, head_of("HEAD", "/h")) +
                         frame(1, 5, 9, head_of("GET", "/a%2fb")) +
                         frame(1, 5, 11, fields({{":method", "GET"}, {":path", "/"}, {":scheme", "https"}, {":authority", "elsewhere"}})) +
                         frame(1, 4, 13, head_of("POST", "/sized") + fields({{"content-length", "4"}})) + frame(0, 1, 13, "1234");
    auto got = co_await over_http2(f.proxy, frames, 7);
    CHECK(got[1] == "GET /a?b=c 0.");
    CHECK(got[3] == "POST /up 5.");
    CHECK(got[5] == "part part part .");
    CHECK(got[7] == ".");
    CHECK(got[9].starts_with("400 "));
    CHECK(got[11].starts_with("404 "));
    CHECK(got[13] == "POST /sized 4.");
  });
}

TEST_CASE("over HTTP/2 the backend sees who asked, and cookies as one") {
  with_front([](Front& f, Server&) -> Task<> {
    std::string more = fields({{"cookie", "a=b"}, {"x-forwarded-for", "6.6.6.6"}, {"te", "trailers"}, {"cookie", "c=d"}});
    auto got = co_await over_http2(f.proxy, frame(1, 5, 1, head_of("GET", "/headers") + more), 1);
    CHECK(got[1].find("Cookie=a=b; c=d\n") != std::string::npos);
    CHECK(got[1].find("6.6.6.6") == std::string::npos);
    CHECK(got[1].find("te=") == std::string::npos);
    CHECK(got[1].find("X-Forwarded-Proto=https\n") != std::string::npos);
  });
}

TEST_CASE("an answer that breaks off resets the HTTP/2 stream") {
  Runtime runtime(2);
  Front front(runtime);
  Server backend(runtime, {.address = "127.0.0.1"}, [](Request&, Response& r) -> Task<> {
    co_await r.begin();
    co_await r.write("half");
    throw std::runtime_error("expected by the test");
  });
  REQUIRE(backend.start());
  front.to({backend.port()});
  run_to_end(runtime, [](Front& a, Server& b) -> Task<> {
    auto got = co_await over_http2(a.proxy, frame(1, 5, 1, head_of("GET", "/")), 1);
    CHECK(got[1] == "half!");
    co_await a.server.stop(0s);
    co_await a.proxy.stop();
    co_await b.stop(0s);
  }(front, backend));
}
