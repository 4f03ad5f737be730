#include "api/table.h"

#include <catch2/catch.hpp>

namespace {
constexpr std::string_view kNow = "2026-01-02T00:00:00Z";

std::string cells(std::string_view api_version, std::string_view kind, std::string_view text) {
  auto v = base::parse_json(text);
  REQUIRE(v);
  const api::Kind& k = *api::Schema::builtin().kind(api_version, kind);
  auto row = api::table_cells(k, *v, kNow);
  CHECK(row.size() == api::table_columns(k).size());
  return base::to_text(base::json::value(row));
}
std::string pod_status(std::string_view status, std::string_view spec = R"({"containers":[{"name":"a"}]})",
                       std::string_view metadata = "{}") {
  auto v = base::parse_json("{\"metadata\":" + std::string(metadata) + ",\"spec\":" + std::string(spec) +
                            ",\"status\":" + std::string(status) + "}");
  REQUIRE(v);
  auto row = api::table_cells(*api::Schema::builtin().kind("v1", "Pod"), *v, kNow);
  return std::string(row[1].get_string()) + " " + std::string(row[2].get_string()) + " " + std::string(row[3].get_string());
}
}  // namespace

TEST_CASE("pods show the state their containers are in") {
  CHECK(pod_status(R"({"phase":"Pending"})") == "0/1 Pending 0");
  CHECK(pod_status(R"({"phase":"Running","containerStatuses":[{"name":"a","ready":true,"state":{"running":{}}}]})") == "1/1 Running 0");
  CHECK(
      pod_status(R"({"phase":"Running","containerStatuses":[{"name":"a","restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff"}},
        "lastState":{"terminated":{"finishedAt":"2026-01-01T23:59:00Z"}}}]})") == "0/1 CrashLoopBackOff 3 (60s ago)");
  CHECK(pod_status(
            R"({"phase":"Succeeded","containerStatuses":[{"name":"a","state":{"terminated":{"reason":"Completed","exitCode":0}}}]})") ==
        "0/1 Completed 0");
  CHECK(pod_status(R"({"phase":"Failed","containerStatuses":[{"name":"a","state":{"terminated":{"exitCode":3}}}]})") == "0/1 ExitCode:3 0");
  CHECK(pod_status(R"({"phase":"Failed","reason":"Evicted"})") == "0/1 Evicted 0");
  CHECK(pod_status(R"({"phase":"Running","containerStatuses":[{"name":"a","ready":true,"state":{"running":{}}}]})",
                   R"({"containers":[{"name":"a"}]})", R"({"deletionTimestamp":"2026-01-01T00:00:00Z"})") == "1/1 Terminating 0");
  constexpr std::string_view init = R"({"containers":[{"name":"a"}],"initContainers":[{"name":"i"},{"name":"j"}]})";
  CHECK(pod_status(R"({"phase":"Pending","initContainerStatuses":[{"name":"i","state":{"running":{}}}]})", init) == "0/1 Init:0/2 0");
  CHECK(
      pod_status(
          R"({"phase":"Pending","initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":0}}},{"name":"j","state":{"waiting":{"reason":"PodInitializing"}}}]})",
          init) == "0/1 Init:1/2 0");
  CHECK(
      pod_status(
          R"({"phase":"Pending","initContainerStatuses":[{"name":"i","restartCount":2,"state":{"terminated":{"exitCode":1,"reason":"Error"}}}]})",
          init) == "0/1 Init:Error 2");
  CHECK(pod_status(R"({"phase":"Running","initContainerStatuses":[{"name":"s","started":true,"ready":true,"state":{"running":{}}}],
        "containerStatuses":[{"name":"a","ready":true,"state":{"running":{}}}]})",
                   R"({"containers":[{"name":"a"}],"initContainers":[{"name":"s","restartPolicy":"Always"}]})") == "2/2 Running 0");
}

TEST_CASE("rows of common kinds") {
  CHECK(cells("v1", "Service",
              R"({"metadata":{"name":"s","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"type":"NodePort","clusterIP":"10.0.0.1",
        "ports":[{"port":80,"nodePort":30080,"protocol":"TCP"}],"selector":{"b":"2","a":"1"}}})") ==
        R"(["s","NodePort","10.0.0.1","<none>","80:30080/TCP","24h","a=1,b=2"])");
  CHECK(cells("v1", "Node", R"({"metadata":{"name":"n","labels":{"node-role.kubernetes.io/control-plane":""}},"spec":{"unschedulable":true},
        "status":{"conditions":[{"type":"Ready","status":"True"}],"addresses":[{"type":"InternalIP","address":"1.2.3.4"}],"nodeInfo":{"kubeletVersion":"v1"}}})") ==
        R"(["n","Ready,SchedulingDisabled","control-plane","<unknown>","v1","1.2.3.4","<none>","<unknown>","<unknown>","<unknown>"])");
  CHECK(cells("apps/v1", "Deployment", R"({"metadata":{"name":"d"},"spec":{"replicas":3,"selector":{"matchLabels":{"a":"1"}},
        "template":{"spec":{"containers":[{"name":"c","image":"i"},{"name":"e","image":"j"}]}}},"status":{"readyReplicas":2,"updatedReplicas":3}})") ==
        R"(["d","2/3",3,0,"<unknown>","c,e","i,j","a=1"])");
  CHECK(cells("v1", "Secret", R"({"metadata":{"name":"x"},"type":"Opaque","data":{"a":"","b":""}})") == R"(["x","Opaque",2,"<unknown>"])");
  CHECK(cells("coordination.k8s.io/v1", "Lease", R"({"metadata":{"name":"l"},"spec":{"holderIdentity":"h"}})") ==
        R"(["l","h","<unknown>"])");
}

TEST_CASE("every kind has as many cells as columns, on an empty object too") {
  for (const api::Kind& k : api::Schema::builtin().kinds()) {
    INFO(k.kind);
    CHECK(api::table_cells(k, base::json::object(), kNow).size() == api::table_columns(k).size());
  }
}

TEST_CASE("durations read as in kubectl") {
  auto [seconds, text] = GENERATE(table<int64_t, const char*>({
      {-5, "<invalid>"}, {-1, "0s"}, {0, "0s"}, {119, "119s"}, {120, "2m"}, {125, "2m5s"}, {600, "10m"}, {10799, "179m"}, {10800, "3h"}, {11100, "3h5m"},
      {8 * 3600, "8h"}, {47 * 3600, "47h"}, {48 * 3600, "2d"}, {49 * 3600, "2d1h"}, {8 * 86400, "8d"}, {729 * 86400, "729d"}, {730 * 86400, "2y"}, {735 * 86400, "2y5d"},
  }));
  CHECK(api::human_duration(seconds) == text);
}

TEST_CASE("a table of a list keeps its metadata and partial objects") {
  auto list = base::parse_json(R"({"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"a"},"data":{}}]})");
  auto t = api::make_table(*api::Schema::builtin().kind("v1", "ConfigMap"), *list, api::IncludeObject::metadata, kNow);
  CHECK(base::get_string(t, "metadata.resourceVersion") == "5");
  CHECK(base::to_text(base::find_array(t, "rows")->at(0)) ==
        R"({"cells":["a",0,"<unknown>"],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}})");
}
