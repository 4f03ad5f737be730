// In which forms answers come and bodies are taken; discovery and OpenAPI.
#include <fmt/format.h>

#include "api/protobuf.h"
#include "api/wire.h"
#include "api/yaml.h"
#include "http_client.h"

using namespace test;

namespace {

const std::string maps = "/api/v1/namespaces/default/configmaps";
const std::string proto = "application/vnd.kubernetes.protobuf";

Task<> make(Cluster c, std::string name) {
  auto made = co_await c.admin->create(configmaps, {"default", ""}, configmap(name, "1", R"(,"annotations":{"odd":"}\"{"})"));
  REQUIRE(made);
}

value decoded(const Answer& r) {
  auto v = api::from_protobuf(r.body);
  REQUIRE(v);
  return std::move(*v);
}

// The frames of a protobuf watch: type and object.
std::vector<std::pair<std::string, value>> frames(std::string_view body) {
  std::vector<std::pair<std::string, value>> out;
  while (body.size() >= 4) {
    size_t n = 0;
    for (int i = 0; i < 4; ++i) n = n << 8 | static_cast<unsigned char>(body[i]);
    REQUIRE(body.size() >= 4 + n);
    api::wire::Reader event(body.substr(4, n));
    std::string type;
    value object;
    while (event.next()) {
      if (event.number == 1) type = event.data;
      if (event.number != 2) continue;
      api::wire::Reader raw(event.data);
      while (raw.next())
        if (raw.number == 1) {
          auto v = api::from_protobuf(raw.data);
          REQUIRE(v);
          object = *v;
        }
    }
    out.emplace_back(type, std::move(object));
    body.remove_prefix(4 + n);
  }
  return out;
}

}  // namespace

TEST_CASE("what is accepted decides the form, and nothing else is given") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    co_await make(c, "a");
    struct Case {
      std::string accept;
      int status;
      const char *type, *kind, *version;
    };
    const std::string table = "application/json;as=Table;g=meta.k8s.io;v=", partial = ";as=PartialObjectMetadata;g=meta.k8s.io;v=";
    const char *json = "application/json", *yaml = "application/yaml", *bytes = "application/vnd.kubernetes.protobuf";
    const Case cases[] = {
        {"", 200, json, "ConfigMap", "v1"},
        {"*/*", 200, json, "ConfigMap", "v1"},
        {"application/*", 200, json, "ConfigMap", "v1"},
        {"text/html, application/yaml", 200, yaml, "ConfigMap", "v1"},
        {"application/yaml;q=0.5, application/json;q=0.9", 200, json, "ConfigMap", "v1"},
        {"application/json;q=0, application/yaml", 200, yaml, "ConfigMap", "v1"},
        {proto + ",application/json", 200, bytes, "ConfigMap", "v1"},
        {table + "v1,application/json", 200, json, "Table", "meta.k8s.io/v1"},
        {table + "v1beta1,application/json", 200, json, "Table", "meta.k8s.io/v1beta1"},
        {table + "v2,application/json", 200, json, "ConfigMap", "v1"},
        {table + "v2", 406, json, "Status", "v1"},
        {proto + ";as=Table;g=meta.k8s.io;v=v1,application/json", 200, json, "ConfigMap", "v1"},
        {"application/json" + partial + "v1", 200, json, "PartialObjectMetadata", "meta.k8s.io/v1"},
        {"application/json" + partial + "v1beta1", 200, json, "PartialObjectMetadata", "meta.k8s.io/v1beta1"},
        {proto + partial + "v1", 200, bytes, "PartialObjectMetadata", "meta.k8s.io/v1"},
        {"application/json;as=Poem;g=meta.k8s.io;v=v1,application/json", 200, json, "ConfigMap", "v1"},
        {"image/png", 406, json, "Status", "v1"},
    };
    for (const Case& one : cases) {
      INFO(one.accept);
      auto r = co_await http.get(maps + "/a", {{"Accept", one.accept}});
      CHECK(r.status == one.status);
      CHECK(r.headers.get("Content-Type") == one.type);
      value v = one.type == bytes ? decoded(r) : one.type == yaml ? *api::parse_yaml(r.body) : r.json();
      CHECK(text(v, "kind") == one.kind);
      CHECK(text(v, "apiVersion") == one.version);
      if (std::string_view(one.kind) != "Table" && one.status == 200) CHECK(text(v, "metadata.name") == "a");
    }
    auto r = co_await http.get(maps + "/a", {{"Accept", "image/png"}});
    CHECK(text(r.json(), "message") == "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf");
    r = co_await http.get(maps + "/none", {{"Accept", proto}});
    CHECK(r.status == 404);
    CHECK(text(decoded(r), "reason") == "NotFound");
    CHECK(text(decoded(r), "details.name") == "none");
    // To be read by people.
    r = co_await http.get(maps + "/a?pretty=true");
    CHECK(r.body.starts_with("{\n  \"apiVersion\": \"v1\",\n"));
    r = co_await http.get(maps + "/a", {{"User-Agent", "curl/8.0"}});
    CHECK(r.body.starts_with("{\n"));
    r = co_await http.get(maps + "/a?pretty=false", {{"User-Agent", "curl/8.0"}});
    CHECK(r.body.find('\n') == std::string::npos);
  }, true);
}

TEST_CASE("an answer to a question has no table") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const std::string question = R"({"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}})";
    auto refused = co_await http.send("POST", path, question, {{"Accept", table}});
    CHECK(refused.status == 406);
    CHECK(text(refused.json(), "reason") == "NotAcceptable");
    auto answer = co_await http.send("POST", path, question, {{"Accept", table + ",application/json"}});
    CHECK(answer.status == 201);
    CHECK(base::get_bool(answer.json(), "status.allowed"));
    CHECK(text((co_await http.get("/api/v1/componentstatuses", {{"Accept", table}})).json(), "kind") == "Table");
  }, true);
}

TEST_CASE("lists have every form too, item by item") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    for (const char* n : {"a", "b", "c"}) co_await make(c, n);
    value whole = (co_await http.get(maps)).json();
    auto names = [](const value& list) {
      std::string out;
      for (const value& item : *base::find_array(list, "items")) out += base::get_string(item, "metadata.name");
      return out;
    };
    auto r = co_await http.get(maps + "?limit=2", {{"Accept", proto}});
    value v = decoded(r);
    CHECK(text(v, "kind") == "ConfigMapList");
    CHECK(names(v) == "ab");
    CHECK(!text(v, "metadata.continue").empty());
    CHECK(base::get_int(v, "metadata.remainingItemCount") == 1);
    CHECK(text(base::find_array(v, "items")->at(0), "data.a") == "1");
    v = *api::parse_yaml((co_await http.get(maps, {{"Accept", "application/yaml"}})).body);
    CHECK(v == whole);
    for (const char* version : {"v1", "v1beta1"}) {
      const std::string accept = fmt::format("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v={}", version);
      v = (co_await http.get(maps, {{"Accept", accept}})).json();
      CHECK(text(v, "kind") == "PartialObjectMetadataList");
      CHECK(text(v, "apiVersion") == fmt::format("meta.k8s.io/{}", version));
      REQUIRE(names(v) == "abc");
      const value& item = base::find_array(v, "items")->at(1);
      CHECK(*base::find(item, "metadata") == *base::find(base::find_array(whole, "items")->at(1), "metadata"));
      CHECK(text(item, "kind") == "PartialObjectMetadata");
      CHECK(text(item, "apiVersion") == fmt::format("meta.k8s.io/{}", version));
      CHECK(!base::find(item, "data"));
      v = (co_await http.get("/api/v1/namespaces/kube-public/configmaps", {{"Accept", accept}})).json();
      CHECK(base::find_array(v, "items"));
    }
    v = decoded(co_await http.get(maps, {{"Accept", proto + ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}}));
    CHECK(text(v, "kind") == "PartialObjectMetadataList");
    CHECK(names(v) == "abc");
    struct Case {
      const char *query, *object;
    };
    for (const Case& one : {Case{"", "PartialObjectMetadata"}, {"?includeObject=Metadata", "PartialObjectMetadata"}, {"?includeObject=Object", "ConfigMap"}, {"?includeObject=None", ""}}) {
      INFO(one.query);
      v = (co_await http.get(maps + one.query, {{"Accept", "application/json;as=Table;g=meta.k8s.io;v=v1beta1"}})).json();
      CHECK(text(v, "kind") == "Table");
      CHECK(text(v, "metadata.resourceVersion") != "");
      CHECK(base::find_array(v, "columnDefinitions")->size() == 3);
      REQUIRE(base::find_array(v, "rows")->size() == 3);
      const value& row = base::find_array(v, "rows")->at(0);
      CHECK(base::find_array(row, "cells")->at(0) == "a");
      CHECK(text(row, "object.kind") == one.object);
    }
    r = co_await http.get(maps + "?includeObject=All", {{"Accept", "application/json;as=Table;g=meta.k8s.io;v=v1"}});
    CHECK(r.status == 400);
  }, true);
}

TEST_CASE("a list in protobuf is that of now however often it was listed, in each form and group") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    for (const char* name : {"a", "b", "c"}) co_await make(c, name);
    const std::string partial = proto + ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    auto same = [](Http& h, std::string url) -> Task<> {
      value bytes = decoded(co_await h.get(url, {{"Accept", proto}})), plain = (co_await h.get(url)).json();
      const auto *b = base::find_array(bytes, "items"), *p = base::find_array(plain, "items");
      REQUIRE((b && p && b->size() == p->size()));
      for (size_t i = 0; i < b->size(); ++i) {
        value item = p->at(i);
        item.as_object().erase("apiVersion"), item.as_object().erase("kind");
        CHECK(*base::find(b->at(i), "metadata.resourceVersion") == *base::find(item, "metadata.resourceVersion"));
        CHECK((base::find(b->at(i), "data") == nullptr) == (base::find(item, "data") == nullptr));
        if (const value* data = base::find(item, "data")) CHECK(*base::find(b->at(i), "data") == *data);
      }
    };
    co_await same(http, maps);
    co_await same(http, maps);
    CHECK((co_await c.admin->update(configmaps, {"default", "b"}, configmap("b", "2"))));
    CHECK((co_await c.admin->remove(configmaps, {"default", "c"})));
    co_await same(http, maps);
    for (int i = 0; i < 2; ++i) {
      value v = decoded(co_await http.get(maps, {{"Accept", partial}}));
      CHECK(base::find_array(v, "items")->size() == 2);
      CHECK(!base::find(base::find_array(v, "items")->at(0), "data"));
      co_await same(http, maps);
    }
    const std::string event = R"({"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","namespace":"default","name":"p"},"reason":"Why","message":"text","type":"Normal"})";
    CHECK((co_await http.send("POST", "/api/v1/namespaces/default/events", event)).status == 201);
    for (int i = 0; i < 2; ++i) {
      value core = decoded(co_await http.get("/api/v1/namespaces/default/events", {{"Accept", proto}}));
      value other = decoded(co_await http.get("/apis/events.k8s.io/v1/namespaces/default/events", {{"Accept", proto}}));
      CHECK(text(base::find_array(core, "items")->at(0), "message") == "text");
      CHECK(text(base::find_array(other, "items")->at(0), "note") == "text");
    }
  }, true);
}

TEST_CASE("watches have every form but YAML") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    co_await make(c, "a");
    const std::string watch = maps + "?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    base::Tasks tasks(c.runtime);
    auto all = [](Http& h, std::string url) -> Task<> {
      for (const char* as : {"", ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}) {
        INFO(as);
        auto r = co_await h.get(url, {{"Accept", std::string("application/vnd.kubernetes.protobuf;stream=watch") + as}});
        CHECK(r.headers.get("Content-Type") == "application/vnd.kubernetes.protobuf;stream=watch");
        auto events = frames(r.body);
        REQUIRE(events.size() >= 2);
        CHECK(events[0].first == "ADDED");
        CHECK(text(events[0].second, "kind") == (*as ? "PartialObjectMetadata" : "ConfigMap"));
        CHECK(text(events[0].second, "metadata.name") == "a");
        CHECK(events[1].first == "BOOKMARK");
        CHECK(base::find(events[1].second, "metadata.annotations"));
      }
    };
    tasks.spawn("protobuf", all(http, watch));
    for (const char* version : {"v1", "v1beta1"}) {
      auto r = co_await http.get(watch, {{"Accept", fmt::format("application/json;as=Table;g=meta.k8s.io;v={}", version)}});
      auto first = base::parse_json(std::string_view(r.body).substr(0, r.body.find('\n')));
      REQUIRE(first);
      CHECK(text(*first, "object.kind") == "Table");
      CHECK(text(*first, "object.apiVersion") == fmt::format("meta.k8s.io/{}", version));
      CHECK(base::find_array(*first, "object.columnDefinitions")->size() == 3);
      r = co_await http.get(watch, {{"Accept", fmt::format("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v={}", version)}});
      first = base::parse_json(std::string_view(r.body).substr(0, r.body.find('\n')));
      REQUIRE(first);
      CHECK(text(*first, "object.kind") == "PartialObjectMetadata");
      CHECK(text(*first, "object.apiVersion") == fmt::format("meta.k8s.io/{}", version));
      CHECK(text(*first, "object.metadata.name") == "a");
      CHECK(!base::find(*first, "object.data"));
    }
    while (tasks.running() > 0) co_await base::sleep_for(std::chrono::milliseconds(10));
    co_await tasks.stop();
    CHECK((co_await http.get(watch, {{"Accept", "application/yaml"}})).status == 406);
  }, true);
}

TEST_CASE("bodies come as JSON, YAML or protobuf, and nothing else") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    auto r = co_await http.send("POST", maps, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y1}\ndata: {a: '1'}\n", {{"Content-Type", "application/yaml"}});
    CHECK(r.status == 201);
    auto bytes = api::to_protobuf(*base::parse_json(configmap("p")));
    REQUIRE(bytes);
    r = co_await http.send("POST", maps, *bytes, {{"Content-Type", proto}, {"Accept", proto}});
    CHECK(r.status == 201);
    value made = decoded(r);
    CHECK(text(made, "data.a") == "1");
    base::make_object(made, "data")["a"] = "2";
    bytes = api::to_protobuf(made);
    r = co_await http.send("PUT", maps + "/p", *bytes, {{"Content-Type", proto}});
    CHECK(r.status == 200);
    CHECK(text(r.json(), "data.a") == "2");
    auto options = api::to_protobuf(*base::parse_json(R"({"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"other"}})"));
    REQUIRE(options);
    CHECK((co_await http.send("DELETE", maps + "/p", *options, {{"Content-Type", proto}})).status == 409);
    CHECK((co_await http.send("POST", maps, std::string("k8s\0junk", 8), {{"Content-Type", proto}})).status == 400);
    CHECK((co_await http.send("POST", maps, "junk", {{"Content-Type", proto}})).status == 400);
    CHECK((co_await http.send("POST", maps, configmap("x"), {{"Content-Type", "text/plain"}})).status == 415);
    CHECK((co_await http.send("PATCH", maps + "/p", "{}", {{"Content-Type", "application/json"}})).status == 415);
    CHECK((co_await http.send("POST", maps, "", {{"Content-Type", "application/json"}})).status == 400);
    CHECK((co_await http.send("POST", maps, "[]", {{"Content-Type", "application/json"}})).status == 400);
    CHECK((co_await http.send("POST", maps, "{\"apiVersion\":1}", {{"Content-Type", "application/json"}})).status == 400);
  }, true);
}

TEST_CASE("discovery comes in all its versions") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string legacy = "application/json", as = "application/json;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList;v=";
    for (const std::string& path : {"/api", "/apis"}) {
      auto v2 = co_await http.get(path, {{"Accept", as + "v2," + as + "v2beta1," + legacy}});
      CHECK(v2.headers.get("Content-Type") == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
      CHECK(text(v2.json(), "apiVersion") == "apidiscovery.k8s.io/v2");
      auto beta = co_await http.get(path, {{"Accept", as + "v2beta1," + legacy}});
      CHECK(beta.headers.get("Content-Type") == "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList");
      value b = beta.json();
      CHECK(text(b, "apiVersion") == "apidiscovery.k8s.io/v2beta1");
      CHECK(*base::find(b, "items") == *base::find(v2.json(), "items"));
      CHECK(beta.headers.get("Etag") != v2.headers.get("Etag"));
      auto same = co_await http.get(path, {{"Accept", as + "v2beta1"}, {"If-None-Match", std::string(beta.headers.get("Etag"))}});
      CHECK(same.status == 304);
      CHECK(same.body.empty());
      auto old = co_await http.get(path, {{"Accept", legacy}});
      CHECK(text(old.json(), "kind") == (path == std::string("/api") ? "APIVersions" : "APIGroupList"));
      CHECK(text(decoded(co_await http.get(path, {{"Accept", proto}})), "kind") == text(old.json(), "kind"));
    }
    CHECK((co_await http.get("/apis/none/v1")).status == 404);
    auto resources = co_await http.get("/apis/apps/v1", {{"Accept", proto}});
    CHECK(decoded(resources) == (co_await http.get("/apis/apps/v1")).json());
    CHECK(resources.body.find(std::string("\n\x06" "create\n\x06" "delete")) != std::string::npos);  // verbs stand in a message of their own
  }, true);
}

TEST_CASE("OpenAPI documents are made once, compressed, and named by their content") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    auto v2 = co_await http.get("/openapi/v2");
    CHECK(v2.headers.get("Content-Type") == "application/json");
    CHECK(base::find_object(v2.json(), "definitions")->contains("io.k8s.api.core.v1.Pod"));
    const std::string etag(v2.headers.get("Etag"));
    CHECK((co_await http.get("/openapi/v2", {{"If-None-Match", etag}})).status == 304);
    auto packed = co_await http.get("/openapi/v2", {{"Accept-Encoding", "gzip"}});
    CHECK(packed.headers.get("Content-Encoding") == "gzip");
    CHECK(packed.body.size() < v2.body.size() / 5);
    CHECK(packed.headers.get("Etag") == etag);
    auto old = co_await http.get("/openapi/v2", {{"Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}});
    CHECK(old.headers.get("Content-Type") == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    CHECK(old.headers.get("Etag") != etag);

    value index = (co_await http.get("/openapi/v3")).json();
    const auto& paths = *base::find_object(index, "paths");
    CHECK(paths.contains("api/v1"));
    for (const auto& [path, entry] : paths) {
      INFO(path);
      std::string url = text(entry, "serverRelativeURL");
      auto r = co_await http.get(url);
      CHECK(r.status == 200);
      CHECK(r.headers.get("Cache-Control") == "public, immutable");
      CHECK(text(r.json(), "openapi") == "3.0.0");
      auto bytes = co_await http.get(url, {{"Accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"}});
      CHECK(bytes.status == 200);
      CHECK(bytes.headers.get("Content-Type") == "application/com.github.proto-openapi.spec.v3.v1.0+protobuf");
      api::wire::Reader document(bytes.body);
      size_t schemas = 0;
      while (document.next()) {
        if (document.number == 1) CHECK(document.data == "3.0.0");
        if (document.number != 5) continue;
        api::wire::Reader components(document.data);
        while (components.next()) {
          api::wire::Reader named(components.data);
          while (named.next()) ++schemas;
          CHECK(!named.failed());
        }
      }
      CHECK(!document.failed());
      CHECK(schemas == base::find_object(r.json(), "components.schemas")->size());
    }
    auto stale = co_await http.get("/openapi/v3/apis/apps/v1?hash=old");
    CHECK(stale.status == 301);
    CHECK(stale.headers.get("Location") == text(paths.at("apis/apps/v1"), "serverRelativeURL"));
    CHECK((co_await http.get("/openapi/v3/apis/apps/v1")).headers.get("Cache-Control") != "public, immutable");
    CHECK((co_await http.get("/openapi/v3/apis/none/v1")).status == 404);
  }, true);
}
