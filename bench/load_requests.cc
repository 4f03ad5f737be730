#include <fmt/format.h>

#include "base/time.h"
#include "bench/load.h"

namespace bench {

using base::http::ClientRequest;

namespace {

ClientRequest request(const Settings& s, std::string method, std::string path, std::string body = {},
                      std::string_view type = "application/json") {
  ClientRequest r;
  r.method = std::move(method);
  r.url = s.server + path;
  r.headers.set("Accept", s.accept);
  if (!body.empty()) r.headers.set("Content-Type", type);
  r.body = std::move(body);
  return r;
}

std::string config_map(const std::string& name, size_t size, size_t turn) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"turn":"{}","k":"{}"}}}})", name, turn,
                     std::string(size, 'x'));
}

std::string secret(const std::string& name, size_t size) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{}"}},"stringData":{{"k":"{}"}}}})", name,
                     std::string(size, 'x'));
}

// A kind that no controller acts on, with a pod's worth of fields.
std::string pod_template(const std::string& name, size_t turn) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"PodTemplate","metadata":{{"name":"{}","labels":{{"app":"bench"}}}},"template":{{"metadata":{{"labels":{{"app":"bench","turn":"t{}"}}}},)"
      R"("spec":{{"containers":[{{"name":"web","image":"registry.example/web:{}","ports":[{{"containerPort":8080,"protocol":"TCP"}}],)"
      R"("env":[{{"name":"A","value":"1"}},{{"name":"B","value":"2"}}],"resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}}}}}}]}}}}}})",
      name, turn, turn);
}

constexpr std::string_view in_default = "/api/v1/namespaces/default/";

}  // namespace

std::string pod(size_t i, const std::string& node) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web-{0}-5d69f7bc9c-{1:05x}","labels":{{"app":"web-{0}","app.kubernetes.io/part-of":"shop","pod-template-hash":"5d69f7bc9c"}},)"
      R"("annotations":{{"prometheus.io/scrape":"true","prometheus.io/port":"8080"}}}},"spec":{{"schedulerName":"nobody"{2},"containers":[{{"name":"web",)"
      R"("image":"registry.example/shop/web:1.27.{0}","args":["--listen=:8080","--log-level=info"],"ports":[{{"name":"http","containerPort":8080,"protocol":"TCP"}},)"
      R"({{"name":"metrics","containerPort":9090,"protocol":"TCP"}}],"env":[{{"name":"POD_NAME","valueFrom":{{"fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.name"}}}}}},)"
      R"({{"name":"DATABASE_URL","value":"postgres://shop:5432/shop?pool=20"}},{{"name":"CACHE","valueFrom":{{"configMapKeyRef":{{"name":"shop","key":"cache"}}}}}}],)"
      R"("resources":{{"limits":{{"cpu":"500m","memory":"256Mi"}},"requests":{{"cpu":"100m","memory":"128Mi"}}}},"volumeMounts":[{{"name":"config","mountPath":"/etc/shop","readOnly":true}},)"
      R"({{"name":"cache","mountPath":"/var/cache/shop"}}],"livenessProbe":{{"httpGet":{{"path":"/healthz","port":"http"}},"periodSeconds":10}},)"
      R"("readinessProbe":{{"httpGet":{{"path":"/ready","port":"http"}},"periodSeconds":5}},"securityContext":{{"runAsNonRoot":true,"allowPrivilegeEscalation":false,"capabilities":{{"drop":["ALL"]}}}}}}],)"
      R"("volumes":[{{"name":"config","configMap":{{"name":"shop"}}}},{{"name":"cache","emptyDir":{{}}}}],)"
      R"("topologySpreadConstraints":[{{"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"ScheduleAnyway","labelSelector":{{"matchLabels":{{"app":"web-{0}"}}}}}}]}}}})",
      i % 100, i, node.empty() ? std::string() : fmt::format(R"(,"nodeName":"{}")", node));
}

std::string pod_status(size_t i, size_t turn) {
  std::string now = base::now_rfc3339();
  std::string ip = fmt::format("10.{}.{}.{}", 42 + i / 60000, i / 250 % 240, i % 250 + 2);
  std::string conditions;
  for (std::string_view type : {"Initialized", "Ready", "ContainersReady", "PodScheduled"})
    conditions += fmt::format(R"({}{{"type":"{}","status":"True","lastProbeTime":null,"lastTransitionTime":"{}"}})",
                              conditions.empty() ? "" : ",", type, now);
  return fmt::format(
      R"({{"status":{{"phase":"Running","conditions":[{0}],"hostIP":"192.168.1.{1}","podIP":"{2}","podIPs":[{{"ip":"{2}"}}],"startTime":"{3}","qosClass":"Burstable",)"
      R"("containerStatuses":[{{"name":"web","state":{{"running":{{"startedAt":"{3}"}}}},"lastState":{{}},"ready":true,"restartCount":{4},"started":true,)"
      R"("image":"registry.example/shop/web:1.27.{5}","imageID":"registry.example/shop/web@sha256:{6:064x}","containerID":"containerd://{7:064x}"}}]}}}})",
      conditions, i % 100 + 10, ip, now, turn, i % 100, i % 100, i);
}

ClientRequest preparation(const Settings& s, const std::string& run, int client) {
  std::string name = fmt::format("load-{}-{}", run, client);
  if (s.mode == "update") return request(s, "POST", std::string(in_default) + "configmaps", config_map(name, s.size, 0));
  if (s.mode == "patch") return request(s, "POST", std::string(in_default) + "podtemplates", pod_template(name, 0));
  return {.method = {}};
}

ClientRequest operation(const Settings& s, const std::string& run, int client, size_t n) {
  std::string name = fmt::format("load-{}-{}", run, client), each = fmt::format("{}-{}", name, n);
  size_t i = static_cast<size_t>(client) + n * static_cast<size_t>(s.clients);
  std::string folder(in_default);
  if (s.mode == "create" && s.path == "secrets") return request(s, "POST", folder + "secrets", secret(each, s.size));
  if (s.mode == "create") return request(s, "POST", folder + "configmaps", config_map(each, s.size, 0));
  if (s.mode == "update") return request(s, "PUT", folder + "configmaps/" + name, config_map(name, s.size, n + 1));
  if (s.mode == "patch")
    return request(s, "PATCH", folder + "podtemplates/" + name,
                   fmt::format(R"({{"template":{{"spec":{{"containers":[{{"name":"web","image":"registry.example/web:{}"}}]}}}}}})", n + 1),
                   "application/strategic-merge-patch+json");
  if (s.mode == "apply")
    return request(s, "PATCH", folder + "podtemplates/" + name + "?fieldManager=bench&force=true", pod_template(name, n + 1),
                   "application/apply-patch+yaml");
  if (s.mode == "pods") {
    std::string node = s.path.empty() ? std::string() : fmt::format("{}{}", s.path, i % 100);
    return request(s, "POST", folder + "pods", pod(i, node));
  }
  if (s.mode == "status" || s.mode == "watch") {
    size_t of = s.mode == "watch" ? i % std::max<size_t>(s.size, 1) : i % std::max<size_t>(s.count ? s.count : s.size, 1);
    return request(s, "PATCH", folder + fmt::format("pods/web-{0}-5d69f7bc9c-{1:05x}/status", of % 100, of), pod_status(of, n),
                   "application/strategic-merge-patch+json");
  }
  return request(s, "GET", s.path);
}

}  // namespace bench
