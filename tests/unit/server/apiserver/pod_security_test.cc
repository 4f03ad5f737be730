#include "fixture.h"
#include "server/apiserver/admission/pod_security_policy.h"

using namespace test;
using server::SecurityLevel;

namespace {

value spec_of(const std::string& spec, const std::string& meta = "{}") {
  auto v = base::parse_json(R"({"metadata":)" + meta + R"(,"spec":)" + spec + "}");
  REQUIRE(v);
  return std::move(*v);
}
std::string baseline(const std::string& spec, int version = server::latest_security) { return server::security_violations(spec_of(spec), SecurityLevel::baseline, version); }
std::string restricted(const std::string& spec, int version = server::latest_security) { return server::security_violations(spec_of(spec), SecurityLevel::restricted, version); }
std::string container(const std::string& context, const std::string& more = "") { return R"({"containers":[{"name":"c","securityContext":)" + context + more + "}]}"; }

const std::string good =
    R"({"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}})";

const api::Resource replicasets{"apps", "v1", "replicasets"};

Task<> labelled(Cluster c, std::string name, std::string labels) {
  CHECK((co_await c.admin->create(
      namespaces, {"", ""}, R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":")" + name + R"(","labels":)" + labels + "}}")));
  CHECK((co_await c.admin->create(serviceaccounts, {name, ""},
                                  R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}})")));
}

}  // namespace

TEST_CASE("baseline forbids what reaches the host, in Kubernetes' words") {
  CHECK(baseline(container("{}")) == "");
  CHECK(baseline(container(R"({"privileged":true})")) == R"(privileged (container "c" must not set securityContext.privileged=true))");
  CHECK(baseline(R"({"hostNetwork":true,"hostPID":true,"containers":[]})") == "host namespaces (hostNetwork=true, hostPID=true)");
  CHECK(baseline(R"({"volumes":[{"name":"a","hostPath":{"path":"/"}},{"name":"b","hostPath":{"path":"/"}}]})") ==
        R"(hostPath volumes (volumes "a", "b"))");
  CHECK(
      baseline(
          R"({"initContainers":[{"name":"i","ports":[{"containerPort":1,"hostPort":90}]}],"containers":[{"name":"c","ports":[{"hostPort":80}]}]})") ==
      R"(hostPorts (containers "i", "c" use hostPorts 80, 90))");
  CHECK(baseline(container(R"({"capabilities":{"add":["CHOWN","NET_ADMIN"]}})")) ==
        R"(non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add))");
  CHECK(baseline(container(R"({"procMount":"Unmasked"})")) ==
        R"(procMount (container "c" must not set securityContext.procMount to "Unmasked"))");
  CHECK(baseline(R"({"securityContext":{"seccompProfile":{"type":"Unconfined"}},"containers":[]})") ==
        R"(seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined"))");
  CHECK(baseline(R"({"securityContext":{"seLinuxOptions":{"type":"spc_t","user":"u"}},"containers":[]})") ==
        R"(seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set))");
  CHECK(baseline(container(R"({"windowsOptions":{"hostProcess":true}})")) ==
        R"(hostProcess (container "c" must not set securityContext.windowsOptions.hostProcess=true))");
  const std::string keepalive =
      R"({"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_fin_timeout","value":"1"},{"name":"kernel.msgmax","value":"1"}]},"containers":[]})";
  CHECK(baseline(keepalive) == "forbidden sysctls (kernel.msgmax)");
  CHECK(baseline(keepalive, 28) == "forbidden sysctls (net.ipv4.tcp_fin_timeout, kernel.msgmax)");
  const std::string probe = R"({"containers":[{"name":"c","livenessProbe":{"httpGet":{"host":"10.0.0.1","port":80}}}]})";
  CHECK(baseline(probe) == R"(probe or lifecycle host (container "c" uses probe or lifecycle host "10.0.0.1"))");
  CHECK(baseline(probe, 33) == "");
  CHECK(server::security_violations(spec_of("{}", R"({"annotations":{"container.apparmor.security.beta.kubernetes.io/c":"unconfined"}})"),
                                    SecurityLevel::baseline, 36) != "");
  CHECK(server::security_violations(spec_of(R"({"hostNetwork":true})"), SecurityLevel::privileged, 36) == "");
}

TEST_CASE("restricted asks containers to give up what they do not need") {
  CHECK(restricted(container(good)) == "");
  CHECK(restricted(container("{}")) ==
        R"(allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), )"
        R"(unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), )"
        R"(runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), )"
        R"(seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"))");
  CHECK(restricted(
            R"({"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"Localhost"}},"containers":[{"name":"c","securityContext":)"
            R"({"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"],"add":["NET_BIND_SERVICE"]}}}]})") == "");
  CHECK(restricted(
            R"({"volumes":[{"name":"h","hostPath":{"path":"/"}},{"name":"n","nfs":{}},{"name":"ok","emptyDir":{}}],"containers":[]})") ==
        R"(restricted volume types (volumes "h", "n" use restricted volume types "hostPath", "nfs"))");
  CHECK(restricted(R"({"os":{"name":"windows"},"securityContext":{"runAsNonRoot":true},"containers":[{"name":"c"}]})") == "");
  CHECK(restricted(R"({"securityContext":{"runAsNonRoot":true,"runAsUser":0},"containers":[]})") ==
        "runAsUser=0 (pod must not set runAsUser=0)");
  CHECK(restricted(R"({"securityContext":{"runAsNonRoot":false},"containers":[{"name":"c","securityContext":)" + good + "}]}") == "");
}

TEST_CASE("versions and levels of pod security are understood or refused") {
  CHECK(server::parse_security_version("latest") == server::latest_security);
  CHECK(server::parse_security_version("v1.25") == 25);
  for (const char* bad : {"", "1.25", "v1", "v1.", "v2.0", "v1.01", "v1.-1", "v1.2x"}) CHECK(!server::parse_security_version(bad));
  CHECK(!server::parse_security_level("Restricted"));
}

TEST_CASE("a namespace's labels refuse pods and warn of workloads") {
  with_cluster([](Cluster c) -> Task<> {
    co_await labelled(c, "strict",
                      R"({"pod-security.kubernetes.io/enforce":"restricted","pod-security.kubernetes.io/enforce-version":"v1.30"})");
    auto bad = co_await c.admin->create(pods, {"strict", ""}, pod("p"));
    REQUIRE(!bad);
    CHECK(bad.error().code == 403);
    CHECK(bad.error().message.starts_with(
        R"(pods "p" is forbidden: violates PodSecurity "restricted:v1.30": allowPrivilegeEscalation != false (container "c" must set)"));
    auto fine = co_await c.admin->create(
        pods, {"strict", ""},
        R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"ok"},"spec":{"containers":[{"name":"c","image":"x","securityContext":)" +
            good + "}]}}");
    CHECK(fine);
    // Templates are not refused.
    auto set = co_await c.admin->create(
        replicasets, {"strict", ""},
        R"({"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"r"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":)"
        R"({"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}})");
    CHECK(set);
    auto unknown = co_await c.admin->patch(namespaces, {"", "strict"}, api::PatchType::merge,
                                           R"({"metadata":{"labels":{"pod-security.kubernetes.io/warn":"harsh"}}})");
    REQUIRE(!unknown);
    CHECK(unknown.error().code == 422);
    CHECK(unknown.error().message.find("must be one of privileged, baseline, restricted") != std::string::npos);
  });
}
