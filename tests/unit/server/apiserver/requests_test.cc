// What happens around each request: its time, health, metrics, the limit of events, encryption, the end of the server.
#include "http_client.h"
#include "server/apiserver/http/request_time.h"

using namespace test;
using namespace std::chrono_literals;

TEST_CASE("durations are read as Go writes them") {
  CHECK(server::parse_duration("30s") == base::Duration(30s));
  CHECK(server::parse_duration("1m30s") == base::Duration(90s));
  CHECK(server::parse_duration("1.5h") == base::Duration(90min));
  CHECK(server::parse_duration("250ms") == base::Duration(250ms));
  CHECK(server::parse_duration("0") == base::Duration(0));
  for (const char* bad : {"", "30", "s", "1x", "-", "1s2", "99999999999999h"}) CHECK_FALSE(server::parse_duration(bad));
}

TEST_CASE("a request that does not end in its time is told so") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    CHECK((co_await http.get("/api/v1/namespaces?timeout=soon")).status == 400);
    CHECK((co_await http.get("/api/v1/namespaces?timeout=5s")).status == 200);
    CHECK((co_await http.get("/api/v1/namespaces?timeout=0")).status == 200);
    // A body that does not come.
    auto tcp = co_await base::http::connect_tcp("127.0.0.1", c.api.port());
    REQUIRE(tcp);
    auto tls = co_await base::http::tls_connect(std::move(*tcp), client_tls(c, certificate(c, "root", {"system:masters"})), "127.0.0.1");
    REQUIRE(tls);
    CHECK(
        (co_await (*tls)->write("POST /api/v1/namespaces/default/configmaps?timeout=50ms HTTP/1.1\r\nHost: x\r\nContent-Type: "
                                "application/json\r\nContent-Length: 100\r\n\r\n{")));
    std::string answer;
    char some[4096];
    (*tls)->set_read_deadline(base::Clock::now() + 20s);
    for (;;) {
      auto n = co_await (*tls)->read(some);
      if (!n || *n == 0) break;
      answer.append(some, *n);
    }
    CHECK(answer.starts_with("HTTP/1.1 504 "));
    CHECK(answer.find("\"message\":\"Timeout: request did not complete within the allotted timeout\"") != std::string::npos);
    CHECK(answer.find("\"reason\":\"Timeout\"") != std::string::npos);
    CHECK((co_await http.get("/metrics")).body.find("apiserver_request_timeout_total 1\n") != std::string::npos);
  }, true);
}

TEST_CASE("health tells its checks in Kubernetes' form") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c);
    CHECK((co_await http.get("/readyz")).body == "ok");
    auto r = co_await http.get("/readyz?verbose");
    for (const char* line : {"[+]ping ok\n", "[+]log ok\n", "[+]datastore ok\n", "[+]informer-sync ok\n",
                             "[+]poststarthook/rbac/bootstrap-roles ok\n", "[+]shutdown ok\n", "readyz check passed\n"})
      CHECK(r.body.find(line) != std::string::npos);
    CHECK((co_await http.get("/livez?verbose")).body.find("shutdown") == std::string::npos);
    CHECK((co_await http.get("/healthz?verbose")).body.ends_with("healthz check passed\n"));
    r = co_await http.get("/readyz?verbose&exclude=datastore&exclude=nonsense");
    CHECK(r.body.find("[+]datastore excluded: ok\n") != std::string::npos);
    CHECK(r.body.find("warn: some health checks cannot be excluded: no matches for \"nonsense\"\n") != std::string::npos);
    Http root(c, certificate(c, "root", {"system:masters"}));
    CHECK((co_await http.get("/livez/ping")).status == 403);  // single checks are for monitors
    CHECK((co_await root.get("/livez/ping")).body == "ok");
    CHECK((co_await root.get("/readyz/poststarthook/rbac/bootstrap-roles")).body == "ok");
    CHECK((co_await root.get("/livez/shutdown")).status == 404);
    CHECK((co_await http.get("/readyzzz")).status == 403);
    c.api.begin_shutdown();
    r = co_await http.get("/readyz");
    CHECK(r.status == 500);
    CHECK(r.body.find("[-]shutdown failed: reason withheld\n") != std::string::npos);
    CHECK(r.body.ends_with("readyz check failed\n"));
    CHECK((co_await root.get("/readyz/shutdown")).status == 500);
    CHECK((co_await http.get("/livez")).status == 200);
  }, true);
}

TEST_CASE("a server that stops finishes the requests it has, sends new ones elsewhere and ends watches") {
  with_cluster([](Cluster c) -> Task<> {
    auto tls = client_tls(c, certificate(c, "root", {"system:masters"}));
    auto dial = [](Cluster cluster, base::http::TlsContextPtr context) -> Task<std::unique_ptr<base::http::Stream>> {
      auto tcp = co_await base::http::connect_tcp("127.0.0.1", cluster.api.port());
      REQUIRE(tcp);
      auto secured = co_await base::http::tls_connect(std::move(*tcp), std::move(context), "127.0.0.1");
      REQUIRE(secured);
      (*secured)->set_read_deadline(base::Clock::now() + 20s);
      co_return std::move(*secured);
    };
    auto rest = [](base::http::Stream& s) -> Task<std::string> {
      std::string out;
      char some[4096];
      for (;;) {
        auto n = co_await s.read(some);
        if (!n || *n == 0) co_return out;
        out.append(some, *n);
      }
    };
    auto idle = co_await dial(c, tls);
    auto watch = co_await dial(c, tls);
    auto upload = co_await dial(c, tls);
    auto late = co_await dial(c, tls);
    CHECK((co_await watch->write("GET /api/v1/namespaces/default/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n\r\n")));
    const std::string object = configmap("in-flight");
    CHECK(
        (co_await upload->write("POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: "
                                "application/json\r\nExpect: 100-continue\r\nContent-Length: " +
                                std::to_string(object.size()) + "\r\n\r\n")));
    char some[4096];
    auto go_on = co_await upload->read(some);
    REQUIRE(go_on);
    CHECK(std::string_view(some, *go_on).starts_with("HTTP/1.1 100 "));  // its handler runs
    // One request, and the beginning of another.
    CHECK((co_await late->write("GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /version HTTP/1.1\r\nHost:")));
    auto first = co_await late->read(some);
    REQUIRE(first);
    CHECK(std::string_view(some, *first).starts_with("HTTP/1.1 200 "));
    auto begun = co_await watch->read(some);
    REQUIRE(begun);
    base::Tasks tasks(c.runtime);
    tasks.spawn("stop", [](Cluster cluster) -> Task<> { co_await cluster.api.stop(); }(c));
    CHECK((co_await rest(*watch)).ends_with("0\r\n\r\n"));  // from here on the server stops
    CHECK((co_await rest(*idle)).empty());
    CHECK((co_await late->write(" x\r\n\r\n")));
    std::string answer = co_await rest(*late);
    CHECK(answer.starts_with("HTTP/1.1 503 "));
    CHECK(answer.find("\r\nRetry-After: 1\r\n") != std::string::npos);
    CHECK(answer.find("\r\nConnection: close\r\n") != std::string::npos);
    CHECK(answer.find("\"reason\":\"ServiceUnavailable\"") != std::string::npos);
    CHECK_FALSE((co_await base::http::connect_tcp("127.0.0.1", c.api.port())));
    CHECK(tasks.running() == 1);  // for the request that came before
    CHECK((co_await upload->write(object)));
    answer = co_await rest(*upload);
    CHECK(answer.starts_with("HTTP/1.1 201 "));
    CHECK((co_await c.admin->get(configmaps, {"default", "in-flight"})));
    while (tasks.running() > 0) co_await base::sleep_for(1ms);
    co_await tasks.stop();
  }, true);
}

TEST_CASE("metrics have the names dashboards ask for, and clients make up no series") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    CHECK((co_await http.send("POST", "/api/v1/namespaces/default/configmaps", configmap("a"))).status == 201);
    CHECK((co_await http.get("/api/v1/namespaces/default/configmaps/a")).status == 200);
    CHECK((co_await http.get("/api/v1/madeup")).status == 404);
    CHECK((co_await http.get("/madeup")).status == 404);
    CHECK((co_await http.send("BREW", "/api/v1/namespaces")).status >= 400);
    auto text = (co_await http.get("/metrics")).body;
    auto has = [&](std::string_view line) {
      INFO(line);
      CHECK(text.find(line) != std::string::npos);
    };
    has(R"(apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="POST",version="v1"} 1)");
    has(R"(apiserver_request_duration_seconds_bucket{component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1",le="+Inf"} 1)");
    for (const char* name :
         {"apiserver_request_sli_duration_seconds_count", "apiserver_response_sizes_sum",
          "apiserver_current_inflight_requests{request_kind=\"mutating\"} 0",
          "apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"exempt\",priority_level=\"exempt\"}",
          "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"system\"}", "apiserver_storage_objects{resource=\"configmaps\"}",
          "apiserver_storage_size_bytes", "etcd_request_duration_seconds_count{operation=\"write\",type=\"\"} ",
          "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds 1",
          "kubernetes_build_info{", "authorization_attempts_total{result=\"allowed\"}"})
      has(name);
    CHECK(text.find("madeup") == std::string::npos);
    CHECK(text.find("BREW") == std::string::npos);
    // Each line is a comment or a sample.
    for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
      std::string_view line = std::string_view(text).substr(at, end - at);
      if (!line.starts_with("#")) CHECK(line.find(' ') != line.npos);
    }
  }, true);
}

TEST_CASE("a flood of Events is refused by namespace") {
  with_cluster([](Cluster c) -> Task<> {
    const api::Resource events{"", "v1", "events"};
    auto event = [](std::string ns, int i) {
      return R"({"apiVersion":"v1","kind":"Event","metadata":{"name":"e)" + std::to_string(i) + R"(","namespace":")" + ns +
             R"("},"involvedObject":{"kind":"Pod","namespace":")" + ns + R"(","name":"p"},"type":"Normal","reason":"Test"})";
    };
    int made = 0;
    base::Error refused;
    for (int i = 0; i < 20; ++i) {
      auto r = co_await c.admin->create(events, {"default", ""}, event("default", i));
      if (r) ++made;
      else refused = r.error();
    }
    CHECK(made >= 5);
    CHECK(made < 10);
    CHECK(refused.code == 429);
    CHECK(refused.message == "limit reached on type Namespace for key default");
    CHECK((co_await c.admin->create(events, {"kube-system", ""}, event("kube-system", 1))));
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("a"))));
  }, false, {.server = [](server::ApiServerOptions& o) { o.event_rate_limit = "namespace=1:5"; }});
}

TEST_CASE("encryption is shown and rotated over the API by those who may everything") {
  std::shared_ptr<datastore::Keyring> keyring;
  with_cluster(
      [](Cluster c) -> Task<> {
        Http root(c, certificate(c, "root", {"system:masters"})), eve(c, certificate(c, "eve", {}));
        const std::string path = "/v1-appliance/encryption";
        CHECK((co_await eve.get(path)).status == 403);
        CHECK((co_await c.admin->create(secrets, {"default", ""},
                                        R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"a":"hush-hush"}})")));
        value before = (co_await root.get(path)).json();
        CHECK(base::get_bool(before, "enabled"));
        CHECK(base::get_int(before, "plain") == 0);
        std::string first = text(base::find_array(before, "keys")->at(0), "id");
        value after = (co_await root.send("POST", path + "?action=rotate-key")).json();
        REQUIRE(base::find_array(after, "keys")->size() == 1);
        CHECK(text(base::find_array(after, "keys")->at(0), "id") != first);
        CHECK(base::get_int(base::find_array(after, "keys")->at(0), "rows") >= 1);
        CHECK((co_await root.send("POST", path + "?action=forget")).status == 400);
        CHECK((co_await root.send("DELETE", path)).status == 405);
        CHECK(text(parse(*(co_await c.admin->get(secrets, {"default", "s"}))), "data.a") == base::base64_encode("hush-hush"));
        std::string files = *base::read_file(c.directory + "/state.db") + base::read_file(c.directory + "/state.db-wal").value_or("");
        for (const std::string& plain : {std::string("hush-hush"), base::base64_encode("hush-hush")})
          CHECK(files.find(plain) == std::string::npos);
      },
      true,
      {.server = [&](server::ApiServerOptions& o) { o.keyring = keyring; },
       .store =
           [&](datastore::SqliteOptions& o) {
             keyring = *datastore::Keyring::open(o.path + ".key");
             o.keyring = keyring;
             o.sealed_prefixes = {"/registry/core/secrets/"};
           }});
}

TEST_CASE("a stopping server ends its watches in order and lets what runs finish") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    base::http::ClientRequest r;
    r.url = http.url() + "/api/v1/configmaps?watch=1";
    auto watch = co_await http.client().send(r);
    REQUIRE(watch);
    CHECK((*watch)->status == 200);
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("a"))));
    char some[4096];
    auto n = co_await (*watch)->read(some);
    REQUIRE(n);
    CHECK(*n > 0);
    auto begun = base::Clock::now();
    co_await c.api.stop();
    CHECK(base::Clock::now() - begun < 4s);  // the grace is five seconds
    auto rest = co_await (*watch)->body();
    CHECK(rest);  // a last chunk, not a torn connection
  }, true);
}
