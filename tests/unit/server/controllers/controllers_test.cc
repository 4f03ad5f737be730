#include <catch2/catch.hpp>

#include "api/types/apps_v1.h"
#include "api/types/batch_v1.h"
#include "api/types/coordination_v1.h"
#include "api/types/discovery_v1.h"
#include "api/types/policy_v1.h"
#include "api/types/rbac_v1.h"
#include "server/controllers/all.h"
#include "server/controllers/objects.h"
#include "tests/unit/server/eventually.h"
#include "tests/unit/server/fake_client.h"

using namespace std::chrono_literals;
using testing::eventually;
using testing::FakeClient;
namespace core = api::core;
namespace apps = api::apps;
namespace batch = api::batch;

namespace {

core::Namespace ns(std::string name) {
  core::Namespace n;
  n.metadata.name = std::move(name);
  n.spec.finalizers = {"kubernetes"};
  n.status.phase = "Active";
  return n;
}

core::PodTemplateSpec pod_template(std::string image) {
  core::PodTemplateSpec t;
  t.metadata.labels = {{"app", "web"}};
  core::Container c;
  c.name = "c";
  c.image = std::move(image);
  t.spec.containers.push_back(std::move(c));
  return t;
}

apps::Deployment deployment(int32_t replicas) {
  apps::Deployment d;
  d.metadata.name = "web";
  d.metadata.namespace_ = "default";
  d.metadata.generation = 1;
  d.spec.replicas = replicas;
  d.spec.progressDeadlineSeconds = 600;
  d.spec.revisionHistoryLimit = 10;
  d.spec.selector.matchLabels = {{"app", "web"}};
  d.spec.template_ = pod_template("v1");
  return d;
}

// Plays scheduler and kubelet: new pods run and are ready, pods being deleted end.
void run_pods(FakeClient& c) {
  static int address = 10;
  for (auto& p : c.all<core::Pod>()) {
    if (!p.metadata.deletionTimestamp.empty()) {
      c.erase<core::Pod>(p.metadata.namespace_, p.metadata.name);
      continue;
    }
    if (!p.status.phase.empty()) continue;
    p.spec.nodeName = "n1";
    p.status.phase = "Running";
    p.status.podIP = "10.42.0." + std::to_string(address++);
    core::PodCondition ready;
    ready.type = "Ready";
    ready.status = "True";
    ready.lastTransitionTime = base::now_rfc3339();
    p.status.conditions = {ready};
    c.put(p);
  }
}

// Two threads, a client and the controllers; the body runs between start and stop.
template <class Body>
void with_controllers(Body body, server::ControllerOptions options = {}) {
  base::Runtime runtime(2);
  FakeClient client;
  client.put(ns("default"));
  core::Node n;
  n.metadata.name = "n1";
  n.status.addresses.push_back({"InternalIP", "192.0.2.1"});
  core::NodeCondition ready;
  ready.type = "Ready";
  ready.status = "True";
  n.status.conditions.push_back(ready);
  client.put(n);
  server::Controllers controllers(
      runtime, [&](const std::string&) { return std::shared_ptr<api::Client>(std::shared_ptr<void>(), &client); }, std::move(options));
  base::run_to_end(runtime, [](FakeClient& c, server::Controllers& k, Body& b) -> base::Task<> {
    k.start();
    co_await b(c);
    co_await k.stop();
  }(client, controllers, body));
}

}  // namespace

TEST_CASE("a deployment becomes ready pods, rolls over, rolls back, and goes with all it owns") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    auto d = c.put(deployment(3));
    auto settled = [&](std::string image, int32_t replicas) {
      run_pods(c);
      auto now = c.find<apps::Deployment>("default", "web");
      if (now->status.availableReplicas != replicas || now->status.updatedReplicas != replicas || now->status.replicas != replicas)
        return false;
      for (auto& p : c.all<core::Pod>())
        if (p.spec.containers[0].image != image) return false;
      return c.all<core::Pod>().size() == size_t(replicas);
    };
    co_await eventually([&] { return settled("v1", 3); });
    CHECK(c.all<apps::ReplicaSet>().size() == 1);
    CHECK(c.writes()["create pods"] == 3);

    auto change = [&](auto f) {
      auto now = *c.find<apps::Deployment>("default", "web");
      f(now);
      now.metadata.generation = *now.metadata.generation + 1;
      c.put(now);
    };
    change([](apps::Deployment& x) { x.spec.template_.spec.containers[0].image = "v2"; });
    co_await eventually([&] { return settled("v2", 3); });
    CHECK(c.all<apps::ReplicaSet>().size() == 2);
    CHECK(c.find<apps::Deployment>("default", "web")->metadata.annotations["deployment.kubernetes.io/revision"] == "2");
    change([](apps::Deployment& x) { x.spec.replicas = 1; });
    co_await eventually([&] { return settled("v2", 1); });
    change([](apps::Deployment& x) { x.spec.template_.spec.containers[0].image = "v1"; });
    co_await eventually([&] { return settled("v1", 1); });
    CHECK(c.find<apps::Deployment>("default", "web")->metadata.annotations["deployment.kubernetes.io/revision"] == "3");

    // An idle cluster is left alone.
    co_await base::sleep_for(200ms);
    int before = c.total_writes();
    co_await base::sleep_for(500ms);
    CHECK(c.total_writes() == before);

    c.erase<apps::Deployment>("default", "web");
    co_await eventually([&] {
      run_pods(c);
      return c.all<apps::ReplicaSet>().empty() && c.all<core::Pod>().empty();
    });
    bool scaled = false;
    for (auto& e : c.all<core::Event>())
      scaled = scaled || (e.reason == "ScalingReplicaSet" && e.message.starts_with("Scaled up replica set web-"));
    CHECK(scaled);
  });
}

TEST_CASE("a replica set makes exactly as many pods as it should, though creations fail at first") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    auto left = std::make_shared<std::atomic<int>>(5);
    c.fail_when([left](const std::string& write) -> std::optional<base::Error> {
      if (write == "create pods" && left->fetch_sub(1) > 0) return base::forbidden("pods", "", "exceeded quota").error();
      return std::nullopt;
    });
    apps::ReplicaSet s;
    s.metadata.name = "rs";
    s.metadata.namespace_ = "default";
    s.spec.replicas = 40;
    s.spec.selector.matchLabels = {{"app", "web"}};
    s.spec.template_ = pod_template("v1");
    c.put(s);
    co_await eventually([&] { return c.find<apps::ReplicaSet>("default", "rs")->status.replicas == 40; });
    CHECK(c.all<core::Pod>().size() == 40);
    CHECK(c.find<apps::ReplicaSet>("default", "rs")->status.conditions.empty());
    // An orphan that matches is adopted, which makes one too many.
    core::Pod orphan;
    orphan.metadata.name = "orphan";
    orphan.metadata.namespace_ = "default";
    orphan.metadata.labels = {{"app", "web"}};
    c.put(orphan);
    co_await eventually([&] { return c.writes()["delete pods"] == 1; });
    co_await eventually([&] { return c.all<core::Pod>().size() == 40; });
    // A pod that loses its labels is released and replaced.
    auto stray = c.all<core::Pod>().front();
    stray.metadata.labels.clear();
    c.put(stray);
    co_await eventually([&] {
      return c.all<core::Pod>().size() == 41 && c.find<core::Pod>("default", stray.metadata.name)->metadata.ownerReferences.empty();
    });
  });
}

TEST_CASE("a replica set that may make no pods says so once") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    auto tried = std::make_shared<std::atomic<int>>(0);
    c.fail_when([tried](const std::string& write) -> std::optional<base::Error> {
      if (write == "create pods") return base::forbidden("pods", "rs-" + std::to_string(tried->fetch_add(1)), "exceeded quota").error();
      return std::nullopt;
    });
    apps::ReplicaSet s;
    s.metadata.name = "rs";
    s.metadata.namespace_ = "default";
    s.spec.replicas = 3;
    s.spec.selector.matchLabels = {{"app", "web"}};
    s.spec.template_ = pod_template("v1");
    c.put(s);
    co_await eventually([&] { return *tried > 4; });
    const auto conditions = c.find<apps::ReplicaSet>("default", "rs")->status.conditions;
    REQUIRE(conditions.size() == 1);
    CHECK(conditions[0].type == "ReplicaFailure");
    CHECK(c.writes()["update replicasets/status"] == 1);
  });
}

TEST_CASE("services get endpoints of the pods they select") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    core::Service s;
    s.metadata.name = "web";
    s.metadata.namespace_ = "default";
    s.spec.type = "LoadBalancer";
    s.spec.clusterIP = "10.43.0.9";
    s.spec.selector = {{"app", "web"}};
    auto& port = s.spec.ports.emplace_back();
    port.port = 80;
    port.targetPort = api::IntOrString::of(8080);
    c.put(s);
    c.put(deployment(2));
    co_await eventually([&] {
      run_pods(c);
      auto slices = c.all<api::discovery::EndpointSlice>();
      auto e = c.find<core::Endpoints>("default", "web");
      return slices.size() == 1 && slices[0].endpoints.size() == 2 && e && e->subsets.size() == 1 && e->subsets[0].addresses.size() == 2;
    });
    CHECK(c.all<api::discovery::EndpointSlice>()[0].ports.at(0).port == 8080);
    co_await eventually([&] {
      auto now = c.find<core::Service>("default", "web");
      return now->status.loadBalancer && now->status.loadBalancer->ingress.size() == 1 &&
             now->status.loadBalancer->ingress[0].ip == "192.0.2.1";
    });
    c.erase<core::Service>("default", "web");
    co_await eventually([&] { return !c.find<core::Endpoints>("default", "web") && c.all<api::discovery::EndpointSlice>().empty(); });
  });
}

TEST_CASE("endpoints kept by hand for a service without selector are mirrored into slices") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    core::Service s;
    s.metadata.name = "db";
    s.metadata.namespace_ = "default";
    s.spec.ports.emplace_back().port = 5432;
    c.put(s);
    core::Endpoints e;
    e.metadata.name = "db";
    e.metadata.namespace_ = "default";
    auto& subset = e.subsets.emplace_back();
    subset.addresses.emplace_back().ip = "192.0.2.7";
    subset.ports.emplace_back().port = 5432;
    c.put(e);
    co_await eventually([&] {
      auto slices = c.all<api::discovery::EndpointSlice>();
      return slices.size() == 1 && slices[0].endpoints.size() == 1 && slices[0].endpoints[0].addresses[0] == "192.0.2.7" &&
             slices[0].ports[0].port == 5432;
    });
    c.erase<core::Endpoints>("default", "db");
    co_await eventually([&] { return c.all<api::discovery::EndpointSlice>().empty(); });
  });
}

TEST_CASE("namespaces get their account and CA, and are emptied before they go") {
  server::ControllerOptions options;
  options.root_ca_pem = "PEM";
  with_controllers(
      [](FakeClient& c) -> base::Task<> {
        c.put(ns("team"));
        co_await eventually(
            [&] { return c.find<core::ServiceAccount>("team", "default") && c.find<core::ConfigMap>("team", "kube-root-ca.crt"); });
        CHECK(c.find<core::ConfigMap>("team", "kube-root-ca.crt")->data["ca.crt"] == "PEM");
        auto edited = *c.find<core::ConfigMap>("team", "kube-root-ca.crt");
        edited.data.clear();
        c.put(edited);
        co_await eventually([&] { return c.find<core::ConfigMap>("team", "kube-root-ca.crt")->data["ca.crt"] == "PEM"; });
        core::Pod p;
        p.metadata.name = "p";
        p.metadata.namespace_ = "team";
        p.spec.nodeName = "n1";
        c.put(p);
        core::Secret s;
        s.metadata.name = "s";
        s.metadata.namespace_ = "team";
        c.put(s);
        auto dying = *c.find<core::Namespace>("", "team");
        dying.metadata.deletionTimestamp = base::now_rfc3339();
        dying.status.phase = "Terminating";
        c.put(dying);
        co_await eventually([&] { return !c.find<core::Pod>("team", "p")->metadata.deletionTimestamp.empty(); });
        co_await eventually([&] { return !c.find<core::Namespace>("", "team")->status.conditions.empty(); });
        CHECK(c.find<core::Secret>("team", "s"));  // pods go first
        c.erase<core::Pod>("team", "p");
        co_await eventually([&] { return !c.find<core::Namespace>("", "team"); });
        CHECK(c.all<core::Secret>("team").empty());
        CHECK(c.all<core::ConfigMap>("team").empty());
      },
      options);
}

TEST_CASE("a silent node becomes unknown, tainted and empty, and comes back") {
  server::ControllerOptions options;
  options.node_monitor_grace_period = 150ms;
  with_controllers(
      [](FakeClient& c) -> base::Task<> {
        core::Pod p;
        p.metadata.name = "p";
        p.metadata.namespace_ = "default";
        p.metadata.uid = "p";
        p.spec.nodeName = "n1";
        p.status.phase = "Running";
        core::PodCondition up;
        up.type = "Ready";
        up.status = "True";
        p.status.conditions = {up};
        core::Toleration t;
        t.key = "node.kubernetes.io/unreachable";
        t.operator_ = "Exists";
        t.tolerationSeconds = 1;
        p.spec.tolerations = {t};
        c.put(p);
        auto beat = [&](int i) {
          api::coordination::Lease l;
          l.metadata.name = "n1";
          l.metadata.namespace_ = "kube-node-lease";
          l.spec.renewTime = std::to_string(i);
          c.put(l);
        };
        for (int i = 0; i < 10; ++i) {
          beat(i);
          co_await base::sleep_for(40ms);
        }
        CHECK(c.find<core::Node>("", "n1")->spec.taints.empty());
        co_await eventually([&] { return c.find<core::Node>("", "n1")->spec.taints.size() == 2; });
        CHECK(server::controllers::find_condition(c.find<core::Node>("", "n1")->status.conditions, "Ready")->status == "Unknown");
        co_await eventually([&] { return c.find<core::Pod>("default", "p")->status.conditions.at(0).status == "False"; });
        CHECK(c.find<core::Pod>("default", "p")->metadata.deletionTimestamp.empty());
        co_await eventually([&] { return !c.find<core::Pod>("default", "p")->metadata.deletionTimestamp.empty(); });
        auto n = *c.find<core::Node>("", "n1");
        for (auto& condition : n.status.conditions)
          if (condition.type == "Ready") condition.status = "True", condition.lastHeartbeatTime = base::now_rfc3339();
        c.put(n);
        co_await eventually([&] { return c.find<core::Node>("", "n1")->spec.taints.empty(); });
      },
      options);
}

TEST_CASE("foreground deletion ends the dependents first, orphaning lets them live") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    auto owner = [](std::string name, std::string finalizer) {
      core::ConfigMap m;
      m.metadata.name = std::move(name);
      m.metadata.namespace_ = "default";
      m.metadata.finalizers = {std::move(finalizer)};
      return m;
    };
    auto child = [&](const core::ConfigMap& of) {
      core::Secret s;
      s.metadata.name = "of-" + of.metadata.name;
      s.metadata.namespace_ = "default";
      s.metadata.ownerReferences.push_back(server::controllers::controller_reference(of));
      return s;
    };
    auto front = c.put(owner("front", "foregroundDeletion")), apart = c.put(owner("apart", "orphan"));
    c.put(child(front));
    c.put(child(apart));
    co_await base::sleep_for(100ms);
    CHECK(c.all<core::Secret>().size() == 2);
    for (auto o : {front, apart}) {
      o.metadata.deletionTimestamp = base::now_rfc3339();
      c.put(o);
    }
    co_await eventually([&] { return c.all<core::ConfigMap>("default").empty(); });
    CHECK_FALSE(c.find<core::Secret>("default", "of-front"));
    CHECK(c.find<core::Secret>("default", "of-apart")->metadata.ownerReferences.empty());
    // Whoever names an owner that never was goes.
    core::ConfigMap ghost;
    ghost.metadata.name = "ghost";
    ghost.metadata.uid = "nobody";
    c.put(child(ghost));
    co_await eventually([&] { return !c.find<core::Secret>("default", "of-ghost"); });
  });
}

TEST_CASE("objects that own each other in a circle all go when one is deleted in the foreground") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    std::vector<core::ConfigMap> ring;
    for (const char* name : {"a", "b", "c"}) {
      core::ConfigMap m;
      m.metadata.name = name;
      m.metadata.namespace_ = "default";
      ring.push_back(c.put(m));
    }
    for (size_t i = 0; i < 3; ++i) {
      ring[i].metadata.ownerReferences = {server::controllers::controller_reference(ring[(i + 2) % 3])};
      ring[i] = c.put(ring[i]);
    }
    co_await base::sleep_for(100ms);
    CHECK(c.all<core::ConfigMap>("default").size() >= 3);
    ring[0].metadata.finalizers = {"foregroundDeletion"};
    ring[0].metadata.deletionTimestamp = base::now_rfc3339();
    c.put(ring[0]);
    co_await eventually([&] {
      return !c.find<core::ConfigMap>("default", "a") && !c.find<core::ConfigMap>("default", "b") &&
             !c.find<core::ConfigMap>("default", "c");
    });
  });
}

TEST_CASE("a job takes a pod back that lost its owner, and lets go of one that lost its labels") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    batch::Job j;
    j.metadata.name = "j";
    j.metadata.namespace_ = "default";
    j.spec.completions = 1;
    j.spec.selector.emplace().matchLabels = {{"app", "web"}};
    j.spec.template_ = pod_template("v1");
    const std::string uid = c.put(j).metadata.uid;
    co_await eventually([&] { return c.all<core::Pod>().size() == 1; });
    const std::string name = c.all<core::Pod>()[0].metadata.name;
    auto pod = [&] { return *c.find<core::Pod>("default", name); };
    auto p = pod();
    p.metadata.ownerReferences.clear();
    c.put(p);
    co_await eventually([&] { return pod().metadata.ownerReferences.size() == 1; });
    CHECK(server::controllers::controlled_by(pod().metadata, uid));
    p = pod();
    p.metadata.labels.clear();
    c.put(p);
    co_await eventually([&] { return pod().metadata.ownerReferences.empty() && c.all<core::Pod>().size() == 2; });
  });
}

TEST_CASE("jobs, cron jobs, daemons and stateful pods run") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    batch::Job j;
    j.metadata.name = "j";
    j.metadata.namespace_ = "default";
    j.spec.completions = 1;
    j.spec.template_ = pod_template("v1");
    c.put(j);
    co_await eventually([&] { return c.all<core::Pod>().size() == 1; });
    auto p = c.all<core::Pod>()[0];
    p.status.phase = "Succeeded";
    c.put(p);
    co_await eventually([&] { return c.find<batch::Job>("default", "j")->status.succeeded == 1; });
    CHECK_FALSE(c.find<batch::Job>("default", "j")->status.completionTime.empty());

    batch::CronJob cron;
    cron.metadata.name = "tick";
    cron.metadata.namespace_ = "default";
    cron.metadata.creationTimestamp = base::rfc3339(base::WallClock::now() - 90s);
    cron.spec.schedule = "* * * * *";
    cron.spec.jobTemplate.spec = j.spec;
    c.put(cron);
    co_await eventually(
        [&] { return c.all<batch::Job>().size() == 2 && !c.find<batch::CronJob>("default", "tick")->status.lastScheduleTime.empty(); });

    apps::DaemonSet ds;
    ds.metadata.name = "agent";
    ds.metadata.namespace_ = "default";
    ds.metadata.generation = 1;
    ds.spec.selector.matchLabels = {{"app", "agent"}};
    ds.spec.template_ = pod_template("v1");
    ds.spec.template_.metadata.labels = {{"app", "agent"}};
    c.put(ds);
    core::Node n2 = *c.find<core::Node>("", "n1");
    n2.metadata.name = "n2";
    n2.metadata.uid.clear();
    c.put(n2);
    co_await eventually([&] {
      run_pods(c);
      auto now = c.find<apps::DaemonSet>("default", "agent");
      return now->status.desiredNumberScheduled == 2 && now->status.currentNumberScheduled == 2;
    });

    apps::StatefulSet ss;
    ss.metadata.name = "db";
    ss.metadata.namespace_ = "default";
    ss.metadata.generation = 1;
    ss.spec.replicas = 2;
    ss.spec.selector.matchLabels = {{"app", "db"}};
    ss.spec.template_ = pod_template("v1");
    ss.spec.template_.metadata.labels = {{"app", "db"}};
    ss.spec.volumeClaimTemplates.emplace_back().metadata.name = "data";
    c.put(ss);
    co_await eventually([&] {
      run_pods(c);
      return c.find<apps::StatefulSet>("default", "db")->status.readyReplicas == 2;
    });
    CHECK(c.find<core::PersistentVolumeClaim>("default", "data-db-1"));
    auto changed = *c.find<apps::StatefulSet>("default", "db");
    changed.spec.template_.spec.containers[0].image = "v2";
    changed.metadata.generation = 2;
    c.put(changed);
    co_await eventually([&] {
      run_pods(c);
      auto a = c.find<core::Pod>("default", "db-0"), b = c.find<core::Pod>("default", "db-1");
      return a && b && a->spec.containers[0].image == "v2" && b->spec.containers[0].image == "v2";
    });
    CHECK(c.all<apps::ControllerRevision>().size() == 3);
  });
}

TEST_CASE("budgets, quotas and aggregated roles are kept current") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    c.put(deployment(3));
    api::policy::PodDisruptionBudget b;
    b.metadata.name = "web";
    b.metadata.namespace_ = "default";
    b.spec.selector.emplace().matchLabels = {{"app", "web"}};
    b.spec.maxUnavailable = api::IntOrString::of(1);
    c.put(b);
    core::ResourceQuota q;
    q.metadata.name = "q";
    q.metadata.namespace_ = "default";
    q.spec.hard = {{"pods", "10"}, {"configmaps", "5"}};
    co_await eventually([&] {
      run_pods(c);
      return c.find<api::policy::PodDisruptionBudget>("default", "web")->status.disruptionsAllowed == 1;
    });
    c.put(q);
    co_await eventually([&] { return c.find<core::ResourceQuota>("default", "q")->status.used["pods"] == "3"; });
    CHECK(c.find<core::ResourceQuota>("default", "q")->status.used["configmaps"] == "0");
    api::rbac::ClusterRole sum, part;
    sum.metadata.name = "sum";
    sum.aggregationRule.emplace().clusterRoleSelectors.emplace_back().matchLabels = {{"add", "yes"}};
    part.metadata.name = "part";
    part.metadata.labels = {{"add", "yes"}};
    part.rules.emplace_back().verbs = {"get"};
    c.put(sum);
    c.put(part);
    co_await eventually([&] { return c.find<api::rbac::ClusterRole>("", "sum")->rules.size() == 1; });
  });
}
