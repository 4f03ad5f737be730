// managedFields and server-side apply over HTTP.
#include <fmt/format.h>

#include "http_client.h"

using namespace test;

namespace {

const std::string maps = "/api/v1/namespaces/default/configmaps", deploys = "/apis/apps/v1/namespaces/default/deployments";

// "manager operation subresource apiVersion" of every entry.
std::vector<std::string> managers(const value& v) {
  std::vector<std::string> out;
  if (const auto* list = base::find_array(v, "metadata.managedFields"))
    for (const value& e : *list)
      out.push_back(fmt::format("{} {} {} {}", base::get_string(e, "manager"), base::get_string(e, "operation"),
                                base::get_string(e, "subresource"), base::get_string(e, "apiVersion")));
  return out;
}
std::string fields(const value& v, std::string_view manager) {
  if (const auto* list = base::find_array(v, "metadata.managedFields"))
    for (const value& e : *list)
      if (base::get_string(e, "manager") == manager) return base::to_text(*base::find(e, "fieldsV1"));
  return "none";
}

using Names = std::vector<std::string>;
const std::pair<std::string, std::string> merge{"Content-Type", "application/merge-patch+json"},
    applying{"Content-Type", "application/apply-patch+yaml"};

constexpr const char* web = R"(
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: nginx}]}
)";

}  // namespace

TEST_CASE("every way of writing leaves its manager") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    auto r = co_await http.send(
        "POST", deploys + "?fieldManager=maker",
        R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}})");
    REQUIRE(r.status == 201);
    CHECK(managers(r.json()) == Names{"maker Update  apps/v1"});
    value live = r.json();
    live.at_pointer("/spec").as_object()["paused"] = true;
    r = co_await http.send("PUT", deploys + "/d?fieldManager=putter", base::to_text(live));
    CHECK(managers(r.json()) == Names{"maker Update  apps/v1", "putter Update  apps/v1"});
    CHECK(fields(r.json(), "putter") == R"({"f:spec":{"f:paused":{}}})");
    r = co_await http.send("PATCH", deploys + "/d", R"({"metadata":{"labels":{"l":"1"}}})", {merge, {"User-Agent", "tool/v1.2 (linux)"}});
    CHECK(fields(r.json(), "tool") == R"({"f:metadata":{"f:labels":{".":{},"f:l":{}}}})");
    r = co_await http.send("PATCH", deploys + "/d/status?fieldManager=ctl", R"({"status":{"replicas":1}})", {merge});
    CHECK(fields(r.json(), "ctl") == R"({"f:status":{"f:replicas":{}}})");
    r = co_await http.send("PATCH", deploys + "/d/scale?fieldManager=scaler", R"({"spec":{"replicas":4}})", {merge});
    CHECK(r.status == 200);
    value now = (co_await http.get(deploys + "/d")).json();
    auto names = managers(now);
    CHECK(std::find(names.begin(), names.end(), "ctl Update status apps/v1") != names.end());
    CHECK(std::find(names.begin(), names.end(), "scaler Update scale apps/v1") != names.end());
    CHECK(fields(now, "scaler") == R"({"f:spec":{"f:replicas":{}}})");
    CHECK(fields(now, "maker").find("f:replicas") == std::string::npos);
    for (const value& e : *base::find_array(now, "metadata.managedFields")) CHECK(text(e, "time").size() == 20);
    // The same again is no change, of the times either.
    r = co_await http.send("PATCH", deploys + "/d/scale?fieldManager=scaler", R"({"spec":{"replicas":4}})", {merge});
    CHECK(text(r.json(), "metadata.resourceVersion") == text(now, "metadata.resourceVersion"));
    // Too long, or not to be printed.
    r = co_await http.send("PATCH", deploys + "/d?fieldManager=" + std::string(129, 'x'), "{}", {merge});
    CHECK(r.status == 422);
    r = co_await http.send("PATCH", deploys + "/d?fieldManager=a%0Ab", "{}", {merge});
    CHECK(r.status == 422);
    // Ownership can be given up as a whole.
    r = co_await http.send("PATCH", deploys + "/d", R"({"metadata":{"managedFields":[{}]}})", {merge});
    CHECK(r.status == 200);
    CHECK(!base::find(r.json(), "metadata.managedFields"));
    r = co_await http.send("PATCH", deploys + "/d?fieldManager=x", R"({"spec":{"paused":false}})", {merge});
    CHECK(!base::find(r.json(), "metadata.managedFields"));
  }, true);
}

TEST_CASE("applying creates, changes, removes, conflicts and forces") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    auto r = co_await http.send("PATCH", deploys + "/web", web, {applying});
    CHECK(r.status == 422);
    CHECK(text(r.json(), "message") ==
          "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch");
    r = co_await http.send("PATCH", deploys + "/web?fieldManager=one", web, {applying});
    CHECK(r.status == 201);
    CHECK(managers(r.json()) == Names{"one Apply  apps/v1"});
    CHECK(fields(r.json(), "one").find("f:strategy") == std::string::npos);  // defaults belong to nobody
    value made = r.json();
    r = co_await http.send("PATCH", deploys + "/web?fieldManager=one", web, {applying});
    CHECK(r.status == 200);
    CHECK(text(r.json(), "metadata.resourceVersion") == text(made, "metadata.resourceVersion"));
    const std::string five = R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":5}})";
    r = co_await http.send("PATCH", deploys + "/web?fieldManager=two", five, {applying});
    CHECK(r.status == 409);
    value conflict = r.json();
    CHECK(text(conflict, "reason") == "Conflict");
    CHECK(text(conflict, "message") == "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    const value& cause = base::find_array(conflict, "details.causes")->at(0);
    CHECK(text(cause, "reason") == "FieldManagerConflict");
    CHECK(text(cause, "message") == "conflict with \"one\"");
    CHECK(text(cause, "field") == ".spec.replicas");
    r = co_await http.send("PATCH", deploys + "/web?fieldManager=two&force=true", five, {applying});
    CHECK(r.status == 200);
    CHECK(base::get_int(r.json(), "spec.replicas") == 5);
    CHECK(fields(r.json(), "one").find("f:replicas") == std::string::npos);
    // What nobody applies any more goes back to its default.
    r = co_await http.send("PATCH", deploys + "/web?fieldManager=two",
                           R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"}})", {applying});
    CHECK(r.status == 200);
    CHECK(base::get_int(r.json(), "spec.replicas") == 1);
    CHECK(managers(r.json()) == Names{"one Apply  apps/v1"});
    // With a version that has passed.
    r = co_await http.send(
        "PATCH", deploys + "/web?fieldManager=two",
        R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","resourceVersion":"1"},"spec":{"paused":true}})",
        {applying});
    CHECK(r.status == 409);
    CHECK(text(r.json(), "message").find("the object has been modified") != std::string::npos);
    r = co_await http.send("PATCH", deploys + "/none?fieldManager=two",
                           R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"none","uid":"x"}})", {applying});
    CHECK(r.status == 409);
    r = co_await http.send("PATCH", deploys + "/none/status?fieldManager=two",
                           R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"none"}})", {applying});
    CHECK(r.status == 404);
    r = co_await http.send("PATCH", deploys + "/web?fieldManager=two",
                           R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","managedFields":[{"manager":"x"}]}})",
                           {applying});
    CHECK(r.status == 400);
    CHECK(text(r.json(), "message") == "metadata.managedFields must be nil");
  }, true);
}

TEST_CASE("status and scale are applied apart") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    REQUIRE((co_await http.send("PATCH", deploys + "/web?fieldManager=one", web, {applying})).status == 201);
    auto r = co_await http.send(
        "PATCH", deploys + "/web/status?fieldManager=ctl",
        R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":9},"status":{"replicas":2}})",
        {applying});
    CHECK(r.status == 200);
    CHECK(base::get_int(r.json(), "spec.replicas") == 3);
    CHECK(base::get_int(r.json(), "status.replicas") == 2);
    CHECK(fields(r.json(), "ctl") == R"({"f:status":{"f:replicas":{}}})");
    const std::string scale = R"({"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"web"},"spec":{"replicas":7}})";
    r = co_await http.send("PATCH", deploys + "/web/scale?fieldManager=hpa", scale, {applying});
    CHECK(r.status == 409);
    r = co_await http.send("PATCH", deploys + "/web/scale?fieldManager=hpa&force=true", scale, {applying});
    CHECK(r.status == 200);
    CHECK(text(r.json(), "kind") == "Scale");
    CHECK(base::get_int(r.json(), "spec.replicas") == 7);
    value now = (co_await http.get(deploys + "/web")).json();
    auto names = managers(now);
    CHECK(std::find(names.begin(), names.end(), "hpa Apply scale apps/v1") != names.end());
    r = co_await http.send("PATCH", deploys + "/web?fieldManager=one", web, {applying});
    CHECK(text(r.json(), "message") == "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\": .spec.replicas");
  }, true);
}

TEST_CASE("a configuration that cannot be understood is refused with its paths") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    struct Case {
      const char* spec;
      const char* says;
    };
    const Case cases[] = {
        {R"("foo":1)", ".spec.foo: field not declared in schema"},
        {R"("template":{"spec":{"containers":[{"name":"a"},{"name":"a"}]}})",
         ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]"},
        {R"("template":{"spec":{"containers":[{"image":"a"}]}})",
         ".spec.template.spec.containers: element 0: associative list with keys has an element that omits all key fields [\"name\"]"},
        {R"("template":{"spec":{"containers":[{"name":"a","bar":1}]}})",
         ".spec.template.spec.containers[name=\"a\"].bar: field not declared in schema"},
        {R"("template":{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80},{"containerPort":80,"protocol":"TCP"}]}]}})",
         ".spec.template.spec.containers[name=\"a\"].ports: duplicate entries for key [containerPort=80,protocol=\"TCP\"]"},
    };
    for (const Case& one : cases) {
      INFO(one.spec);
      auto r = co_await http.send(
          "PATCH", deploys + "/x?fieldManager=m",
          fmt::format(R"({{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"x"}},"spec":{{{}}}}})", one.spec), {applying});
      CHECK(r.status == 500);
      CHECK(text(r.json(), "message")
                .starts_with(std::string("failed to create typed patch object (default/x; apps/v1, Kind=Deployment): ") + one.says));
    }
    const std::string twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: '1'\n  a: '2'\n";
    auto r = co_await http.send("PATCH", maps + "/x?fieldManager=m&fieldValidation=Strict", twice, {applying});
    CHECK(r.status == 400);
    CHECK(text(r.json(), "message") == "error strict decoding YAML: yaml: unmarshal errors:\n  line 6: key \"a\" already set in map");
    r = co_await http.send("PATCH", maps + "/x?fieldManager=m", twice, {applying});
    CHECK(r.status == 201);
    CHECK(r.headers.get("Warning") == R"(299 - "line 6: key \"a\" already set in map")");
  }, true);
}

TEST_CASE("those who change from client-side to server-side apply have no conflicts with themselves") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string last = R"({\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"},\"data\":{\"a\":\"1\"}})";
    const std::string annotation = "kubectl.kubernetes.io/last-applied-configuration";
    auto r = co_await http.send("POST", maps + "?fieldManager=kubectl-client-side-apply",
                                configmap("a", "1", ",\"annotations\":{\"" + annotation + "\":\"" + last + "\"}"));
    REQUIRE(r.status == 201);
    CHECK((co_await http.send("PATCH", maps + "/a?fieldManager=other", configmap("a", "2"), {applying})).status == 409);
    r = co_await http.send("PATCH", maps + "/a?fieldManager=kubectl", configmap("a", "2"), {applying});
    CHECK(r.status == 200);
    value v = r.json();
    CHECK(text(v, "data.a") == "2");
    const auto* annotations = base::find_object(v, "metadata.annotations");
    REQUIRE(annotations);
    CHECK(std::string_view(annotations->at(annotation).as_string()).find(R"("data":{"a":"2"})") != std::string_view::npos);
    // What another has set since is one.
    CHECK((co_await http.send("PATCH", maps + "/a?fieldManager=other", R"({"data":{"b":"1"}})", {merge})).status == 200);
    r = co_await http.send("PATCH", maps + "/a?fieldManager=kubectl",
                           R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"2","b":"2"}})", {applying});
    CHECK(r.status == 409);
  }, true);
}

TEST_CASE("what was applied in one version is taken back in another") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string path = "/namespaces/default/horizontalpodautoscalers/h?fieldManager=m";
    const std::string target = R"("maxReplicas":3,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"})";
    auto body = [&](const std::string& version, const std::string& more) {
      return R"({"apiVersion":"autoscaling/)" + version + R"(","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{)" +
             target + more + "}}";
    };
    auto r = co_await http.send("PATCH", "/apis/autoscaling/v1" + path,
                                body("v1", R"(,"minReplicas":2,"targetCPUUtilizationPercentage":50)"), {applying});
    CHECK(r.status == 201);
    CHECK(text(r.json(), "apiVersion") == "autoscaling/v1");
    CHECK(base::get_int(r.json(), "spec.targetCPUUtilizationPercentage") == 50);
    CHECK(managers(r.json()) == Names{"m Apply  autoscaling/v2"});
    r = co_await http.send(
        "PATCH", "/apis/autoscaling/v2" + path,
        body("v2",
             R"(,"metrics":[{"type":"Resource","resource":{"name":"memory","target":{"type":"Utilization","averageUtilization":70}}}])"),
        {applying});
    CHECK(r.status == 200);
    value now = r.json();
    REQUIRE(base::find_array(now, "spec.metrics"));
    CHECK(base::find_array(now, "spec.metrics")->size() == 1);
    CHECK(text(base::find_array(now, "spec.metrics")->at(0), "resource.name") == "memory");
    CHECK(base::get_int(now, "spec.minReplicas") != 2);
    r = co_await http.send("PATCH", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/h?fieldManager=other",
                           body("v1", R"(,"targetCPUUtilizationPercentage":60)"), {applying});
    CHECK(r.status == 409);
    CHECK(text(r.json(), "message") == "Apply failed with 1 conflict: conflict with \"m\": .spec.metrics");
  }, true);
}
