// The engine on the wire: raw text from a client, scripted text from a backend, and what each of them sees.
#include <catch2/catch.hpp>

#include <atomic>

#include <fmt/format.h>

#include "base/http/client.h"
#include "ingress/proxy.h"

using namespace base;
using namespace base::http;

namespace {

Task<std::string> read_all(Stream& s) {
  std::string out;
  char buffer[8192];
  for (;;) {
    auto n = co_await s.read(buffer);
    if (!n || *n == 0) co_return out;
    out.append(buffer, *n);
  }
}

// What a scripted backend does with each connection: for each request header it reads, it sends the next answer. "!" closes.
struct Script {
  std::vector<std::string> answers;
  std::vector<std::string> heads;  // requests as they arrived
  std::atomic<int> connections = 0;
  size_t next = 0;
};

class ScriptedConnection final : public base::http::Connection {
 public:
  ScriptedConnection(std::unique_ptr<Stream> s, Script& script) : stream_(std::move(s)), script_(script) { ++script.connections; }
  Task<> serve() override {
    std::string in;
    char buffer[4096];
    for (;;) {
      size_t end = in.find("\r\n\r\n");
      if (end == std::string::npos) {
        auto n = co_await stream_->read(buffer);
        if (!n || *n == 0) co_return;
        in.append(buffer, *n);
        continue;
      }
      script_.heads.push_back(in.substr(0, end + 4));
      in.erase(0, end + 4);
      if (script_.next >= script_.answers.size()) co_return;
      std::string answer = script_.answers[script_.next++];
      bool close = answer.ends_with('!');
      if (close) answer.pop_back();
      co_await stream_->write(answer);
      if (close) co_return;
    }
  }
  void finish() override { stream_->close(); }

 private:
  std::unique_ptr<Stream> stream_;
  Script& script_;
};

struct Setup {
  Runtime& runtime;
  Script script;
  ingress::Proxy proxy;
  Server backend, front;
  ingress::BackendPtr service = std::make_shared<ingress::Backend>("d/s:80");

  explicit Setup(Runtime& r, ingress::ProxyTimes times = {})
      : runtime(r),
        proxy(r, times),
        backend(r, {.address = "127.0.0.1"}, {r.strand()},
                [this](std::unique_ptr<Stream> s, size_t) { return std::make_shared<ScriptedConnection>(std::move(s), script); }),
        front(r, {.address = "127.0.0.1"}, proxy.lanes(), proxy.factory(false, 80)) {
    REQUIRE(backend.start());
    REQUIRE(front.start());
    service->set_endpoints({{"127.0.0.1", backend.port()}});
    auto table = std::make_shared<ingress::RouteTable>();
    table->hosts["app"].paths.push_back({false, "/", service});
    table->hosts["secure"].redirect_to_tls = true;
    proxy.set_routes(table);
  }
};

// Sends the text, ends, and returns all that comes back, without dates.
std::string talk(std::vector<std::string> answers, std::string wire, std::vector<std::string>* heads = nullptr, int* connections = nullptr,
                 ingress::ProxyTimes times = {}, bool half_close = true) {
  Runtime runtime(2);
  std::string got;
  Setup setup(runtime, times);
  setup.script.answers = std::move(answers);
  run_to_end(runtime, [](Setup& s, std::string text, std::string& out, bool half) -> Task<> {
    auto c = co_await connect_tcp("127.0.0.1", s.front.port());
    REQUIRE(c);
    co_await (*c)->write(text);
    if (half) co_await (*c)->shutdown_write();
    out = co_await read_all(**c);
    co_await s.front.stop(0s);
    co_await s.proxy.stop();
    co_await s.backend.stop(0s);
  }(setup, std::move(wire), got, half_close));
  for (size_t at = 0; (at = got.find("Date: ", at)) != std::string::npos;) got.erase(at, got.find("\r\n", at) + 2 - at);
  if (heads != nullptr) *heads = setup.script.heads;
  if (connections != nullptr) *connections = setup.script.connections;
  return got;
}

const std::string get = "GET /x HTTP/1.1\r\nHost: app\r\n\r\n";
const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

}  // namespace

TEST_CASE("a request and its answer pass unchanged but for the forwarding fields") {
  std::vector<std::string> heads;
  std::string answer =
      "HTTP/1.1 201 Made It\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Y: z\r\nKeep-Alive: timeout=5\r\nContent-Length: 3\r\n\r\nabc";
  CHECK(talk({answer},
             "POST /p%41th?q=%2F HTTP/1.1\r\nHost: App:8080\r\nAccept: */*\r\nX-Forwarded-For: 6.6.6.6\r\nTE: trailers\r\nContent-Length: "
             "2\r\n\r\nhi",
             &heads) == "HTTP/1.1 201 Made It\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Y: z\r\nContent-Length: 3\r\n\r\nabc");
  REQUIRE(heads.size() == 1);
  CHECK(heads[0] ==
        "POST /pAth?q=%2F HTTP/1.1\r\nHost: App:8080\r\nAccept: */*\r\nX-Forwarded-For: 127.0.0.1\r\nX-Real-IP: "
        "127.0.0.1\r\nX-Forwarded-Host: App:8080\r\n"
        "X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\nContent-Length: 2\r\n\r\n");
}

TEST_CASE("answers of every framing keep their meaning") {
  std::string chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  CHECK(talk({chunks, ok}, get + get) == chunks + ok);
  CHECK(talk({"HTTP/1.0 200 OK\r\n\r\nuntil the end!"}, get) ==
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n");
  CHECK(talk({chunks}, "GET / HTTP/1.0\r\nHost: app\r\n\r\n") == "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
  std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n";
  CHECK(talk({head, ok}, "HEAD / HTTP/1.1\r\nHost: app\r\n\r\n" + get) == head + ok);
  std::string unchanged = "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n";
  CHECK(talk({unchanged, ok}, get + get) == unchanged + ok);
  CHECK(talk({"HTTP/1.1 204 No Content\r\n\r\n", ok}, get + get) == "HTTP/1.1 204 No Content\r\n\r\n" + ok);
  CHECK(talk({"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok}, get) == ok);
  std::string large = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + std::string(1000000, 'x');
  CHECK((talk({large}, get) == large));
}

TEST_CASE("a kept connection serves several requests, a dead one costs none") {
  int connections = 0;
  CHECK(talk({ok, ok, ok}, get + get + get, nullptr, &connections) == ok + ok + ok);
  CHECK(connections == 1);
  CHECK(talk({ok + "!", ok}, get + get, nullptr, &connections) == ok + ok);
  CHECK(connections == 2);
  // Closed instead of answering: repeated when that is harmless.
  CHECK(talk({ok, "!", ok}, get + get) == ok + ok);
  auto post = talk({ok, "!", ok}, get + "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n");
  CHECK(post.starts_with(ok + "HTTP/1.1 502 "));
}

TEST_CASE("a backend that breaks its answer breaks the client's, visibly") {
  CHECK(talk({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc!"}, get + get) == "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  CHECK(talk({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n!"}, get + get).ends_with("\r\n3\r\nabc\r\n"));
  CHECK(talk({"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"}, get).starts_with("HTTP/1.1 502 "));
  CHECK(talk({"nonsense\r\n\r\n"}, get).starts_with("HTTP/1.1 502 "));
  CHECK(talk({"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"}, get).starts_with("HTTP/1.1 502 "));
  CHECK(talk({""}, get, nullptr, nullptr, {.answer = 30ms}).starts_with("HTTP/1.1 504 "));
}

TEST_CASE("hostile requests end with one answer and never reach a backend") {
  for (std::string_view bad :
       {"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET / HTTP/1.1\nHost: app\n\n",
        "GET / HTTP/1.1\r\nHost: app\r\nHost: app\r\n\r\n", "GET /a/../b HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n",
        "GET /a%2fb HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n", "GET /a%00 HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"}) {
    INFO(bad);
    std::vector<std::string> heads;
    auto got = talk({ok, ok}, std::string(bad) + get, &heads);
    CHECK(got.starts_with("HTTP/1.1 400 "));
    CHECK(got.find("HTTP/1.1", 4) == std::string::npos);
    CHECK(heads.empty());
  }
  // Nominating a field in Connection removes it, but not those that we set.
  std::vector<std::string> heads;
  talk({ok}, "GET / HTTP/1.1\r\nHost: app\r\nConnection: close, X-Auth, Host, X-Forwarded-For\r\nX-Auth: 1\r\n\r\n", &heads);
  REQUIRE(heads.size() == 1);
  CHECK(heads[0].find("X-Auth") == std::string::npos);
  CHECK(heads[0].find("Host: app\r\n") != std::string::npos);
  CHECK(heads[0].find("X-Forwarded-For: 127.0.0.1\r\n") != std::string::npos);
}

TEST_CASE("a chunked upload arrives as chunks, a bad chunk reaches nobody whole") {
  auto up = [](std::string body) { return "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n" + body; };
  CHECK(talk({ok}, up("5\r\nhello\r\n0\r\n\r\n")).starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(talk({""}, up("5\nhello\r\n0\r\n\r\n")).find("200") == std::string::npos);
  // A backend that answers early is heard, though the upload has not ended.
  CHECK(
      talk({"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n!"}, up("5\r\nhello\r\n"), nullptr, nullptr, {}, false)
          .starts_with("HTTP/1.1 413 "));
}

TEST_CASE("a redirect to TLS keeps path and query") {
  auto got = talk({}, "GET /a?b HTTP/1.1\r\nHost: Secure:80\r\n\r\n");
  CHECK(got.starts_with("HTTP/1.1 308 "));
  CHECK(got.find("Location: https://secure/a?b\r\n") != std::string::npos);
}

TEST_CASE("an upgraded connection is a tunnel both ways, early bytes included") {
  auto got = talk({"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfrom the backend!"},
                  "GET / HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nearly");
  CHECK(got == "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfrom the backend");
}

TEST_CASE("endpoints change under load without a failed request") {
  Runtime runtime(3);
  Setup s(runtime);
  std::atomic<int> good = 0, bad = 0;
  auto answer = [](Request&, Response& r) -> Task<> { co_await r.send("x"); };
  run_to_end(runtime, [](Setup& setup, std::atomic<int>& fine, std::atomic<int>& failed, Handler handler) -> Task<> {
    std::vector<std::unique_ptr<Server>> pods;
    auto add = [&] {
      pods.push_back(std::make_unique<Server>(setup.runtime, ServerOptions{.address = "127.0.0.1"}, handler));
      REQUIRE(pods.back()->start());
    };
    auto publish = [&] {
      std::vector<ingress::Endpoint> e;
      for (auto& p : pods) e.push_back({"127.0.0.1", p->port()});
      setup.service->set_endpoints(e);
    };
    add();
    add();
    publish();
    Tasks load(setup.runtime);
    bool stop = false;
    std::atomic<bool> stopping = stop;
    for (int i = 0; i < 8; ++i) {
      load.spawn("load", [](uint16_t port, std::atomic<int>& y, std::atomic<int>& n, std::atomic<bool>& end) -> Task<> {
        Client c({});
        while (!end) {
          ClientRequest q;
          q.url = fmt::format("http://127.0.0.1:{}/", port);
          q.headers.set("Host", "app");
          auto r = co_await c.send(std::move(q));
          bool right = r && (*r)->status == 200 && (co_await (*r)->body()).value_or("") == "x";
          ++(right ? y : n);
        }
      }(setup.front.port(), fine, failed, stopping));
    }
    for (int round = 0; round < 10; ++round) {
      add();
      publish();
      co_await sleep_for(10ms);
      // As in a rolling update: first out of the endpoints, then the end.
      auto old = std::move(pods.front());
      pods.erase(pods.begin());
      publish();
      co_await old->stop(1s);
    }
    stopping = true;
    while (load.running() > 0) co_await sleep_for(1ms);
    co_await setup.front.stop(0s);
    co_await setup.proxy.stop();
    co_await setup.backend.stop(0s);
    for (auto& p : pods) co_await p->stop(0s);
  }(s, good, bad, answer));
  CHECK(bad == 0);
  CHECK(good > 100);
}
