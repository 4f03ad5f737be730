#include "http_client.h"

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
    c.api.attach_node("n1", nullptr);
    co_await tasks.stop();
  }, true);
}
