// Controllers and scheduler against the real API server, in one process; a coroutine plays the kubelets.
#include "api/types/apps_v1.h"
#include "api/types/batch_v1.h"
#include "api/types/core_v1.h"
#include "api/types/discovery_v1.h"
#include "base/time.h"
#include "server/controllers/all.h"
#include "server/scheduler/scheduler.h"
#include "tests/unit/server/apiserver/fixture.h"

using namespace std::chrono_literals;
namespace core = api::core;
namespace apps = api::apps;
namespace batch = api::batch;
using base::Task;

namespace {

core::Node node(std::string name) {
  core::Node n;
  n.metadata.name = name;
  n.metadata.labels = {{"kubernetes.io/hostname", name}};
  n.status.capacity = n.status.allocatable = {{"cpu", "4"}, {"memory", "8Gi"}, {"pods", "110"}};
  n.status.addresses.push_back({"InternalIP", "192.0.2.1"});
  core::NodeCondition ready;
  ready.type = "Ready";
  ready.status = "True";
  ready.lastHeartbeatTime = ready.lastTransitionTime = base::now_rfc3339();
  n.status.conditions.push_back(ready);
  return n;
}

core::PodTemplateSpec pod_template(std::string app, std::string image = "v1") {
  core::PodTemplateSpec t;
  t.metadata.labels = {{"app", std::move(app)}};
  core::Container c;
  c.name = "c";
  c.image = std::move(image);
  auto& empty = t.spec.volumes.emplace_back();
  empty.name = "scratch";
  empty.emptyDir.emplace();
  c.env.emplace_back().name = "EMPTY";
  t.spec.containers.push_back(std::move(c));
  return t;
}

// Everything a test needs, and the part of the kubelet: bound pods run, pods being deleted go.
struct World {
  std::shared_ptr<api::Client> client;

  template <class T>
  Task<std::vector<T>> all(std::string ns = "default") {
    auto r = co_await api::list<T>(*client, ns);
    REQUIRE(r);
    co_return std::move(*r);
  }
  template <class T>
  Task<T> get(std::string name) {
    auto r = co_await api::get<T>(*client, {T::kind_info().namespaced ? "default" : "", name});
    if (!r) FAIL(r.error().message);
    co_return std::move(*r);
  }
  template <class T>
  Task<> create(T object) {
    if (T::kind_info().namespaced) object.metadata.namespace_ = "default";
    auto r = co_await api::create(*client, std::move(object));
    if (!r) FAIL(r.error().message);
  }
  Task<> run_pods() {
    auto pods = co_await all<core::Pod>();
    for (auto& p : pods) {
      if (p.spec.nodeName.empty()) continue;
      if (!p.metadata.deletionTimestamp.empty()) {
        api::DeleteOptions now;
        now.grace_period_seconds = 0;
        (void)co_await api::remove<core::Pod>(*client, {"default", p.metadata.name}, now);
        continue;
      }
      if (p.status.phase == "Running" || p.status.phase == "Succeeded") continue;
      bool job = p.spec.restartPolicy == "Never";
      p.status.phase = job ? "Succeeded" : "Running";
      p.status.podIP = "10.42.0." + std::to_string(++address);
      p.status.podIPs = {{p.status.podIP}};
      core::PodCondition ready;
      ready.type = "Ready";
      ready.status = job ? "False" : "True";
      ready.lastTransitionTime = base::now_rfc3339();
      p.status.conditions.push_back(ready);
      (void)co_await api::update_status(*client, p);
    }
  }
  Task<> until(std::string what, std::function<Task<bool>()> condition) {
    auto end = base::Clock::now() + 10s;
    for (;;) {
      co_await run_pods();
      bool done = co_await condition();
      if (done) co_return;
      if (base::Clock::now() > end) FAIL("never: " + what);
      co_await base::sleep_for(5ms);
    }
  }
  int address = 1;
};

void with_world(std::function<Task<>(World&)> body) {
  test::with_cluster([body](test::Cluster c) -> Task<> {
    World w{c.admin};
    server::ControllerOptions options;
    options.root_ca_pem = c.api.ca_pem();
    auto scheduler_client = c.api.client(server::UserInfo::component("system:kube-scheduler"));
    server::Controllers controllers(
        c.runtime, [&](std::string account) { return c.api.controller_client(std::move(account)); }, std::move(options));
    server::Scheduler scheduler(c.runtime, *scheduler_client);
    controllers.start();
    scheduler.start();
    co_await w.create(node("n1"));
    co_await w.create(node("n2"));
    co_await w.until("there is an account for pods", [&]() -> Task<bool> {
      co_return (co_await api::get<core::ServiceAccount>(*w.client, {"default", "default"})).has_value();
    });
    co_await body(w);
    co_await scheduler.stop();
    co_await controllers.stop();
  });
}

}  // namespace

TEST_CASE("a deployment rolls out, changes, rolls back and is collected") {
  with_world([](World& w) -> Task<> {
    apps::Deployment d;
    d.metadata.name = "web";
    d.spec.replicas = 4;
    d.spec.selector.matchLabels = {{"app", "web"}};
    d.spec.template_ = pod_template("web");
    co_await w.create(d);
    std::string image = "v1";
    auto settled = [&]() -> Task<bool> {
      auto now = co_await w.get<apps::Deployment>("web");
      if (now.status.observedGeneration != now.metadata.generation) co_return false;
      if (now.status.availableReplicas != now.spec.replicas || now.status.updatedReplicas != now.spec.replicas ||
          now.status.replicas != now.spec.replicas)
        co_return false;
      auto pods = co_await w.all<core::Pod>();
      for (auto& p : pods)
        if (p.spec.containers[0].image != image) co_return false;
      co_return pods.size() == size_t(*now.spec.replicas);
    };
    co_await w.until("the first rollout", settled);
    CHECK((co_await w.get<apps::Deployment>("web")).metadata.generation == 1);  // what the controller notes is nobody's wish
    std::map<std::string, int> nodes;
    auto pods = co_await w.all<core::Pod>();
    for (auto& p : pods) ++nodes[p.spec.nodeName];
    CHECK(nodes["n1"] == 2);
    CHECK(nodes["n2"] == 2);
    for (std::string next : {"v2", "v1"}) {
      image = next;
      std::string body = R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":")" + next + R"("}]}}}})";
      auto r = co_await w.client->patch(api::resource_of<apps::Deployment>(), {"default", "web"}, api::PatchType::strategic, body);
      REQUIRE(r);
      co_await w.until("the rollout of " + next, settled);
    }
    auto sets = co_await w.all<apps::ReplicaSet>();
    CHECK(sets.size() == 2);
    auto now = co_await w.get<apps::Deployment>("web");
    CHECK(now.metadata.annotations["deployment.kubernetes.io/revision"] == "3");
    CHECK(now.metadata.generation == 3);
    // Nothing is written any more.
    co_await base::sleep_for(300ms);
    auto before = co_await w.client->list(api::resource_of<core::Pod>(), "default", {});
    co_await base::sleep_for(500ms);
    auto after = co_await w.client->list(api::resource_of<core::Pod>(), "default", {});
    CHECK(before->resource_version == after->resource_version);
    api::DeleteOptions foreground;
    foreground.propagation_policy = "Foreground";
    auto gone = co_await api::remove<apps::Deployment>(*w.client, {"default", "web"}, foreground);
    REQUIRE(gone);
    co_await w.until("everything is collected", [&]() -> Task<bool> {
      auto p = co_await w.all<core::Pod>();
      auto s = co_await w.all<apps::ReplicaSet>();
      auto x = co_await w.all<apps::Deployment>();
      co_return p.empty() && s.empty() && x.empty();
    });
  });
}

TEST_CASE("a service finds its pods, a namespace empties, a job and stateful pods run") {
  with_world([](World& w) -> Task<> {
    core::Service s;
    s.metadata.name = "web";
    s.spec.type = "LoadBalancer";
    s.spec.selector = {{"app", "web"}};
    auto& port = s.spec.ports.emplace_back();
    port.port = 80;
    co_await w.create(s);
    apps::StatefulSet set;
    set.metadata.name = "web";
    set.spec.replicas = 2;
    set.spec.serviceName = "web";
    set.spec.selector.matchLabels = {{"app", "web"}};
    set.spec.template_ = pod_template("web");
    co_await w.create(set);
    co_await w.until("two endpoints", [&]() -> Task<bool> {
      auto slices = co_await w.all<api::discovery::EndpointSlice>();
      size_t ready = 0;
      for (auto& x : slices)
        if (x.metadata.labels["kubernetes.io/service-name"] == "web")
          for (auto& e : x.endpoints) ready += e.conditions->ready.value_or(false) ? 1 : 0;
      co_return ready == 2;
    });
    auto service = co_await w.get<core::Service>("web");
    REQUIRE(service.status.loadBalancer);
    CHECK(service.status.loadBalancer->ingress.size() == 1);
    batch::Job j;
    j.metadata.name = "once";
    j.spec.template_ = pod_template("once");
    j.spec.template_.spec.restartPolicy = "Never";
    co_await w.create(j);
    co_await w.until("the job is complete", [&]() -> Task<bool> {
      auto now = co_await w.get<batch::Job>("once");
      co_return now.status.succeeded == 1 && !now.status.completionTime.empty();
    });
    core::Namespace team;
    team.metadata.name = "team";
    co_await w.create(team);
    co_await w.until("the account and the CA", [&]() -> Task<bool> {
      auto a = co_await w.all<core::ServiceAccount>("team");
      auto m = co_await w.all<core::ConfigMap>("team");
      co_return a.size() == 1 && m.size() == 1;
    });
    auto removed = co_await api::remove<core::Namespace>(*w.client, {"", "team"});
    REQUIRE(removed);
    co_await w.until("the namespace is gone", [&]() -> Task<bool> {
      auto r = co_await api::get<core::Namespace>(*w.client, {"", "team"});
      co_return !r;
    });
  });
}

TEST_CASE("a hundred pods are bound and running within moments") {
  with_world([](World& w) -> Task<> {
    apps::ReplicaSet s;
    s.metadata.name = "many";
    s.spec.replicas = 100;
    s.spec.selector.matchLabels = {{"app", "many"}};
    s.spec.template_ = pod_template("many");
    auto begin = base::Clock::now();
    co_await w.create(s);
    for (;;) {
      auto pods = co_await w.all<core::Pod>();
      size_t bound = 0;
      for (auto& p : pods) bound += p.spec.nodeName.empty() ? 0 : 1;
      if (bound == 100) break;
      REQUIRE(base::Clock::now() - begin < 10s);
      co_await base::sleep_for(2ms);
    }
    WARN("100 pods created and bound in " << std::chrono::duration_cast<std::chrono::milliseconds>(base::Clock::now() - begin).count()
                                          << " ms");
    co_await base::sleep_for(200ms);
    auto pods = co_await w.all<core::Pod>();
    CHECK(pods.size() == 100);
  });
}

TEST_CASE("a single pod is bound in a few milliseconds") {
  with_world([](World& w) -> Task<> {
    std::vector<double> times;
    for (int i = 0; i < 40; ++i) {
      core::Pod p;
      p.metadata.name = "p" + std::to_string(i);
      p.spec = pod_template("single").spec;
      auto list = co_await w.client->list(api::resource_of<core::Pod>(), "default", {});
      api::WatchOptions options;
      options.resource_version = list->resource_version;
      auto watch = co_await w.client->watch(api::resource_of<core::Pod>(), "default", options);
      REQUIRE(watch);
      co_await w.create(p);
      auto created = base::Clock::now();
      for (;;) {
        auto event = co_await (*watch)->next();
        REQUIRE((event && *event));
        auto seen = api::decode<core::Pod>(std::string_view(*(*event)->object));
        if (seen && seen->metadata.name == p.metadata.name && !seen->spec.nodeName.empty()) break;
      }
      times.push_back(std::chrono::duration<double, std::milli>(base::Clock::now() - created).count());
      co_await base::sleep_for(2ms);
    }
    std::sort(times.begin(), times.end());
    WARN("created -> seen bound: p50 " << times[times.size() / 2] << " ms, worst " << times.back() << " ms");
    CHECK(times[times.size() / 2] < 100);
  });
}

TEST_CASE("a quota is counted when it appears, and gives back what has gone or ended") {
  with_world([](World& w) -> Task<> {
    auto config = [](std::string name) {
      core::ConfigMap c;
      c.metadata.name = std::move(name);
      return c;
    };
    co_await w.until("the account and its CA", [&]() -> Task<bool> {
      auto account = co_await api::get<core::ServiceAccount>(*w.client, {"default", "default"});
      auto ca = co_await api::get<core::ConfigMap>(*w.client, {"default", "kube-root-ca.crt"});
      co_return account.has_value() && ca.has_value();
    });
    co_await w.create(config("a"));
    core::ResourceQuota q;
    q.metadata.name = "q";
    q.spec.hard = {{"configmaps", "3"}, {"count/jobs.batch", "5"}, {"pods", "5"}};
    co_await w.create(q);
    auto used = [&](std::string configs, std::string jobs, std::string pods) -> Task<bool> {
      auto now = co_await w.get<core::ResourceQuota>("q");
      co_return now.status.used["configmaps"] == configs && now.status.used["count/jobs.batch"] == jobs && now.status.used["pods"] == pods;
    };
    co_await w.until("what was there is counted", [&] { return used("2", "0", "0"); });
    co_await w.create(config("b"));
    core::ConfigMap more = config("c");
    more.metadata.namespace_ = "default";
    auto refused = co_await api::create(*w.client, more);
    CHECK((!refused && refused.error().code == 403));
    (void)co_await api::remove<core::ConfigMap>(*w.client, {"default", "a"});
    co_await w.until("one is given back", [&] { return used("2", "0", "0"); });
    batch::Job job;
    job.metadata.name = "j";
    job.spec.template_ = pod_template("j");
    job.spec.template_.spec.restartPolicy = "Never";
    co_await w.create(job);
    co_await w.until("the job's pod ends and costs nothing", [&]() -> Task<bool> {
      auto now = co_await w.get<batch::Job>("j");
      bool quota = co_await used("2", "1", "0");
      co_return now.status.succeeded == 1 && quota;
    });
    (void)co_await api::remove<batch::Job>(*w.client, {"default", "j"});
    co_await w.until("the job is given back", [&] { return used("2", "0", "0"); });
  });
}
