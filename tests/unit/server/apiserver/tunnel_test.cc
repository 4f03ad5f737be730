#include "base/bytes.h"
#include "base/http/websocket.h"
#include "http_client.h"
#include "server/apiserver/tunnel/proxied_page.h"

using namespace test;
using base::http::Stream;

namespace {

// What an agent serves, for the test: logs echo their query, exec upgrades and echoes.
Task<> node_api(base::http::Request& request, base::http::Response& response) {
  CHECK_FALSE(request.headers.has("Authorization"));
  if (request.path.starts_with("/containerLogs/")) {
    response.headers.set("Content-Type", "text/plain");
    std::string body = request.target;
    co_await response.send(body);
  } else if (request.path.starts_with("/exec/")) {
    response.status = 101;
    response.headers.set("Connection", "Upgrade");
    response.headers.set("Upgrade", "echo");
    auto stream = co_await response.upgrade();
    if (!stream) co_return;
    std::array<char, 64> buffer;
    for (;;) {
      auto n = co_await (*stream)->read(buffer);
      if (!n || *n == 0) break;
      auto wrote = co_await (*stream)->write(std::string_view(buffer.data(), *n));
      if (!wrote) break;
    }
  } else if (request.path.starts_with("/podProxy/")) {
    response.headers.set("Content-Type", "text/html; charset=utf-8");
    response.headers.set("X-Seen", request.target);
    if (request.path.ends_with("/moved")) {
      response.status = 302;
      response.headers.set("Location", "/login?to=/");
    }
    std::string body = "<a href=\"/next\">next</a>";
    co_await response.send(body);
  } else {
    response.status = 418;
    std::string body = "no such thing";
    co_await response.send(body);
  }
}

// Line by line from a stream.
Task<std::string> read_line(Stream& s) {
  std::string out;
  std::array<char, 1> c;
  for (;;) {
    auto n = co_await s.read(c);
    if (!n || *n == 0 || c[0] == '\n') co_return out;
    out += c[0];
  }
}

Task<std::unique_ptr<Stream>> upgrade(Cluster c, base::http::KeyPair identity, std::string path, std::string protocol) {
  Http http(c, std::move(identity));
  base::http::ClientRequest r;
  r.url = http.url() + path;
  r.headers.set("Connection", "Upgrade");
  r.headers.set("Upgrade", protocol);
  auto response = co_await http.client().send(std::move(r));
  REQUIRE(response);
  CHECK((*response)->status == 101);
  co_return (*response)->take_stream();
}

// An agent: keeps the control connection and serves each stream asked for.
Task<> agent(Cluster c, base::http::KeyPair identity, base::Tasks& tasks) {
  auto control = co_await upgrade(c, identity, "/v1-appliance/tunnel", "appliance-tunnel");
  for (;;) {
    std::string line = co_await read_line(*control);
    if (line.empty()) co_return;
    if (line == "ping") {
      co_await control->write("pong\n");
    } else if (line.starts_with("open ")) {
      tasks.spawn("stream", [](Cluster cl, base::http::KeyPair id, std::string path) -> Task<> {
        auto stream = co_await upgrade(cl, id, path, "appliance-stream");
        co_await base::http::serve_connection(std::move(stream), node_api);
      }(c, identity, "/v1-appliance/tunnel/" + line.substr(5)));
    }
  }
}

Task<> add_pod(Cluster c) {
  CHECK((co_await c.admin->create(nodes, {}, R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}})")));
  co_await default_account(c);
  CHECK((co_await c.admin->create(pods, {"default", ""}, pod("p", R"(,"nodeName":"n1")"))));
}

}  // namespace

TEST_CASE("logs and exec reach a node through the tunnel it keeps") {
  with_cluster([](Cluster c) -> Task<> {
    co_await add_pod(c);
    Http root(c, certificate(c, "root", {"system:masters"}));
    CHECK((co_await root.get("/api/v1/namespaces/default/pods/p/log")).status == 503);
    base::Tasks tasks(c.runtime);
    tasks.spawn("agent", agent(c, certificate(c, "system:node:n1", {"system:nodes"}), tasks));
    Answer log;
    for (int i = 0; i < 100 && log.status != 200; ++i) {
      co_await base::sleep_for(std::chrono::milliseconds(20));
      log = co_await root.get("/api/v1/namespaces/default/pods/p/log?tailLines=5&evil=1", {{"Authorization", "Bearer x"}});
    }
    CHECK(log.body == "/containerLogs/default/p/c?tailLines=5");
    CHECK((co_await root.get("/api/v1/namespaces/default/pods/p/log?container=none")).status == 400);
    CHECK((co_await root.get("/api/v1/nodes/n1/proxy/exec/default/p/c?command=sh")).status == 403);
    CHECK((co_await root.get("/api/v1/nodes/n1/proxy/teapot")).status == 418);

    base::http::ClientRequest r;
    r.method = "POST";
    r.url = root.url() + "/api/v1/namespaces/default/pods/p/exec?command=cat&stdin=true&container=c";
    r.headers.set("Connection", "Upgrade");
    r.headers.set("Upgrade", "echo");
    auto response = co_await root.client().send(std::move(r));
    REQUIRE(response);
    CHECK((*response)->status == 101);
    auto stream = (*response)->take_stream();
    CHECK((co_await stream->write("hello\n")));
    CHECK((co_await read_line(*stream)) == "hello");
    stream->close();
    co_await tasks.stop();
  }, true);
}

TEST_CASE("links of a proxied page stay behind the proxy") {
  const server::ProxiedAt at{"/p/proxy", "10.42.0.5:80", "api:6443"};
  auto url = [&](const char* u) { return server::rewrite_url(u, at); };
  CHECK(url("/a?b=/c") == "/p/proxy/a?b=/c");
  CHECK(url("/p/proxy/a") == "/p/proxy/a");
  CHECK(url("http://10.42.0.5:80/a") == "/p/proxy/a");
  CHECK(url("//10.42.0.5:80/a") == "/p/proxy/a");
  CHECK(url("https://api:6443/a") == "https://api:6443/p/proxy/a");
  for (const char* same :
       {"", "a/b", "#top", "?q=1", "http://elsewhere/a", "//elsewhere/a", "mailto:a@b", "http://10.42.0.5:80", "a?u=http://x/"})
    CHECK(url(same) == same);
  auto page = [&](const char* html) { return server::rewrite_links(html, at); };
  CHECK(page("<a href=\"/rewriteme\">test</a>") == "<a href=\"/p/proxy/rewriteme\">test</a>");
  CHECK(page("<IMG alt='/x' SRC = '/i.png'/><p>/a</p>") == "<IMG alt='/x' SRC = '/p/proxy/i.png'/><p>/a</p>");
  CHECK(page("<form action=/go method=post>") == "<form action=/p/proxy/go method=post>");
  CHECK(page("<p data=\"/x\"><!-- <a href=\"/x\"> -->") == "<p data=\"/x\"><!-- <a href=\"/x\"> -->");
  CHECK(page("<script src='/s'>'<a href=\"/x\">'</SCRIPT><a href='/y'>") ==
        "<script src='/p/proxy/s'>'<a href=\"/x\">'</SCRIPT><a href='/p/proxy/y'>");
  for (const char* odd :
       {"", "<", "<a", "<a href", "<a href=", "<a href=\"", "<a = / b>", "< a href='/x'>", "<!--", "<script>", "1 < 2", "</a href='/x'>"})
    CHECK(page(odd) == odd);
}

TEST_CASE("the tunnel is for nodes only") {
  with_cluster([](Cluster c) -> Task<> {
    Http root(c, certificate(c, "root", {"system:masters"})), nobody(c);
    CHECK((co_await root.get("/v1-appliance/tunnel", {{"Upgrade", "appliance-tunnel"}, {"Connection", "Upgrade"}})).status == 403);
    CHECK((co_await nobody.get("/v1-appliance/tunnel", {{"Upgrade", "appliance-tunnel"}, {"Connection", "Upgrade"}})).status == 403);
    Http node(c, certificate(c, "system:node:n1", {"system:nodes"}));
    CHECK((co_await node.get("/v1-appliance/tunnel/0123", {{"Upgrade", "appliance-stream"}, {"Connection", "Upgrade"}})).status == 404);
  }, true);
}

TEST_CASE("an agent in this process is reached without a tunnel") {
  with_cluster([](Cluster c) -> Task<> {
    co_await add_pod(c);
    base::Tasks tasks(c.runtime);
    c.api.attach_node("n1", [&tasks]() -> Task<base::Result<std::unique_ptr<Stream>>> {
      base::Executor other = tasks.runtime().strand();
      auto [near, far] = base::http::make_stream_pair(co_await base::this_executor(), other);
      tasks.spawn("node", other, base::http::serve_connection(std::move(far), node_api));
      co_return std::move(near);
    });
    Http root(c, certificate(c, "root", {"system:masters"}));
    auto log = co_await root.get("/api/v1/namespaces/default/pods/p/log?follow=true");
    CHECK(log.body == "/containerLogs/default/p/c?follow=true");

    // The same over a WebSocket, plain and as base64.
    const std::string log_url = root.url() + "/api/v1/namespaces/default/pods/p/log";
    for (std::string_view protocol : {"binary.k8s.io", "base64.binary.k8s.io"}) {
      base::http::ClientRequest r;
      r.url = log_url;
      auto socket = co_await base::http::connect_websocket(root.client(), std::move(r), std::span(&protocol, 1));
      REQUIRE(socket);
      auto message = co_await (*socket)->receive();
      REQUIRE(message);
      const std::string text = "/containerLogs/default/p/c";
      CHECK(message->data == (protocol == "binary.k8s.io" ? text : base::base64_encode(text)));
      auto end = co_await (*socket)->receive();
      CHECK((end && end->kind == base::http::WebSocketMessage::Kind::close));
    }

    // A page of the pod; the scheme goes on to the node.
    CHECK((co_await c.admin->patch(pods, {"default", "p"}, api::PatchType::merge, R"({"status":{"podIP":"10.42.0.9"}})",
                                   {.subresource = "status"})));
    const std::string at = "/api/v1/namespaces/default/pods/https:p:443/proxy";
    auto page = co_await root.get(at + "/x?y=1");
    CHECK(page.body == "<a href=\"" + at + "/next\">next</a>");
    CHECK(page.headers.get("X-Seen") == "/podProxy/https:10.42.0.9:443/x?y=1");
    CHECK((co_await root.get(at + "/moved")).headers.get("Location") == at + "/login?to=/");
    auto root_page = co_await root.get(at + "?q=1");
    CHECK(root_page.status == 301);
    CHECK(root_page.headers.get("Location") == at + "/?q=1");
    c.api.attach_node("n1", nullptr);
    co_await tasks.stop();
  }, true);
}
