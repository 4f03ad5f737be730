#include "http_client.h"

using namespace test;

TEST_CASE("without credentials there is health and version, nothing else") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c);
    for (const char* path : {"/healthz", "/livez", "/readyz", "/version"}) CHECK((co_await http.get(path)).status == 200);
    for (const char* path : {"/api", "/apis", "/metrics", "/api/v1/namespaces/default/pods", "/openapi/v2", "/"})
      CHECK((co_await http.get(path)).status == 403);
    const std::string commit = text((co_await http.get("/version")).json(), "gitCommit");
    CHECK((commit.empty() || (commit.size() == 40 && commit.find_first_not_of("0123456789abcdef") == commit.npos)));
    auto ca = co_await http.get("/cacerts");
    CHECK(ca.body == c.api.ca_pem());
    auto bad = co_await http.get("/api/v1/namespaces/default/pods", {{"Authorization", "Bearer nonsense"}});
    CHECK(bad.status == 401);
    CHECK(text(bad.json(), "reason") == "Unauthorized");
  }, true);
}

TEST_CASE("statuses, warnings and options over the wire") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    auto r = co_await http.get("/api/v1/namespaces/default/configmaps/none");
    CHECK(r.status == 404);
    value v = r.json();
    CHECK(text(v, "kind") == "Status");
    CHECK(text(v, "details.kind") == "configmaps");
    CHECK(text(v, "details.name") == "none");
    const std::string maps = "/api/v1/namespaces/default/configmaps";
    std::string unknown = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"w"},"dat":{"a":"b"}})";
    r = co_await http.send("POST", maps + "?fieldValidation=Strict", unknown);
    CHECK(r.status == 400);
    CHECK(text(r.json(), "message").find("unknown field \"dat\"") != std::string::npos);
    r = co_await http.send("POST", maps, unknown);
    CHECK(r.status == 201);
    CHECK(r.headers.get("Warning").find("unknown field") != std::string_view::npos);
    r = co_await http.send("POST", maps + "?fieldValidation=Ignore&dryRun=All", configmap("x"));
    CHECK(r.status == 201);
    CHECK((co_await http.get(maps + "/x")).status == 404);
    r = co_await http.send("POST", maps + "?dryRun=yes", configmap("x"));
    CHECK(r.status == 422);
    r = co_await http.send("POST", maps, std::string((3 << 20) + 1, ' '));
    CHECK(r.status == 413);
    r = co_await http.send("PATCH", maps + "/w", "{}", {{"Content-Type", "text/plain"}});
    CHECK(r.status == 415);
    r = co_await http.get(maps, {{"Accept", "image/png"}});
    CHECK(r.status == 406);
    r = co_await http.send("PUT", maps + "/other", configmap("w"));
    CHECK(r.status == 400);
    r = co_await http.send("DELETE", maps + "/w");
    CHECK(r.status == 200);
    v = r.json();
    CHECK(text(v, "status") == "Success");
    CHECK(text(v, "details.kind") == "configmaps");
    CHECK((co_await http.get("/api/v1/nosuchthings")).status == 404);
    CHECK((co_await http.get("/api/v1/namespaces/default/nodes")).status == 404);
    CHECK((co_await http.send("POST", "/api/v1/pods", pod("p"))).status == 404);
  }, true);
}

TEST_CASE("a client name that is no UTF-8 does not spoil what is stored") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string maps = "/api/v1/namespaces/default/configmaps";
    CHECK((co_await http.send("POST", maps, configmap("odd"), {{"User-Agent", "tool\xff\xc3/1"}})).status == 201);
    CHECK((co_await http.send("PATCH", maps + "/odd?fieldManager=%FF", R"({"data":{"a":"b"}})",
                              {{"Content-Type", "application/merge-patch+json"}}))
              .status == 200);
    auto table = co_await http.get(maps, {{"Accept", "application/json;as=Table;g=meta.k8s.io;v=v1"}});
    CHECK(table.status == 200);
    auto again = co_await http.get(maps + "/odd");
    CHECK(text(again.json(), "data.a") == "b");
    CHECK(again.body.find("tool\xef\xbf\xbd") != again.body.npos);
  }, true);
}

TEST_CASE("lists are complete documents") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    for (const char* n : {"a", "b", "c"}) CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap(n))));
    auto r = co_await http.get("/api/v1/namespaces/default/configmaps?limit=2");
    value v = r.json();
    CHECK(text(v, "kind") == "ConfigMapList");
    CHECK(base::find_array(v, "items")->size() == 2);
    CHECK(base::get_int(v, "metadata.remainingItemCount") == 1);
    CHECK(text(base::find_array(v, "items")->at(0), "kind") == "ConfigMap");
    r = co_await http.get("/api/v1/namespaces/default/configmaps?limit=2&continue=" + text(v, "metadata.continue"));
    CHECK(base::find_array(r.json(), "items")->size() == 1);
    r = co_await http.get("/api/v1/configmaps?labelSelector=no%3Dmatch");
    CHECK(base::find_array(r.json(), "items")->empty());
    r = co_await http.get("/api/v1/configmaps?resourceVersion=99999999");
    CHECK(r.status == 504);
    r = co_await http.get("/api/v1/namespaces/default/configmaps/a",
                          {{"Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"}});
    v = r.json();
    CHECK(text(v, "kind") == "PartialObjectMetadata");
    CHECK(!base::find(v, "data"));
    r = co_await http.send("DELETE", "/api/v1/namespaces/default/configmaps");
    CHECK(base::find_array(r.json(), "items")->size() == 3);
    r = co_await http.get("/api/v1/namespaces/default/configmaps");
    CHECK(base::find_array(r.json(), "items")->empty());
  }, true);
}

TEST_CASE("a watch over HTTP ends with its time and tells a bookmark") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("a"))));
    auto r = co_await http.get(
        "/api/v1/namespaces/default/"
        "configmaps?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    CHECK(r.status == 200);
    std::vector<value> events;
    for (size_t at = 0, end; (end = r.body.find('\n', at)) != std::string::npos; at = end + 1)
      events.push_back(*base::parse_json(std::string_view(r.body).substr(at, end - at)));
    REQUIRE(events.size() >= 2);
    CHECK(text(events[0], "type") == "ADDED");
    CHECK(text(events[1], "type") == "BOOKMARK");
    const auto* annotations = base::find_object(events[1], "object.metadata.annotations");
    REQUIRE(annotations);
    CHECK(annotations->at("k8s.io/initial-events-end") == "true");
  }, true);
}

TEST_CASE("discovery names resources, subresources and verbs in both forms") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    auto core = (co_await http.get("/api/v1")).body;
    for (const char* name : {"\"pods/exec\"", "\"pods/log\"", "\"nodes/proxy\"", "\"po\"", "\"namespaces/finalize\""})
      CHECK(core.find(name) != std::string::npos);
    auto apps = co_await http.get("/apis/apps");
    CHECK(text(apps.json(), "preferredVersion.groupVersion") == "apps/v1");
    auto aggregated =
        co_await http.get("/apis", {{"Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}});
    value v = aggregated.json();
    CHECK(text(v, "kind") == "APIGroupDiscoveryList");
    CHECK(base::find_array(v, "items")->size() > 10);
    auto etag = std::string(aggregated.headers.get("Etag"));
    auto again = co_await http.get(
        "/apis",
        {{"Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}, {"If-None-Match", etag}});
    CHECK(again.status == 304);
  }, true);
}
