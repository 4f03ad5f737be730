#include "http_client.h"

using namespace test;

namespace {
const api::Resource claims{"", "v1", "persistentvolumeclaims"}, volumes{"", "v1", "persistentvolumes"},
    classes{"storage.k8s.io", "v1", "storageclasses"}, priorities{"scheduling.k8s.io", "v1", "priorityclasses"},
    runtimes{"node.k8s.io", "v1", "runtimeclasses"}, quotas{"", "v1", "resourcequotas"}, ranges{"", "v1", "limitranges"};

std::string claim(const std::string& name, const std::string& size = "1Gi", const std::string& more = "") {
  return R"({"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":")" + name +
         R"("},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":")" + size + "\"}}" + more + "}}";
}

std::string message(const api::Result<api::Bytes>& r) { return r ? "accepted" : r.error().message; }

// Sets status.hard and used as the controller does.
Task<> quota(Cluster c, std::string name, std::string spec, std::string hard, std::string used) {
  CHECK((co_await c.admin->create(
      quotas, {"default", ""}, R"({"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":")" + name + R"("},"spec":)" + spec + "}")));
  api::WriteOptions status;
  status.subresource = "status";
  CHECK((co_await c.admin->patch(quotas, {"default", name}, api::PatchType::merge,
                                 R"({"status":{"hard":)" + hard + ",\"used\":" + used + "}}", status)));
}
Task<std::string> used(Cluster c, std::string name, std::string resource) {
  auto read = co_await c.admin->get(quotas, {"default", name});
  CHECK(read);
  if (!read) co_return "";
  value v = parse(*read);
  const base::json::object* all = base::find_object(v, "status.used");
  const value* found = all ? all->if_contains(resource) : nullptr;
  co_return found ? std::string(found->get_string()) : "";
}
}  // namespace

TEST_CASE("a pod takes the value, name and policy of its priority class, and one class is the default") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    auto make = [&](std::string name, std::string more) { return c.admin->create(priorities, {"", ""}, R"({"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":")" + name + "\"}," + more + "}"); };
    CHECK((co_await make("high", R"("value":1000,"preemptionPolicy":"Never")")));
    CHECK((co_await make("usual", R"("value":10,"globalDefault":true)")));
    auto second = co_await make("other", R"("value":20,"globalDefault":true)");
    CHECK(message(second) ==
          "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as default. Only one default "
          "can exist");
    auto p = co_await c.admin->create(pods, {"default", ""}, pod("a", R"(,"priorityClassName":"high")"));
    REQUIRE(p);
    CHECK(base::get_int(parse(*p), "spec.priority") == 1000);
    CHECK(text(parse(*p), "spec.preemptionPolicy") == "Never");
    auto q = co_await c.admin->create(pods, {"default", ""}, pod("b"));
    REQUIRE(q);
    CHECK(text(parse(*q), "spec.priorityClassName") == "usual");
    CHECK(message(co_await c.admin->create(pods, {"default", ""}, pod("c", R"(,"priorityClassName":"none")"))) ==
          "pods \"c\" is forbidden: no PriorityClass with name none was found");
    CHECK(message(co_await c.admin->create(pods, {"default", ""},
                                           pod("c", R"(,"priorityClassName":"high","preemptionPolicy":"PreemptLowerPriority")")))
              .find("the string value of PreemptionPolicy") != std::string::npos);
    CHECK(
        base::get_int(parse(*(co_await c.admin->create(pods, {"default", ""}, pod("d", R"(,"priorityClassName":"system-node-critical")")))),
                      "spec.priority") == 2000001000);
  });
}

TEST_CASE("a runtime class adds its overhead, selector and tolerations") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    CHECK((co_await c.admin->create(
        runtimes, {"", ""},
        R"({"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"box"},"handler":"box","overhead":{"podFixed":{"cpu":"100m"}},)"
        R"("scheduling":{"nodeSelector":{"box":"yes"},"tolerations":[{"key":"box","operator":"Exists"}]}})")));
    auto p = co_await c.admin->create(pods, {"default", ""}, pod("a", R"(,"runtimeClassName":"box")"));
    REQUIRE(p);
    value v = parse(*p);
    CHECK(text(v, "spec.overhead.cpu") == "100m");
    CHECK(text(v, "spec.nodeSelector.box") == "yes");
    CHECK(base::find_array(v, "spec.tolerations")->size() == 3);
    CHECK(message(co_await c.admin->create(pods, {"default", ""}, pod("b", R"(,"runtimeClassName":"none")"))) ==
          "pods \"b\" is forbidden: pod rejected: RuntimeClass \"none\" not found");
    CHECK(message(co_await c.admin->create(pods, {"default", ""}, pod("b", R"(,"overhead":{"cpu":"1"})"))) ==
          "pods \"b\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    CHECK(message(co_await c.admin->create(pods, {"default", ""}, pod("b", R"(,"runtimeClassName":"box","nodeSelector":{"box":"no"})")))
              .find("conflict: runtimeClass.scheduling.nodeSelector[box] = yes") != std::string::npos);
  });
}

TEST_CASE("claims and volumes are protected, and grow only where their class allows it") {
  with_cluster([](Cluster c) -> Task<> {
    for (auto [name, more] : {std::pair("fixed", ""), std::pair("elastic", R"(,"allowVolumeExpansion":true)")})
      CHECK((co_await c.admin->create(classes, {"", ""},
                                      R"({"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":")" +
                                          std::string(name) + R"("},"provisioner":"x.y/z")" + more + "}")));
    for (std::string name : {"fixed", "elastic"}) {
      auto made = co_await c.admin->create(claims, {"default", ""}, claim(name, "1Gi", R"(,"storageClassName":")" + name + "\""));
      REQUIRE(made);
      CHECK(text(parse(*made), "status.phase") == "Pending");
      CHECK(made->get()->find("\"finalizers\":[\"kubernetes.io/pvc-protection\"]") != std::string::npos);
    }
    const std::string more = R"({"spec":{"resources":{"requests":{"storage":"2Gi"}}}})";
    auto unbound = co_await c.admin->patch(claims, {"default", "elastic"}, api::PatchType::merge, more);
    CHECK(!unbound);
    api::WriteOptions status;
    status.subresource = "status";
    for (std::string name : {"fixed", "elastic"}) {
      CHECK((co_await c.admin->patch(claims, {"default", name}, api::PatchType::merge, R"({"spec":{"volumeName":"v"}})")));
      CHECK((co_await c.admin->patch(claims, {"default", name}, api::PatchType::merge,
                                     R"({"status":{"phase":"Bound","capacity":{"storage":"1Gi"}}})", status)));
    }
    CHECK((co_await c.admin->patch(claims, {"default", "elastic"}, api::PatchType::merge, more)));
    auto refused = co_await c.admin->patch(claims, {"default", "fixed"}, api::PatchType::merge, more);
    CHECK(message(refused).find("the storageclass that provisions the pvc must support resize") != std::string::npos);
    auto pv = co_await c.admin->create(
        volumes, {"", ""},
        R"({"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"v"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"hostPath":{"path":"/x"}}})");
    REQUIRE(pv);
    CHECK(pv->get()->find("kubernetes.io/pv-protection") != std::string::npos);
    // Deleting waits for the finalizer.
    CHECK((co_await c.admin->remove(volumes, {"", "v"})));
    CHECK((co_await c.admin->get(volumes, {"", "v"})));
  });
}

TEST_CASE("quotas charge classes of storage, kinds of services, extended resources and objects of any kind") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    const std::string hard =
        R"({"requests.storage":"5Gi","gold.storageclass.storage.k8s.io/requests.storage":"2Gi","gold.storageclass.storage.k8s.io/persistentvolumeclaims":"9",)"
        R"("services.nodeports":"2","services.loadbalancers":"0","count/deployments.apps":"1","requests.example.com/gpu":"1","requests.ephemeral-storage":"1Gi"})";
    const std::string none =
        R"({"requests.storage":"0","gold.storageclass.storage.k8s.io/requests.storage":"0","gold.storageclass.storage.k8s.io/persistentvolumeclaims":"0",)"
        R"("services.nodeports":"0","services.loadbalancers":"0","count/deployments.apps":"0","requests.example.com/gpu":"0","requests.ephemeral-storage":"0"})";
    co_await quota(c, "q", R"({"hard":)" + hard + "}", hard, none);
    CHECK((co_await c.admin->create(claims, {"default", ""}, claim("a", "1Gi", R"(,"storageClassName":"gold")"))));
    CHECK(message(co_await c.admin->create(claims, {"default", ""}, claim("b", "1500Mi", R"(,"storageClassName":"gold")"))) ==
          "persistentvolumeclaims \"b\" is forbidden: exceeded quota: q, requested: "
          "gold.storageclass.storage.k8s.io/requests.storage=1500Mi, "
          "used: gold.storageclass.storage.k8s.io/requests.storage=1Gi, limited: gold.storageclass.storage.k8s.io/requests.storage=2Gi");
    CHECK((co_await c.admin->create(claims, {"default", ""}, claim("b", "4Gi", R"(,"storageClassName":"tin")"))));
    CHECK((co_await used(c, "q", "requests.storage")) == "5Gi");
    auto service = [&](std::string name, std::string type) {
      return c.admin->create(services, {"default", ""},
                             R"({"apiVersion":"v1","kind":"Service","metadata":{"name":")" + name + R"("},"spec":{"type":")" + type +
                                 R"(","ports":[{"name":"a","port":1},{"name":"b","port":2}]}})");
    };
    CHECK((co_await service("plain", "ClusterIP")));
    CHECK((co_await service("outside", "NodePort")));
    CHECK(message(co_await service("balanced", "LoadBalancer")).find("services.loadbalancers=1") != std::string::npos);
    // An update that makes it dearer is charged, too.
    auto dearer = co_await c.admin->patch(services, {"default", "plain"}, api::PatchType::merge, R"({"spec":{"type":"NodePort"}})");
    CHECK(message(dearer).find("requested: services.nodeports=2, used: services.nodeports=2, limited: services.nodeports=2") !=
          std::string::npos);
    auto gpu = [&](std::string name) {
      return c.admin->create(
          pods, {"default", ""},
          R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + name +
              R"("},"spec":{"containers":[{"name":"c","image":"x","resources":{"limits":{"example.com/gpu":"1","ephemeral-storage":"600Mi"}}}]}})");
    };
    CHECK((co_await gpu("g1")));
    CHECK(message(co_await gpu("g2")).find("requested: requests.ephemeral-storage=600Mi,requests.example.com/gpu=1") != std::string::npos);
    auto deployment = [&](std::string name) {
      return c.admin->create(
          deployments, {"default", ""},
          R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":")" + name +
              R"("},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}})");
    };
    CHECK((co_await deployment("d1")));
    CHECK(message(co_await deployment("d2"))
              .find("exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: "
                    "count/deployments.apps=1") != std::string::npos);
  });
}

TEST_CASE("a quota with scopes counts the pods in them") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    CHECK((co_await c.admin->create(
        priorities, {"", ""}, R"({"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"high"},"value":5})")));
    const std::string one = R"({"pods":"1"})", zero = R"({"pods":"0"})";
    for (std::string scope : {"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity"}) {
      std::string name;
      for (char ch : scope) name += char(std::tolower(ch));
      co_await quota(c, name, R"({"hard":{"pods":"9"},"scopes":[")" + scope + "\"]}", R"({"pods":"9"})", zero);
    }
    co_await quota(
        c, "class",
        R"({"hard":{"pods":"1"},"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In","values":["high"]}]}})",
        one, zero);
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("ends", R"(,"activeDeadlineSeconds":5)"))));
    CHECK((co_await c.admin->create(
        pods, {"default", ""},
        R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"busy"},"spec":{"containers":[{"name":"c","image":"x","resources":{"requests":{"cpu":"1"}}}]}})")));
    CHECK((co_await c.admin->create(
        pods, {"default", ""},
        pod("far",
            R"(,"priorityClassName":"high","affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"t","namespaces":["x"],"labelSelector":{}}]}})"))));
    for (auto [name, n] : {std::pair("terminating", "1"), std::pair("notterminating", "2"), std::pair("besteffort", "2"),
                           std::pair("notbesteffort", "1"), std::pair("crossnamespacepodaffinity", "1"), std::pair("class", "1")}) {
      INFO(name);
      CHECK((co_await used(c, name, "pods")) == n);
    }
    CHECK(message(co_await c.admin->create(pods, {"default", ""}, pod("second", R"(,"priorityClassName":"high")")))
              .find("exceeded quota: class, requested: pods=1") != std::string::npos);
  });
}

TEST_CASE("limit ranges bound claims, pods and ratios, and say what they set") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    CHECK((co_await c.admin->create(
        ranges, {"default", ""},
        R"({"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"l"},"spec":{"limits":[)"
        R"({"type":"Container","default":{"memory":"64Mi"},"defaultRequest":{"cpu":"10m","memory":"32Mi"},"maxLimitRequestRatio":{"memory":"4"}},)"
        R"({"type":"Pod","max":{"memory":"100Mi"}},)"
        R"({"type":"PersistentVolumeClaim","min":{"storage":"1Gi"},"max":{"storage":"2Gi"}}]}})")));
    auto p = co_await c.admin->create(pods, {"default", ""}, pod("p"));
    REQUIRE(p);
    CHECK(
        p->get()->find(
            R"("kubernetes.io/limit-ranger":"LimitRanger plugin set: cpu, memory request for container c; memory limit for container c")") !=
        std::string::npos);
    auto with = [&](std::string resources) {
      return c.admin->create(
          pods, {"default", ""},
          R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"q"},"spec":{"containers":[{"name":"c","image":"x","resources":)" +
              resources + "}]}}");
    };
    CHECK(message(co_await with(R"({"requests":{"memory":"10Mi"},"limits":{"memory":"90Mi"}})")) ==
          "pods \"q\" is forbidden: memory max limit to request ratio per Container is 4, but provided ratio is 9.000000");
    CHECK(message(co_await with(R"({"limits":{"memory":"200Mi"}})")) ==
          "pods \"q\" is forbidden: maximum memory usage per Pod is 100Mi, but limit is 200Mi");
    CHECK(message(co_await c.admin->create(claims, {"default", ""}, claim("small", "1Mi"))) ==
          "persistentvolumeclaims \"small\" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi");
    CHECK(message(co_await c.admin->create(claims, {"default", ""}, claim("large", "3Gi"))) ==
          "persistentvolumeclaims \"large\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi");
  });
}

TEST_CASE("an account that enforces mountable secrets limits its pods to them") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(
        serviceaccounts, {"default", ""},
        R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","annotations":{"kubernetes.io/enforce-mountable-secrets":"true"}},"secrets":[{"name":"mine"}]})")));
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("a", R"(,"volumes":[{"name":"s","secret":{"secretName":"mine"}}])"))));
    CHECK(message(
              co_await c.admin->create(pods, {"default", ""}, pod("b", R"(,"volumes":[{"name":"s","secret":{"secretName":"other"}}])"))) ==
          "pods \"b\" is forbidden: volume with secret.secretName=\"other\" is not allowed because service account default does not "
          "reference that secret");
    CHECK(message(co_await c.admin->create(pods, {"default", ""}, pod("b", R"(,"serviceAccountName":"none")"))) ==
          "pods \"b\" is forbidden: error looking up service account default/none: serviceaccount \"none\" not found");
  });
}

TEST_CASE("a node is tainted until it is ready, and restricted to what is its own") {
  with_cluster([](Cluster c) -> Task<> {
    auto n2 = c.api.client(server::UserInfo::node("n2"));
    auto node = [](std::string name, std::string labels, std::string more = "") {
      return R"({"apiVersion":"v1","kind":"Node","metadata":{"name":")" + name + R"(","labels":)" + labels + more + "}}";
    };
    auto role = co_await n2->create(
        nodes, {"", ""}, node("n2", R"({"node-role.kubernetes.io/control-plane":"true","a.node-restriction.kubernetes.io/b":"c"})"));
    CHECK(message(role) ==
          "nodes \"n2\" is forbidden: is not allowed to set the following labels: a.node-restriction.kubernetes.io/b, "
          "node-role.kubernetes.io/control-plane");
    auto made = co_await n2->create(nodes, {"", ""}, node("n2", R"({"kubernetes.io/hostname":"n2","mine":"yes"})"));
    REQUIRE(made);
    CHECK(made->get()->find(R"("taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"}])") != std::string::npos);
    CHECK(message(co_await n2->patch(nodes, {"", "n2"}, api::PatchType::merge, R"({"spec":{"taints":[]}})")) ==
          "nodes \"n2\" is forbidden: node \"n2\" is not allowed to modify taints");
    CHECK(message(co_await n2->patch(nodes, {"", "n2"}, api::PatchType::merge,
                                     R"({"metadata":{"labels":{"node-role.kubernetes.io/x":""}}})")) ==
          "nodes \"n2\" is forbidden: is not allowed to modify the following labels: node-role.kubernetes.io/x");
    // The server's own node may say that it is one.
    auto n1 = c.api.client(server::UserInfo::node("n1"));
    CHECK((co_await n1->create(nodes, {"", ""}, node("n1", R"({"node-role.kubernetes.io/control-plane":"true"})"))));
    CHECK(message(co_await n1->patch(nodes, {"", "n2"}, api::PatchType::merge, R"({"metadata":{"labels":{"x":"y"}}})")) ==
          "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"");
    // Mirror pods reach nothing.
    auto mirror = [&](std::string more) {
      return n2->create(
          pods, {"default", ""},
          R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"m","annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"nodeName":"n2","containers":[{"name":"c","image":"x"}])" +
              more + "}}");
    };
    CHECK(message(co_await mirror(R"(,"volumes":[{"name":"v","configMap":{"name":"x"}}])")) ==
          "pods \"m\" is forbidden: node \"n2\" can not create pods that reference configmaps");
    CHECK((co_await mirror("")));
    // A volume that is its directory: it takes its finalizer off, when the volume is being deleted, and changes nothing else.
    auto pv = [](std::string name, std::string at) {
      return R"({"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":")" + name + R"(","labels":{"appliance.dev/node":")" + at +
             R"("},"finalizers":["appliance.dev/local-path"]},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"hostPath":{"path":"/x"}}})";
    };
    CHECK((co_await c.admin->create(volumes, {"", ""}, pv("ours", "n2"))));
    CHECK((co_await c.admin->create(volumes, {"", ""}, pv("theirs", "n1"))));
    const std::string off = R"({"metadata":{"finalizers":["kubernetes.io/pv-protection"]}})";
    CHECK(!(co_await n2->patch(volumes, {"", "ours"}, api::PatchType::merge, off)));
    CHECK((co_await c.admin->remove(volumes, {"", "ours"})));
    CHECK((co_await c.admin->remove(volumes, {"", "theirs"})));
    CHECK(!(co_await n2->patch(volumes, {"", "ours"}, api::PatchType::merge, R"({"metadata":{"finalizers":[]}})")));
    CHECK(!(co_await n2->patch(volumes, {"", "ours"}, api::PatchType::merge, R"({"metadata":{"labels":{"x":"y"}}})")));
    CHECK(message(co_await n2->patch(volumes, {"", "ours"}, api::PatchType::merge, off)) == "accepted");
    CHECK(!(co_await n2->patch(volumes, {"", "theirs"}, api::PatchType::merge, off)));
  });
}

TEST_CASE("what is accepted and yet doubtful is answered with a warning") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    Http http(c, certificate(c, "admin", {"system:masters"}));
    auto warnings = [](const Answer& a) {
      std::string out;
      for (std::string_view v : a.headers.all("Warning")) out += std::string(v) + "\n";
      return out;
    };
    auto twice = co_await http.send(
        "POST", "/api/v1/namespaces/default/pods",
        R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a.b"},"spec":{"nodeSelector":{"beta.kubernetes.io/os":"linux"},)"
        R"("containers":[{"name":"c","image":"x","env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]}]}})");
    CHECK(twice.status == 201);
    CHECK(warnings(twice).find(
              R"(299 - "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply")") !=
          std::string::npos);
    CHECK(warnings(twice).find(R"(spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead)") !=
          std::string::npos);
    CHECK(warnings(twice).find("metadata.name: this is used in the Pod's hostname") != std::string::npos);
    auto ns = co_await http.send(
        "POST", "/api/v1/namespaces",
        R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"w","labels":{"pod-security.kubernetes.io/warn":"baseline"}}})");
    CHECK(ns.status == 201);
    auto job = co_await http.send(
        "POST", "/apis/batch/v1/namespaces/w/jobs",
        R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j"},"spec":{"template":{"spec":{"restartPolicy":"Never","hostNetwork":true,"containers":[{"name":"c","image":"x"}]}}}})");
    CHECK(job.status == 201);
    CHECK(warnings(job) == "299 - \"would violate PodSecurity \\\"baseline:latest\\\": host namespaces (hostNetwork=true)\"\n");
    CHECK(warnings(co_await http.get("/api/v1/namespaces/default/endpoints")) ==
          "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"\n");
    // A namespace that becomes stricter names the pods that it would not let in.
    auto stricter = co_await http.send("PATCH", "/api/v1/namespaces/default",
                                       R"({"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}})",
                                       {{"Content-Type", "application/merge-patch+json"}});
    CHECK(stricter.status == 200);
    CHECK(warnings(stricter).find(
              "existing pods in namespace \\\"default\\\" violate the new PodSecurity enforce level \\\"restricted:latest\\\"") !=
          std::string::npos);
    CHECK(warnings(stricter).find(
              "a.b: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile") !=
          std::string::npos);
  }, true);
}

TEST_CASE("what pod security finds stands in the audit log") {
  const std::string folder = "/tmp/appliance-unit-audit-" + base::hex_encode(base::random_bytes(6)), log = folder + "/audit.log";
  with_cluster([&](Cluster c) -> Task<> {
    co_await default_account(c);
    Http http(c, certificate(c, "admin", {"system:masters"}));
    CHECK((co_await http.send("PATCH", "/api/v1/namespaces/default",
                              R"({"metadata":{"labels":{"pod-security.kubernetes.io/audit":"baseline"}}})",
                              {{"Content-Type", "application/merge-patch+json"}}))
              .status == 200);
    CHECK((co_await http.send("POST", "/api/v1/namespaces/default/pods", pod("p", R"(,"hostPID":true)"))).status == 201);
  }, true, {.server = [&](server::ApiServerOptions& o) { o.audit.log.path = log; }});
  auto text = base::read_file(log);
  REQUIRE(text);
  CHECK(text->find(R"("pod-security.kubernetes.io/enforce-policy":"privileged:latest")") != std::string::npos);
  CHECK(
      text->find(
          R"x("pod-security.kubernetes.io/audit-violations":"would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)")x") !=
      std::string::npos);
  (void)base::remove_all(folder);
}

TEST_CASE("where asked for, owners are set only by those who may delete the object") {
  with_cluster(
      [](Cluster c) -> Task<> {
        const api::Resource roles{"rbac.authorization.k8s.io", "v1", "clusterroles"},
            bindings{"rbac.authorization.k8s.io", "v1", "clusterrolebindings"};
        CHECK((co_await c.admin->create(
            roles, {"", ""},
            R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"w"},"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["create","update","patch","get"]}]})")));
        CHECK((co_await c.admin->create(
            bindings, {"", ""},
            R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"w"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"w"},"subjects":[{"kind":"User","name":"eve"}]})")));
        auto eve = c.api.client(server::UserInfo{"eve", "", {"system:authenticated"}, {}});
        // The binding counts as soon as the authoriser has seen it.
        bool made = false;
        for (int i = 0; i < 500 && !made; ++i) {
          made = (co_await eve->create(configmaps, {"default", ""}, configmap("a"))).has_value();
          if (!made) co_await base::sleep_for(std::chrono::milliseconds(10));
        }
        REQUIRE(made);
        const std::string owned = R"({"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"o","uid":"u"}]}})";
        auto refused = co_await eve->patch(configmaps, {"default", "a"}, api::PatchType::merge, owned);
        CHECK(message(refused).find("cannot set an ownerRef on a resource you can't delete") != std::string::npos);
        auto blocking = co_await eve->create(
            configmaps, {"default", ""},
            configmap("b", "1",
                      R"(,"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"o","uid":"u","blockOwnerDeletion":true}])"));
        CHECK(
            message(blocking).find("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on") !=
            std::string::npos);
        CHECK((co_await c.admin->patch(configmaps, {"default", "a"}, api::PatchType::merge, owned)));
      },
      false, {.server = [](server::ApiServerOptions& o) { o.owner_references_permission = true; }});
}
