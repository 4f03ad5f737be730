// Deletion: preconditions, propagation, finalizers, collections.
#include <fmt/format.h>

#include "http_client.h"

using namespace test;

namespace {

const std::string maps = "/api/v1/namespaces/default/configmaps", jobs = "/apis/batch/v1/namespaces/default/jobs";

std::string finalizers(const value& v) {
  const auto* list = base::find_array(v, "metadata.finalizers");
  return list ? base::to_text(*list) : "none";
}

std::string options(const std::string& more) { return R"({"apiVersion":"v1","kind":"DeleteOptions",)" + more + "}"; }

std::string job(const std::string& name) {
  return R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":")" + name +
         R"("},"spec":{"suspend":true,"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"x"}]}}}})";
}

}  // namespace

TEST_CASE("a deletion happens to the object it means, or not at all") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    value made = (co_await http.send("POST", maps, configmap("a"))).json();
    const std::string uid = text(made, "metadata.uid"), version = text(made, "metadata.resourceVersion");
    auto r = co_await http.send("DELETE", maps + "/a", options(R"("preconditions":{"uid":"other"})"));
    CHECK(r.status == 409);
    CHECK(text(r.json(), "reason") == "Conflict");
    CHECK(text(r.json(), "message") ==
          "Operation cannot be fulfilled on configmaps \"a\": Precondition failed: UID in precondition: other, UID in object meta: " + uid);
    r = co_await http.send("DELETE", maps + "/a", options(R"("preconditions":{"resourceVersion":"1"})"));
    CHECK(r.status == 409);
    CHECK(text(r.json(), "message").find("ResourceVersion in precondition: 1, ResourceVersion in object meta: " + version) !=
          std::string::npos);
    r = co_await http.send("DELETE", maps + "/a",
                           options(R"("preconditions":{"uid":")" + uid + R"(","resourceVersion":")" + version + "\"}"));
    CHECK(r.status == 200);
    value gone = r.json();
    CHECK(text(gone, "status") == "Success");
    CHECK(text(gone, "details.name") == "a");
    CHECK(text(gone, "details.kind") == "configmaps");
    CHECK(text(gone, "details.uid") == uid);
    CHECK((co_await http.send("DELETE", maps + "/a")).status == 404);
    for (const char* wrong :
         {R"("propagationPolicy":"Later")", R"("propagationPolicy":"Orphan","orphanDependents":true)", R"("dryRun":["Some"])"}) {
      INFO(wrong);
      CHECK((co_await http.send("DELETE", maps + "/a", options(wrong))).status == 422);
    }
    CHECK((co_await http.send("DELETE", maps + "/a", R"({"apiVersion":"v1","kind":"Pod"})")).status == 400);
  }, true);
}

TEST_CASE("propagation is kept as a finalizer for the garbage collector") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    struct Case {
      std::string query, body;
      int status;
      std::string left;  // finalizers; empty: gone
    };
    const Case cases[] = {
        {"", "", 200, ""},
        {"?propagationPolicy=Background", "", 200, ""},
        {"?propagationPolicy=Orphan", "", 200, R"(["orphan"])"},
        {"?propagationPolicy=Foreground", "", 202, R"(["foregroundDeletion"])"},
        {"?orphanDependents=true", "", 200, R"(["orphan"])"},
        {"?orphanDependents=false", "", 200, ""},
        {"", options(R"("propagationPolicy":"Foreground")"), 202, R"(["foregroundDeletion"])"},
        {"", options(R"("orphanDependents":true)"), 200, R"(["orphan"])"},
    };
    int n = 0;
    for (const Case& one : cases) {
      INFO(one.query << one.body);
      std::string name = "m" + std::to_string(n++);
      CHECK((co_await http.send("POST", maps, configmap(name))).status == 201);
      auto r = co_await http.send("DELETE", maps + "/" + name + one.query, one.body);
      CHECK(r.status == one.status);
      auto left = co_await http.get(maps + "/" + name);
      CHECK(left.status == (one.left.empty() ? 404 : 200));
      if (left.status != 200) continue;
      CHECK(finalizers(left.json()) == one.left);
      CHECK(!text(left.json(), "metadata.deletionTimestamp").empty());
      // Another wish replaces the one before.
      CHECK((co_await http.send("DELETE", maps + "/" + name + "?propagationPolicy=Background")).status == 200);
      CHECK((co_await http.get(maps + "/" + name)).status == 404);
    }
    // Jobs keep their pods unless told otherwise, and say so.
    CHECK((co_await http.send("POST", jobs, job("j"))).status == 201);
    auto r = co_await http.send("DELETE", jobs + "/j");
    CHECK(r.status == 200);
    CHECK(r.headers.get("Warning").find("child pods are preserved by default when jobs are deleted") != std::string_view::npos);
    CHECK(finalizers((co_await http.get(jobs + "/j")).json()).find("orphan") != std::string::npos);
    CHECK((co_await http.send("POST", jobs, job("k"))).status == 201);
    r = co_await http.send("DELETE", jobs + "/k?propagationPolicy=Background");
    CHECK(r.headers.get("Warning").empty());
  }, true);
}

TEST_CASE("while an object goes nothing can hold it that did not before") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    CHECK((co_await http.send("POST", maps, configmap("a", "1", R"(,"finalizers":["x.example/f","x.example/g"])"))).status == 201);
    value deleted = (co_await http.send("DELETE", maps + "/a")).json();
    CHECK(text(deleted, "kind") == "ConfigMap");
    const std::string at = text(deleted, "metadata.deletionTimestamp");
    auto patch = [&](std::string body) -> Task<Answer> {
      co_return co_await http.send("PATCH", maps + "/a", body, {{"Content-Type", "application/merge-patch+json"}});
    };
    auto r = co_await patch(R"({"metadata":{"finalizers":["x.example/f","x.example/h"]}})");
    CHECK(r.status == 422);
    CHECK(text(r.json(), "message") ==
          "ConfigMap \"a\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
          "found new finalizers []string{\"x.example/h\"}");
    // Deleting again changes nothing; the object can still be changed.
    value again = (co_await http.send("DELETE", maps + "/a")).json();
    CHECK(text(again, "metadata.deletionTimestamp") == at);
    CHECK(text(again, "metadata.resourceVersion") == text(deleted, "metadata.resourceVersion"));
    r = co_await patch(R"({"metadata":{"finalizers":["x.example/g"],"deletionTimestamp":null},"data":{"a":"2"}})");
    CHECK(r.status == 200);
    CHECK(text(r.json(), "metadata.deletionTimestamp") == at);
    r = co_await patch(R"({"metadata":{"finalizers":[]}})");
    CHECK(r.status == 200);
    CHECK((co_await http.get(maps + "/a")).status == 404);
    for (const char* wrong :
         {R"(,"finalizers":["plain"])", R"(,"finalizers":["orphan","foregroundDeletion"])", R"(,"finalizers":["bad name/x"])"}) {
      INFO(wrong);
      CHECK((co_await http.send("POST", maps, configmap("b", "1", wrong))).status == 422);
    }
  }, true);
}

TEST_CASE("a collection is deleted as far as it is selected") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    for (int i = 0; i < 6; ++i)
      CHECK((co_await http.send("POST", maps, configmap("n" + std::to_string(i), "1", i % 2 ? R"(,"labels":{"odd":"yes"})" : ""))).status ==
            201);
    CHECK((co_await http.send("POST", "/api/v1/namespaces/kube-system/configmaps", configmap("n1", "1", R"(,"labels":{"odd":"yes"})")))
              .status == 201);
    auto r = co_await http.send("DELETE", maps + "?labelSelector=odd&dryRun=All");
    CHECK(base::find_array(r.json(), "items")->size() == 3);
    r = co_await http.send("DELETE", maps + "?labelSelector=odd%3Dyes&fieldSelector=metadata.name!%3Dn1");
    CHECK(r.status == 200);
    CHECK(text(r.json(), "kind") == "ConfigMapList");
    CHECK(base::find_array(r.json(), "items")->size() == 2);
    // A page, with what is needed to go on.
    r = co_await http.send("DELETE", maps + "?limit=3");
    value page = r.json();
    CHECK(base::find_array(page, "items")->size() == 3);
    CHECK(!text(page, "metadata.continue").empty());
    r = co_await http.send("DELETE", maps + "?limit=3&continue=" + text(page, "metadata.continue"));
    CHECK(base::find_array(r.json(), "items")->size() == 1);
    CHECK(base::find_array((co_await http.get(maps)).json(), "items")->empty());
    CHECK((co_await http.get("/api/v1/namespaces/kube-system/configmaps/n1")).status == 200);
    // A precondition holds for each.
    CHECK((co_await http.send("POST", maps, configmap("p"))).status == 201);
    r = co_await http.send("DELETE", maps, options(R"("preconditions":{"uid":"other"})"));
    CHECK(r.status == 409);
    CHECK((co_await http.get(maps + "/p")).status == 200);
    CHECK((co_await http.send("DELETE", "/api/v1/namespaces")).status == 405);
  }, true);
}

TEST_CASE("whatever is tried, an object keeps what makes it itself") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string deploys = "/apis/apps/v1/namespaces/default/deployments";
    auto made = co_await http.send(
        "POST", deploys,
        R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","finalizers":["x.example/a"]},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}})");
    REQUIRE(made.status == 201);
    value before = made.json();
    const char* attempts[] = {
        R"({"metadata":{"uid":"other"}})", R"({"metadata":{"name":"other"}})", R"({"metadata":{"namespace":"other"}})", R"({"metadata":{"generation":1}})",
        R"({"metadata":{"deletionTimestamp":null}})", R"({"metadata":{"deletionTimestamp":"2100-01-01T00:00:00Z"}})", R"({"metadata":{"deletionGracePeriodSeconds":7}})",
        R"({"metadata":{"creationTimestamp":null}})", R"({"metadata":{"finalizers":["x.example/a","x.example/b"]}})", R"({"spec":{"replicas":2}})", R"({"spec":{"replicas":3}})",
        R"({"metadata":{"labels":{"l":"1"}}})", R"({"metadata":{"labels":null}})", R"({"status":{"replicas":5}})", R"({"metadata":{"selfLink":"/x","resourceVersion":null}})",
    };
    uint32_t state = 1;
    for (int i = 0; i < 150; ++i) {
      state = state * 1664525 + 1013904223;
      const char* attempt = attempts[(state >> 16) % std::size(attempts)];
      INFO(i << " " << attempt);
      if (i == 60) CHECK((co_await http.send("DELETE", deploys + "/d")).status == 200);
      (void)co_await http.send("PATCH", deploys + "/d", attempt, {{"Content-Type", "application/merge-patch+json"}});
      auto r = co_await http.get(deploys + "/d");
      REQUIRE(r.status == 200);
      value now = r.json();
      for (const char* same : {"metadata.name", "metadata.namespace", "metadata.uid", "metadata.creationTimestamp"})
        CHECK(text(now, same) == text(before, same));
      CHECK(base::get_int(now, "metadata.generation") >= base::get_int(before, "metadata.generation"));
      CHECK(std::stoull(text(now, "metadata.resourceVersion")) >= std::stoull(text(before, "metadata.resourceVersion")));
      const std::string deleted = text(before, "metadata.deletionTimestamp");
      if (!deleted.empty()) {
        CHECK(text(now, "metadata.deletionTimestamp") == deleted);
        CHECK(base::find_array(now, "metadata.finalizers")->size() <= base::find_array(before, "metadata.finalizers")->size());
      }
      CHECK(base::get_int(now, "status.replicas") == 0);
      before = std::move(now);
    }
    CHECK(!text(before, "metadata.deletionTimestamp").empty());
    CHECK((co_await http.send("PATCH", deploys + "/d", R"({"metadata":{"finalizers":null}})",
                              {{"Content-Type", "application/merge-patch+json"}}))
              .status == 200);
    CHECK((co_await http.get(deploys + "/d")).status == 404);
  }, true);
}
