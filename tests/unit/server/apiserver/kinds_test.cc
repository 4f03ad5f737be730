// What is particular to kinds, seen by a client: generations, status apart from spec, what the server keeps to itself, other versions.
#include "http_client.h"

using namespace test;

namespace {

const std::string spec_of_pods = R"({"containers":[{"name":"c","image":"i"}]})";
const std::string workload =
    R"("selector":{"matchLabels":{"a":"1"}},"template":{"metadata":{"labels":{"a":"1"}},"spec":)" + spec_of_pods + "}";
const std::string once = R"({"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]})";
const std::string merge_type = "application/merge-patch+json";

std::string object(const std::string& api_version, const std::string& kind, const std::string& rest) {
  return R"({"apiVersion":")" + api_version + R"(","kind":")" + kind + R"(","metadata":{"name":"x"},)" + rest + "}";
}

}  // namespace

TEST_CASE("generations grow with what is wanted, kind by kind") {
  struct Row {
    const char* path;
    std::string body;
    const char* same;     // a patch that leaves the generation as it is
    const char* changed;  // one that makes it 2; empty: none does
  };
  const std::string label = R"({"metadata":{"labels":{"l":"1"}}})", note = R"({"metadata":{"annotations":{"l":"1"}}})";
  const Row rows[] = {
      {"/apis/apps/v1/namespaces/default/deployments", object("apps/v1", "Deployment", R"("spec":{)" + workload + "}"), label.c_str(), R"({"spec":{"replicas":3}})"},
      {"/apis/apps/v1/namespaces/default/replicasets", object("apps/v1", "ReplicaSet", R"("spec":{)" + workload + "}"), note.c_str(), R"({"spec":{"replicas":3}})"},
      {"/apis/apps/v1/namespaces/default/statefulsets", object("apps/v1", "StatefulSet", R"("spec":{"serviceName":"s",)" + workload + "}"), note.c_str(), R"({"spec":{"replicas":3}})"},
      {"/apis/apps/v1/namespaces/default/daemonsets", object("apps/v1", "DaemonSet", R"("spec":{)" + workload + "}"), note.c_str(), R"({"spec":{"minReadySeconds":3}})"},
      {"/apis/batch/v1/namespaces/default/jobs", object("batch/v1", "Job", R"("spec":{"template":{"spec":)" + once + "}}"), note.c_str(), R"({"spec":{"parallelism":3}})"},
      {"/apis/batch/v1/namespaces/default/cronjobs", object("batch/v1", "CronJob", R"("spec":{"schedule":"* * * * *","jobTemplate":{"spec":{"template":{"spec":)" + once + "}}}}"), note.c_str(), R"({"spec":{"suspend":true}})"},
      {"/apis/policy/v1/namespaces/default/poddisruptionbudgets", object("policy/v1", "PodDisruptionBudget", R"("spec":{"minAvailable":1})"), note.c_str(), R"({"spec":{"minAvailable":2}})"},
      {"/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", object("networking.k8s.io/v1", "NetworkPolicy", R"("spec":{"podSelector":{}})"), note.c_str(), R"({"spec":{"policyTypes":["Egress"]}})"},
      {"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", object("discovery.k8s.io/v1", "EndpointSlice", R"("addressType":"IPv4","endpoints":[])"), note.c_str(), R"({"endpoints":[{"addresses":["10.0.0.1"]}]})"},
      {"/apis/scheduling.k8s.io/v1/priorityclasses", object("scheduling.k8s.io/v1", "PriorityClass", R"("value":5)"), R"({"description":"other"})", ""},
      {"/api/v1/namespaces/default/replicationcontrollers", object("v1", "ReplicationController", R"("spec":{"selector":{"a":"1"},"template":{"metadata":{"labels":{"a":"1"}},"spec":)" + spec_of_pods + "}}"), note.c_str(), R"({"spec":{"replicas":3}})"},
  };
  with_cluster([&](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    for (const Row& row : rows) {
      INFO(row.path);
      const std::string path = row.path;
      auto made = co_await http.send("POST", path, row.body);
      CHECK(made.status == 201);
      CHECK(base::get_int(made.json(), "metadata.generation") == 1);
      auto same = co_await http.send("PATCH", path + "/x", row.same, {{"Content-Type", merge_type}});
      CHECK(same.status == 200);
      CHECK(base::get_int(same.json(), "metadata.generation") == 1);
      if (!*row.changed) continue;
      auto changed = co_await http.send("PATCH", path + "/x", row.changed, {{"Content-Type", merge_type}});
      CHECK(changed.status == 200);
      CHECK(base::get_int(changed.json(), "metadata.generation") == 2);
    }
    // Deployments count annotations too: rollouts carry their cause there.
    auto noted = co_await http.send("PATCH", "/apis/apps/v1/namespaces/default/deployments/x", note, {{"Content-Type", merge_type}});
    CHECK(base::get_int(noted.json(), "metadata.generation") == 3);
    auto config = co_await http.send("POST", "/api/v1/namespaces/default/configmaps", configmap("x"));
    CHECK(base::get_int(config.json(), "metadata.generation") == 0);
  }, true);
}

TEST_CASE("a spec's update leaves the status alone and the other way round") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string path = "/apis/apps/v1/namespaces/default/deployments";
    CHECK((co_await http.send("POST", path, object("apps/v1", "Deployment", R"("status":{"replicas":7},"spec":{)" + workload + "}")))
              .status == 201);
    auto r = co_await http.get(path + "/x");
    CHECK(base::get_int(r.json(), "status.replicas") == 0);
    r = co_await http.send("PATCH", path + "/x/status", R"({"spec":{"replicas":9},"status":{"replicas":2,"observedGeneration":1}})",
                           {{"Content-Type", merge_type}});
    CHECK(r.status == 200);
    CHECK(base::get_int(r.json(), "spec.replicas") == 1);
    CHECK(base::get_int(r.json(), "status.replicas") == 2);
    r = co_await http.send("PATCH", path + "/x", R"({"spec":{"replicas":4},"status":{"replicas":8}})", {{"Content-Type", merge_type}});
    CHECK(base::get_int(r.json(), "spec.replicas") == 4);
    CHECK(base::get_int(r.json(), "status.replicas") == 2);
    r = co_await http.send("PATCH", path + "/x/status", R"({"status":{"readyReplicas":5}})", {{"Content-Type", merge_type}});
    CHECK(r.status == 422);
    CHECK(text(r.json(), "message").find("status.readyReplicas: Invalid value: 5: cannot be greater than status.replicas") !=
          std::string::npos);
  }, true);
}

TEST_CASE("every problem of an object is told, with path and kind") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    co_await default_account(c);
    auto r = co_await http.send(
        "POST", "/api/v1/namespaces/default/pods",
        R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"restartPolicy":"Sometimes","containers":[{"name":"c"}]}})");
    CHECK(r.status == 422);
    value v = r.json();
    CHECK(text(v, "reason") == "Invalid");
    CHECK(text(v, "message") ==
          "Pod \"x\" is invalid: [spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", "
          "\"OnFailure\", "
          "spec.containers[0].image: Required value]");
    const auto* causes = base::find_array(v, "details.causes");
    REQUIRE(causes);
    CHECK(causes->size() == 2);
  }, true);
}

TEST_CASE("components and API services are listed and cannot be written") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    auto r = co_await http.get("/api/v1/componentstatuses");
    CHECK(r.status == 200);
    CHECK(text(r.json(), "kind") == "ComponentStatusList");
    CHECK(base::find_array(r.json(), "items")->size() == 3);
    CHECK((co_await http.get("/api/v1/componentstatuses/scheduler")).status == 200);
    CHECK((co_await http.get("/api/v1/componentstatuses/none")).status == 404);
    r = co_await http.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.apps");
    CHECK(r.status == 200);
    CHECK(text(r.json(), "spec.group") == "apps");
    r = co_await http.get("/apis/apiregistration.k8s.io/v1/apiservices", {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}});
    CHECK(text(r.json(), "kind") == "Table");
    r = co_await http.send("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps");
    CHECK(r.status == 405);
  }, true);
}

TEST_CASE("addresses of services come from ServiceCIDRs") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string cidrs = "/apis/networking.k8s.io/v1/servicecidrs", services_path = "/api/v1/namespaces/default/services";
    auto r = co_await http.get(cidrs + "/kubernetes");
    CHECK(r.status == 200);
    value first = r.json();
    CHECK((*base::find_array(first, "spec.cidrs"))[0] == value("10.43.0.0/16"));
    CHECK(base::get_string((*base::find_array(first, "status.conditions"))[0], "status") == "True");
    const std::string wanted =
        R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"clusterIP":"10.77.0.5","ports":[{"port":80}]}})";
    CHECK((co_await http.send("POST", services_path, wanted)).status == 422);
    r = co_await http.send("POST", cidrs, object("networking.k8s.io/v1", "ServiceCIDR", R"("spec":{"cidrs":["10.77.0.0/24"]})"));
    CHECK(r.status == 201);
    CHECK(base::get_string((*base::find_array(r.json(), "status.conditions"))[0], "status") == "True");
    CHECK((co_await http.send("POST", services_path, wanted)).status == 201);
    CHECK((co_await http.get("/apis/networking.k8s.io/v1/ipaddresses/10.77.0.5")).status == 200);
    // One that goes gives no more addresses, keeps those in use, and ends when its controller takes the finalizer off.
    CHECK((co_await http.send("DELETE", cidrs + "/x")).status == 200);
    value ending = (co_await http.get(cidrs + "/x")).json();
    CHECK(base::get_string((*base::find_array(ending, "status.conditions"))[0], "reason") == "Terminating");
    CHECK((co_await http.get("/apis/networking.k8s.io/v1/ipaddresses/10.77.0.5")).status == 200);
    CHECK((co_await http.send("DELETE", services_path + "/s")).status == 200);
    CHECK((co_await http.send("POST", services_path, wanted)).status == 422);
    ending.at("metadata").as_object().erase("finalizers");
    CHECK((co_await http.send("PUT", cidrs + "/x", base::to_text(ending))).status == 200);
    CHECK((co_await http.get(cidrs + "/x")).status == 404);
  }, true);
}

TEST_CASE("defaults that an older program did not know are no change of the writer's") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string path = "/api/v1/namespaces/default/pods/x";
    auto made = co_await c.admin->create({"", "v1", "serviceaccounts"}, {"default", ""},
                                         R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}})");
    (void)made;
    CHECK((co_await http.send("POST", "/api/v1/namespaces/default/pods", object("v1", "Pod", R"("spec":)" + spec_of_pods))).status == 201);
    datastore::RecordPtr record = c.store.get("/registry/core/pods/default/x");
    REQUIRE(record);
    std::string text(*record->value);
    const std::string later = R"("resources":{},)", mark = R"("resourceVersion":")";
    size_t at = text.find(later);
    REQUIRE(at != text.npos);
    text.erase(at, later.size());
    at = text.find(mark) + mark.size();
    text.erase(at, text.find('"', at) - at);
    std::vector<datastore::Write> writes;
    writes.push_back({.key = record->key, .value = base::make_bytes(text), .revision_offset = at, .expected = record->revision, .attributes = record->attributes});
    auto stored = co_await c.store.write(std::move(writes));
    REQUIRE(stored);
    auto r = co_await http.send("PATCH", path, R"({"metadata":{"labels":{"l":"1"}}})", {{"Content-Type", merge_type}});
    CHECK(r.status == 200);
    CHECK(base::get_int(r.json(), "metadata.generation") == 1);
    CHECK(r.body.find(R"("resources":{})") != std::string::npos);
  }, true);
}

TEST_CASE("services that want another family are refused") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string path = "/api/v1/namespaces/default/services";
    auto refused = [&](std::string more, std::string field) -> Task<> {
      auto r = co_await http.send(
          "POST", path,
          R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"selector":{"a":"b"},"ports":[{"port":80}],)" + more +
              "}}");
      INFO(more << " " << r.body);
      CHECK(r.status == 422);
      CHECK(r.body.find("\"" + field + "\"") != std::string::npos);
    };
    co_await refused(R"("ipFamilies":["IPv6"])", "spec.ipFamilies[0]");
    co_await refused(R"("ipFamilyPolicy":"RequireDualStack")", "spec.ipFamilyPolicy");
    co_await refused(R"("clusterIP":"10.43.0.77","clusterIPs":["10.43.0.78"])", "spec.clusterIPs");
    co_await refused(R"("externalTrafficPolicy":"Local")", "spec.externalTrafficPolicy");
    co_await refused(R"("allocateLoadBalancerNodePorts":true)", "spec.allocateLoadBalancerNodePorts");
    co_await refused(R"("type":"ExternalName","externalName":"a.b","clusterIP":"10.43.0.77")", "spec.clusterIPs");
  }, true);
}

TEST_CASE("autoscalers keep in v1 what only v2 can say") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
                      v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    auto r = co_await http.send(
        "POST", v2,
        object(
            "autoscaling/v2", "HorizontalPodAutoscaler",
            R"("spec":{"maxReplicas":5,"scaleTargetRef":{"kind":"Deployment","name":"d","apiVersion":"apps/v1"},"behavior":{"scaleDown":{"stabilizationWindowSeconds":60}},)"
            R"("metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":70}}},)"
            R"({"type":"Pods","pods":{"metric":{"name":"requests"},"target":{"type":"AverageValue","averageValue":"10"}}}]})"));
    CHECK(r.status == 201);
    r = co_await http.get(v1 + "/x");
    value old = r.json();
    CHECK(base::get_int(old, "spec.targetCPUUtilizationPercentage") == 70);
    CHECK(!base::find(old, "spec.metrics"));
    // Somebody who knows v1 alone changes a number.
    base::make_object(old, "spec")["maxReplicas"] = 9;
    CHECK((co_await http.send("PUT", v1 + "/x", base::to_text(old))).status == 200);
    value now = (co_await http.get(v2 + "/x")).json();
    CHECK(base::get_int(now, "spec.maxReplicas") == 9);
    REQUIRE(base::find_array(now, "spec.metrics")->size() == 2);
    CHECK(base::get_string((*base::find_array(now, "spec.metrics"))[1], "pods.metric.name") == "requests");
    CHECK(base::get_string((*base::find_array(now, "spec.metrics"))[1], "pods.target.averageValue") == "10");
    CHECK(base::get_int(now, "spec.behavior.scaleDown.stabilizationWindowSeconds") == 60);
    CHECK(!base::find(now, "metadata.annotations"));
  }, true);
}
