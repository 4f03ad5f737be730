// Lists: which state they show, pages, and what becomes of them when history is gone.
#include <fmt/format.h>

#include "http_client.h"

using namespace test;
using namespace std::chrono_literals;

namespace {

const std::string maps = "/api/v1/namespaces/default/configmaps";

Task<> compacted_to(Cluster c, datastore::Revision revision) {
  c.store.compact(revision);
  for (int i = 0; i < 400 && c.store.compacted() < revision; ++i) co_await base::sleep_for(5ms);
  REQUIRE(c.store.compacted() >= revision);
}

Task<std::string> make(Cluster c, std::string name) {
  auto made = co_await c.admin->create(configmaps, {"default", ""}, configmap(name));
  REQUIRE(made);
  co_return text(parse(*made), "metadata.resourceVersion");
}

std::string cause(const value& status, size_t i, std::string_view member) {
  const auto* causes = base::find_array(status, "details.causes");
  return causes && i < causes->size() ? std::string(base::get_string(causes->at(i), member)) : std::string();
}

}  // namespace

TEST_CASE("every combination of resourceVersion, match and limit has its meaning") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    (void)co_await make(c, "a");
    std::string second = co_await make(c, "b");
    std::string third = co_await make(c, "c");
    struct Case {
      std::string query;
      int status;
      size_t items;
      std::string version;  // of the list; empty: any
    };
    const Case cases[] = {
        {"", 200, 3, ""},
        {"limit=2", 200, 2, ""},
        {"resourceVersion=0", 200, 3, ""},
        {"resourceVersion=0&limit=2", 200, 2, ""},
        {"resourceVersion=" + second, 200, 3, ""},
        {"resourceVersion=" + second + "&limit=5", 200, 2, second},
        {"resourceVersion=" + second + "&limit=1", 200, 1, second},
        {"resourceVersion=" + second + "&resourceVersionMatch=Exact", 200, 2, second},
        {"resourceVersion=" + second + "&resourceVersionMatch=Exact&limit=1", 200, 1, second},
        {"resourceVersion=" + second + "&resourceVersionMatch=NotOlderThan", 200, 3, ""},
        {"resourceVersion=" + second + "&resourceVersionMatch=NotOlderThan&limit=2", 200, 2, ""},
        {"resourceVersion=0&resourceVersionMatch=NotOlderThan", 200, 3, ""},
        {"resourceVersion=" + third + "&resourceVersionMatch=Exact", 200, 3, third},
        {"resourceVersion=0&resourceVersionMatch=Exact", 422, 0, ""},
        {"resourceVersionMatch=Exact", 422, 0, ""},
        {"resourceVersionMatch=NotOlderThan", 422, 0, ""},
        {"resourceVersion=" + second + "&resourceVersionMatch=exact", 422, 0, ""},
        {"resourceVersion=" + second + "&resourceVersionMatch=Exact&continue=x", 422, 0, ""},
        {"resourceVersion=" + second + "&continue=x", 400, 0, ""},
        {"resourceVersion=abc", 400, 0, ""},
        {"resourceVersion=-1", 400, 0, ""},
        {"limit=-1", 400, 0, ""},
        {"limit=x", 400, 0, ""},
        {"continue=x", 400, 0, ""},
        {"sendInitialEvents=true", 422, 0, ""},
    };
    for (const Case& one : cases) {
      INFO(one.query);
      auto r = co_await http.get(maps + "?" + one.query);
      CHECK(r.status == one.status);
      value v = r.json();
      if (one.status != 200) {
        CHECK(text(v, "kind") == "Status");
        continue;
      }
      REQUIRE(base::find_array(v, "items"));
      CHECK(base::find_array(v, "items")->size() == one.items);
      if (!one.version.empty()) CHECK(text(v, "metadata.resourceVersion") == one.version);
    }
    auto wrong = (co_await http.get(maps + "?resourceVersionMatch=Exact")).json();
    CHECK(text(wrong, "message") ==
          "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless "
          "resourceVersion is provided");
    CHECK(cause(wrong, 0, "field") == "resourceVersionMatch");
  }, true);
}

TEST_CASE("a state that is yet to come is waited for, then it is said which one there is") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    // A revision that comes while the request waits.
    auto soon = std::to_string(c.store.revision() + 1);
    base::Tasks tasks(c.runtime);
    tasks.spawn("writer", [](Cluster cl) -> Task<> {
      co_await base::sleep_for(200ms);
      (void)co_await make(cl, "late");
    }(c));
    auto r = co_await http.get(maps + "?resourceVersionMatch=NotOlderThan&resourceVersion=" + soon);
    CHECK(r.status == 200);
    CHECK(base::find_array(r.json(), "items")->size() == 1);
    co_await tasks.stop();
    // One that does not come.
    for (const std::string& path : {maps + "/late?resourceVersion=9999999", maps + "?resourceVersion=9999999&resourceVersionMatch=Exact"}) {
      INFO(path);
      r = co_await http.get(path);
      CHECK(r.status == 504);
      value v = r.json();
      CHECK(text(v, "reason") == "Timeout");
      CHECK(text(v, "message").starts_with("Too large resource version: 9999999, current: "));
      CHECK(cause(v, 0, "reason") == "ResourceVersionTooLarge");
      CHECK(base::get_int(v, "details.retryAfterSeconds") == 1);
      CHECK(r.headers.get("Retry-After") == "1");
    }
  }, true);
}

TEST_CASE("when history is gone pages end with 410 and a token to go on from now") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    for (const char* n : {"a", "b", "c", "d", "e"}) (void)co_await make(c, n);
    auto r = co_await http.get(maps + "?limit=2");
    value first = r.json();
    CHECK(base::get_int(first, "metadata.remainingItemCount") == 3);
    CHECK((co_await c.admin->remove(configmaps, {"default", "c"})));
    (void)co_await make(c, "f");
    co_await compacted_to(c, c.store.revision());
    r = co_await http.get(maps + "?limit=2&continue=" + text(first, "metadata.continue"));
    CHECK(r.status == 410);
    value expired = r.json();
    CHECK(text(expired, "reason") == "Expired");
    CHECK(text(expired, "message").starts_with("The provided continue parameter is too old to display a consistent list result."));
    std::string token = text(expired, "metadata.continue");
    REQUIRE(!token.empty());
    // Inconsistent, but nothing that was there all the time is missed or repeated.
    std::string names;
    while (!token.empty()) {
      r = co_await http.get(maps + "?limit=2&continue=" + token);
      REQUIRE(r.status == 200);
      value page = r.json();
      CHECK(text(page, "metadata.resourceVersion") > text(first, "metadata.resourceVersion"));
      for (const value& item : *base::find_array(page, "items")) names += base::get_string(item, "metadata.name");
      token = text(page, "metadata.continue");
    }
    CHECK(names == "def");
    r = co_await http.get(maps + "?resourceVersionMatch=Exact&resourceVersion=" + text(first, "metadata.resourceVersion"));
    CHECK(r.status == 410);
    CHECK(text(r.json(), "reason") == "Expired");
    // At least as new is always there.
    r = co_await http.get(maps + "?resourceVersion=" + text(first, "metadata.resourceVersion"));
    CHECK(r.status == 200);
  }, true);
}

TEST_CASE("remainingItemCount is told without selectors only, and a token is good for its own collection") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    for (int i = 0; i < 6; ++i)
      CHECK((co_await c.admin->create(
          configmaps, {"default", ""},
          configmap("n" + std::to_string(i), "1", i % 2 ? R"(,"labels":{"odd":"yes"})" : R"(,"labels":{"even":"4"})"))));
    value v = (co_await http.get(maps + "?limit=2&labelSelector=odd")).json();
    CHECK(base::find_array(v, "items")->size() == 2);
    CHECK(!text(v, "metadata.continue").empty());
    CHECK(!base::find(v, "metadata.remainingItemCount"));
    v = (co_await http.get(maps + "?limit=6")).json();
    CHECK(!base::find(v, "metadata.continue"));
    struct Case {
      const char* selector;
      size_t items;
    };
    for (const Case& one : {Case{"odd", 3}, {"!odd", 3}, {"odd%3Dyes", 3}, {"odd!%3Dyes", 3}, {"odd+in+(yes,no)", 3}, {"odd+notin+(yes)", 3}, {"even%3E3", 3}, {"even%3C4", 0},
                            {"odd,even", 0}}) {
      INFO(one.selector);
      v = (co_await http.get(maps + "?labelSelector=" + one.selector)).json();
      REQUIRE(base::find_array(v, "items"));
      CHECK(base::find_array(v, "items")->size() == one.items);
    }
    for (const char* bad : {"a+in", "a%3D%3D%3Db", "in+(", "a+in+()x", "-a%3Db", "a%3D-b"}) {
      INFO(bad);
      CHECK((co_await http.get(maps + "?labelSelector=" + bad)).status == 400);
    }
  }, true);
}

TEST_CASE("fields that can be selected by are those of Kubernetes, others are named") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    for (const char* good :
         {"/api/v1/pods?fieldSelector=spec.nodeName%3Dn1,status.phase!%3DFailed", "/api/v1/events?fieldSelector=involvedObject.name%3Dx",
          "/api/v1/secrets?fieldSelector=type%3DOpaque", "/api/v1/nodes?fieldSelector=spec.unschedulable%3Dtrue",
          "/api/v1/namespaces?fieldSelector=status.phase%3DActive", "/apis/batch/v1/jobs?fieldSelector=status.successful%3D1",
          "/apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=spec.signerName%3Dx",
          "/api/v1/services?fieldSelector=spec.type%3DClusterIP",
          "/apis/apps/v1/deployments?fieldSelector=metadata.name%3Dx,metadata.namespace!%3Dy"}) {
      INFO(good);
      CHECK((co_await http.get(good)).status == 200);
    }
    auto message = [&](std::string path) -> Task<std::string> {
      auto r = co_await http.get(std::move(path));
      CHECK(r.status == 400);
      co_return text(r.json(), "message");
    };
    CHECK((co_await message("/api/v1/pods?fieldSelector=spec.foo%3D1")) ==
          "field label not supported: spec.foo");
    CHECK((co_await message("/api/v1/configmaps?fieldSelector=data.a%3D1")) ==
          "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"");
    CHECK((co_await message("/apis/batch/v1/jobs?fieldSelector=spec.x%3D1")) == "field label \"spec.x\" not supported for Job");
    CHECK((co_await message("/api/v1/pods?fieldSelector=nonsense")).find("invalid field selector") != std::string::npos);
    const std::string event =
        R"({"metadata":{"name":"e"},"regarding":{"namespace":"default"},"eventTime":"2026-01-01T00:00:00.000000Z","action":"Do","reason":"Test",)"
        R"("type":"Normal","reportingController":"robot","reportingInstance":"robot-1"})";
    CHECK((co_await http.send("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event)).status == 201);
    for (const char* path : {"/api/v1/events?fieldSelector=source%3Drobot", "/api/v1/events?fieldSelector=reportingComponent%3Drobot",
                             "/apis/events.k8s.io/v1/events?fieldSelector=reportingController%3Drobot"}) {
      INFO(path);
      value found = (co_await http.get(path)).json();
      CHECK(base::find_array(found, "items")->size() == 1);
    }
    value v = (co_await http.get("/api/v1/namespaces?fieldSelector=metadata.name%3Ddefault")).json();
    CHECK(base::find_array(v, "items")->size() == 1);
  }, true);
}
