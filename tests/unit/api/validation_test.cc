#include "api/validation/validate.h"

#include <catch2/catch.hpp>

#include "api/defaults.h"
#include "api/patch.h"
#include "api/prune.h"

namespace {

using base::json::value;

value parse(std::string_view text) {
  auto v = base::parse_json(text);
  REQUIRE(v);
  return *v;
}
const api::Kind& kind(std::string_view api_version, std::string_view name) { return *api::Schema::builtin().kind(api_version, name); }

std::string joined(const std::vector<base::Cause>& causes) {
  std::string out;
  for (const base::Cause& c : causes) out += (out.empty() ? "" : "\n") + c.field + ": " + c.message;
  return out;
}
value ready(const api::Kind& k, value v) {
  api::apply_defaults(k, v);
  api::normalise(*k.type, v);
  return v;
}
// The problems of `text` changed by a merge patch, after defaulting.
std::string created(const api::Kind& k, std::string_view text, std::string_view patch = "{}") {
  return joined(api::validate_create(k, ready(k, api::merge_patch(parse(text), parse(patch)))));
}
std::string updated(const api::Kind& k, std::string_view text, std::string_view patch) {
  value before = ready(k, parse(text));
  return joined(api::validate_update(k, before, ready(k, api::merge_patch(before, parse(patch)))));
}

constexpr std::string_view kPod = R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}})";
constexpr std::string_view kDeployment =
    R"({"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"1"}},"template":{"metadata":{"labels":{"a":"1"}},)"
    R"("spec":{"containers":[{"name":"c","image":"i"}]}}}})";
constexpr std::string_view kService = R"({"metadata":{"name":"s"},"spec":{"selector":{"a":"1"},"ports":[{"port":80}]}})";

}  // namespace

TEST_CASE("good objects have nothing to complain about") {
  CHECK(created(kind("v1", "Pod"), kPod) == "");
  CHECK(created(kind("apps/v1", "Deployment"), kDeployment) == "");
  CHECK(created(kind("apps/v1", "StatefulSet"), kDeployment) == "");
  CHECK(created(kind("apps/v1", "DaemonSet"), kDeployment) == "");
  CHECK(created(kind("v1", "Service"), kService) == "");
  CHECK(created(kind("v1", "ConfigMap"), R"({"data":{"a.b":"x"}})") == "");
  CHECK(created(kind("rbac.authorization.k8s.io/v1", "ClusterRole"), R"({"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]})") == "");
  CHECK(created(kind("rbac.authorization.k8s.io/v1", "RoleBinding"),
                R"({"roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s","namespace":"n"}]})") == "");
  CHECK(created(kind("batch/v1", "Job"), R"({"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}})") == "");
  CHECK(created(kind("batch/v1", "CronJob"),
                R"({"spec":{"schedule":"*/5 * * * *","jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"OnFailure","containers":[{"name":"c","image":"i"}]}}}}}})") == "");
  CHECK(created(kind("networking.k8s.io/v1", "Ingress"),
                R"({"spec":{"rules":[{"host":"a.b","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"s","port":{"number":80}}}}]}}]}})") == "");
  CHECK(created(kind("v1", "PersistentVolumeClaim"), R"({"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}})") == "");
}

TEST_CASE("pods are refused in Kubernetes' words") {
  auto [patch, expected] = GENERATE(table<const char*, const char*>({
      {R"({"spec":{"containers":[]}})", "spec.containers: Required value"},
      {R"({"spec":{"containers":[{"name":"c"}]}})", "spec.containers[0].image: Required value"},
      {R"({"spec":{"containers":[{"name":"c","image":"i"},{"name":"c","image":"i"}]}})", "spec.containers[1].name: Duplicate value: \"c\""},
      {R"({"spec":{"restartPolicy":"Sometimes"}})",
       "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\""},
      {R"({"spec":{"containers":[{"name":"c","image":"i","volumeMounts":[{"name":"v","mountPath":"/x"}]}]}})",
       "spec.containers[0].volumeMounts[0].name: Not found: \"v\""},
      {R"({"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":70000}]}]}})",
       "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"},
      {R"({"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}}]}})",
       "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"},
      {R"({"spec":{"containers":[{"name":"c","image":"i","livenessProbe":{}}]}})",
       "spec.containers[0].livenessProbe: Required value: must specify a handler type"},
      {R"({"spec":{"volumes":[{"name":"v","emptyDir":{},"hostPath":{"path":"/x"}}]}})",
       "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"},
      {R"({"spec":{"tolerations":[{"key":"k","operator":"Exists","tolerationSeconds":5}]}})",
       "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set"},
      {R"({"spec":{"nodeSelector":{"a b":"1"}}})",
       "spec.nodeSelector: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and "
       "end with an "
       "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
       "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"},
  }));
  CHECK(created(kind("v1", "Pod"), kPod, patch) == expected);
}

TEST_CASE("workloads and services are refused in Kubernetes' words") {
  const api::Kind& d = kind("apps/v1", "Deployment");
  CHECK(created(d, kDeployment, R"({"spec":{"template":{"metadata":{"labels":{"a":"2"}}}}})") ==
        "spec.template.metadata.labels: Invalid value: {\"a\":\"2\"}: `selector` does not match template `labels`");
  CHECK(created(d, kDeployment, R"({"spec":{"replicas":-1}})") == "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
  CHECK(created(d, kDeployment, R"({"spec":{"selector":null}})") == "spec.selector: Required value");
  CHECK(created(d, kDeployment, R"({"spec":{"template":{"spec":{"restartPolicy":"Never"}}}})") ==
        "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"");
  CHECK(updated(d, kDeployment, R"({"spec":{"selector":{"matchLabels":{"b":"1"}},"template":{"metadata":{"labels":{"b":"1"}}}}})") ==
        "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"1\",\"b\":\"1\"}}: field is immutable");
  const api::Kind& s = kind("v1", "Service");
  CHECK(created(s, kService, R"({"spec":{"ports":[{"port":80},{"port":81}]}})") ==
        "spec.ports[0].name: Required value\nspec.ports[1].name: Required value");
  CHECK(created(s, kService, R"({"spec":{"ports":[{"port":0}]}})") ==
        "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive\n"
        "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive");
  CHECK(created(s, kService, R"({"spec":{"ports":[{"port":80,"nodePort":30000}]}})") ==
        "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'");
  CHECK(created(s, kService, R"({"spec":{"type":"Weird"}})") ==
        "spec.type: Unsupported value: \"Weird\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"");
  CHECK(created(kind("batch/v1", "Job"), R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}})") ==
        "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"");
}

TEST_CASE("what may not change does not") {
  const api::Kind& p = kind("v1", "Pod");
  CHECK(updated(p, kPod, R"({"spec":{"containers":[{"name":"c","image":"other"}]}})") == "");
  CHECK(updated(p, kPod, R"({"metadata":{"labels":{"x":"y"}}})") == "");
  CHECK(updated(p, kPod, R"({"spec":{"activeDeadlineSeconds":5}})") == "");
  CHECK(updated(p, kPod, R"({"spec":{"tolerations":[{"key":"k","operator":"Exists"}]}})") == "");
  CHECK(updated(p, kPod, R"({"spec":{"hostNetwork":true}})").starts_with("spec: Forbidden: pod updates may not change fields other than"));
  CHECK(updated(p, kPod, R"({"spec":{"containers":[{"name":"c","image":"i","args":["x"]}]}})").starts_with("spec: Forbidden"));
  CHECK(updated(kind("v1", "ConfigMap"), R"({"immutable":true,"data":{"a":"1"}})", R"({"data":{"a":"2"}})") ==
        "data: Forbidden: field is immutable when `immutable` is set");
  CHECK(updated(kind("v1", "Secret"), R"({"type":"Opaque"})", R"({"type":"x"})") == "type: Invalid value: \"x\": field is immutable");
  CHECK(updated(kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"), R"({"roleRef":{"kind":"ClusterRole","name":"a"}})",
                R"({"roleRef":{"name":"b"}})")
            .find("cannot change roleRef") != std::string::npos);
  CHECK(updated(kind("apps/v1", "StatefulSet"), kDeployment, R"({"spec":{"replicas":5}})") == "");
  CHECK(updated(kind("apps/v1", "StatefulSet"), kDeployment, R"({"spec":{"serviceName":"x"}})")
            .starts_with("spec: Forbidden: updates to statefulset spec"));
}

TEST_CASE("validation survives objects of any shape") {
  for (const api::Kind& k : api::Schema::builtin().kinds()) {
    (void)api::validate_create(k, base::json::object());
    (void)api::validate_create(k, parse(R"({"spec":[],"metadata":5,"rules":{},"data":"x","webhooks":[1,null],"template":[]})"));
    (void)api::validate_update(k, parse(R"({"spec":{"containers":5,"versions":7}})"), parse(R"({"spec":{"containers":{},"names":1}})"));
  }
}
