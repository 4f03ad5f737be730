#include "api/defaults.h"

#include <catch2/catch.hpp>

namespace {
std::string defaulted(std::string_view api_version, std::string_view kind, std::string_view text) {
  auto v = base::parse_json(text);
  REQUIRE(v);
  api::apply_defaults(*api::Schema::builtin().kind(api_version, kind), *v);
  std::string once = base::to_text(*v);
  api::apply_defaults(*api::Schema::builtin().kind(api_version, kind), *v);
  CHECK(base::to_text(*v) == once);
  return once;
}
}  // namespace

TEST_CASE("pods get Kubernetes' defaults") {
  CHECK(
      defaulted("v1", "Pod",
                R"({"spec":{"containers":[{"name":"c","image":"a/b:1","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1"}},)"
                R"("livenessProbe":{"httpGet":{"port":80}}}],"volumes":[{"name":"v"}]}})") ==
      R"({"spec":{"containers":[{"name":"c","image":"a/b:1","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"1"},)"
      R"("requests":{"cpu":"1"}},"livenessProbe":{"httpGet":{"port":80,"path":"/","scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,)"
      R"("successThreshold":1,"failureThreshold":3},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File",)"
      R"("imagePullPolicy":"IfNotPresent"}],"volumes":[{"name":"v","emptyDir":{}}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,)"
      R"("dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler","enableServiceLinks":true}})");
}

TEST_CASE("services, deployments and jobs get theirs") {
  CHECK(defaulted("v1", "Service", R"({"spec":{"type":"NodePort","ports":[{"port":80}]}})") ==
        R"({"spec":{"type":"NodePort","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None",)"
        R"("externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster"}})");
  // An update from ClientIP to None need not know of what belonged to it.
  CHECK(defaulted("v1", "Service", R"({"spec":{"sessionAffinity":"None","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":9}}}})")
            .find("Config") == std::string::npos);
  std::string d = defaulted("apps/v1", "Deployment", R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":"x"}]}}}})");
  CHECK(d.find(R"("strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":"25%","maxSurge":"25%"}})") != std::string::npos);
  CHECK(d.find(R"("imagePullPolicy":"Always")") != std::string::npos);
  CHECK(d.find("enableServiceLinks") == std::string::npos);
  std::string j = defaulted("batch/v1", "Job", R"({"spec":{"template":{"spec":{}}}})");
  CHECK(j.find(R"("completions":1,"parallelism":1,"backoffLimit":6)") != std::string::npos);
}
