#include <catch2/catch.hpp>

#include "server/controllers/rollout.h"

using namespace server::controllers;
using namespace std::chrono_literals;
namespace apps = api::apps;

namespace {

const WallTime now = std::chrono::sys_days(std::chrono::year(2026) / 1 / 2);

apps::Deployment deployment(int32_t replicas, std::string image = "v1") {
  apps::Deployment d;
  d.metadata.name = "web";
  d.metadata.namespace_ = "default";
  d.metadata.uid = "d";
  d.metadata.generation = 1;
  d.spec.replicas = replicas;
  d.spec.progressDeadlineSeconds = 600;
  d.spec.revisionHistoryLimit = 10;
  d.spec.selector.matchLabels = {{"app", "web"}};
  d.spec.template_.metadata.labels = {{"app", "web"}};
  api::core::Container c;
  c.name = "c";
  c.image = std::move(image);
  d.spec.template_.spec.containers.push_back(std::move(c));
  return d;
}

// Carries plans out in memory: a deployment controller and a kubelet that is told how many pods to make ready.
struct World {
  apps::Deployment d;
  std::vector<SetPtr> sets;
  int made = 0;

  DeploymentPlan step(bool old_pods_run = false) {
    DeploymentPlan p = plan_deployment(d, sets, old_pods_run, now);
    for (auto& [key, value] : p.annotations) d.metadata.annotations[key] = value;
    if (p.create) {
      auto s = *p.create;
      s.metadata.uid = "rs" + std::to_string(made);
      s.metadata.generation = 1;
      s.metadata.creationTimestamp = "2026-01-02T00:00:0" + std::to_string(made++) + "Z";
      sets.push_back(std::make_shared<const apps::ReplicaSet>(s));
    }
    for (const SetChange& c : p.change) {
      auto s = *c.set;
      if (c.replicas) s.spec.replicas = c.replicas;
      for (auto& [key, value] : c.annotations) s.metadata.annotations[key] = value;
      replace(c.set, s);
    }
    for (const SetPtr& s : p.remove) std::erase_if(sets, [&](const SetPtr& x) { return x->metadata.name == s->metadata.name; });
    d.status = p.status;
    return p;
  }
  void replace(const SetPtr& old, apps::ReplicaSet s) {
    for (SetPtr& x : sets)
      if (x->metadata.name == old->metadata.name) x = std::make_shared<const apps::ReplicaSet>(s);
  }
  // Pods follow spec.replicas; at most `ready_more` of them become available.
  void pods_follow(int ready_more = 1000) {
    for (SetPtr old : sets) {
      auto s = *old;
      s.status.replicas = size_of(s);
      int32_t have = std::min(s.status.availableReplicas.value_or(0), size_of(s));
      int32_t more = std::min(size_of(s) - have, ready_more);
      ready_more -= more;
      s.status.availableReplicas = s.status.readyReplicas = have + more;
      s.status.observedGeneration = 1;
      replace(old, s);
    }
  }
  int32_t total() const {
    int32_t n = 0;
    for (const SetPtr& s : sets) n += size_of(*s);
    return n;
  }
  int32_t available() const {
    int32_t n = 0;
    for (const SetPtr& s : sets) n += std::min(size_of(*s), s->status.availableReplicas.value_or(0));
    return n;
  }
  bool settled() const {
    const auto* c = find_condition(d.status.conditions, "Progressing");
    return c && c->reason == "NewReplicaSetAvailable" && d.status.updatedReplicas == d.spec.replicas &&
           d.status.replicas == d.spec.replicas;
  }
  void settle() {
    for (int i = 0; i < 100 && !settled(); ++i) {
      step();
      pods_follow();
    }
    REQUIRE(settled());
    step();
  }
};

}  // namespace

TEST_CASE("a new deployment makes its set at full size with revision 1") {
  World w{deployment(3), {}};
  auto p = w.step();
  REQUIRE(p.create);
  CHECK(p.create->spec.replicas == 3);
  CHECK(p.create->metadata.annotations.at(revision_annotation) == "1");
  CHECK(p.create->spec.selector.matchLabels.contains("pod-template-hash"));
  CHECK(p.create->metadata.labels.at("pod-template-hash") == p.create->spec.template_.metadata.labels.at("pod-template-hash"));
  CHECK(p.create->metadata.ownerReferences.at(0).uid == "d");
  CHECK(p.annotations.at(revision_annotation) == "1");
  CHECK(find_condition(p.status.conditions, "Available")->status == "False");
  w.settle();
  CHECK(w.d.status.availableReplicas == 3);
  CHECK_FALSE(w.d.status.unavailableReplicas);
  CHECK(find_condition(w.d.status.conditions, "Available")->reason == "MinimumReplicasAvailable");
  CHECK(find_condition(w.d.status.conditions, "Progressing")->message.ends_with("has successfully progressed."));
}

TEST_CASE("a settled deployment plans nothing") {
  World w{deployment(3), {}};
  w.settle();
  auto before = w.d.status;
  auto p = w.step();
  CHECK_FALSE(p.create);
  CHECK(p.change.empty());
  CHECK(p.annotations.empty());
  CHECK(p.status == before);
  CHECK_FALSE(p.again);
}

TEST_CASE("a rolling update never has too few available nor too many pods, whatever the pace") {
  struct Case {
    int32_t replicas;
    std::string surge, unavailable;
    int pace;
  };
  for (auto& c : std::vector<Case>{
           {10, "25%", "25%", 1}, {10, "0", "1", 3}, {1, "1", "0", 1}, {3, "100%", "0", 2}, {4, "0", "100%", 1}, {7, "1", "2", 2}}) {
    CAPTURE(c.replicas, c.surge, c.unavailable, c.pace);
    World w{deployment(c.replicas), {}};
    auto& r = w.d.spec.strategy.ensure().rollingUpdate.ensure();
    auto value = [](const std::string& s) { return s.ends_with("%") ? api::IntOrString::of(s) : api::IntOrString::of(std::stoi(s)); };
    r.maxSurge = value(c.surge);
    r.maxUnavailable = value(c.unavailable);
    w.settle();
    w.d.spec.template_.spec.containers[0].image = "v2";
    Fenceposts f = fenceposts(w.d);
    int steps = 0;
    for (; steps < 200; ++steps) {
      w.step();
      CHECK(w.total() <= c.replicas + f.surge);
      CHECK(w.available() >= c.replicas - f.unavailable);
      w.pods_follow(c.pace);
      if (w.settled()) break;
    }
    REQUIRE(w.settled());
    CHECK(w.sets.size() == 2);
    CHECK(w.d.metadata.annotations.at(revision_annotation) == "2");
  }
}

TEST_CASE("going back to an old template reuses its set as the newest revision") {
  World w{deployment(2), {}};
  w.settle();
  w.d.spec.template_.spec.containers[0].image = "v2";
  w.settle();
  w.d.spec.template_.spec.containers[0].image = "v1";
  w.settle();
  CHECK(w.sets.size() == 2);
  CHECK(w.d.metadata.annotations.at(revision_annotation) == "3");
  SetPtr current = current_set(w.d, w.sets);
  CHECK(current->metadata.annotations.at("deployment.kubernetes.io/revision-history") == "1");
}

TEST_CASE("the history is trimmed to its limit, oldest revisions first") {
  World w{deployment(1), {}};
  w.d.spec.revisionHistoryLimit = 2;
  for (int i = 1; i < 6; ++i) {
    w.d.spec.template_.spec.containers[0].image = "v" + std::to_string(i);
    w.settle();
  }
  CHECK(w.sets.size() == 3);
  for (const SetPtr& s : w.sets) CHECK(revision_of(s->metadata) >= 3);
}

TEST_CASE("Recreate waits for the last old pod") {
  World w{deployment(2), {}};
  w.d.spec.strategy.ensure().type = "Recreate";
  w.settle();
  w.d.spec.template_.spec.containers[0].image = "v2";
  w.step();
  CHECK(w.total() == 0);
  auto p = w.step(true);
  CHECK_FALSE(p.create);
  p = w.step(false);
  REQUIRE(p.create);
  CHECK(p.create->spec.replicas == 2);
}

TEST_CASE("a paused deployment scales but does not roll out") {
  World w{deployment(2), {}};
  w.settle();
  w.d.spec.paused = true;
  w.d.spec.template_.spec.containers[0].image = "v2";
  auto p = w.step();
  CHECK_FALSE(p.create);
  CHECK(find_condition(p.status.conditions, "Progressing")->reason == "DeploymentPaused");
  w.d.spec.replicas = 5;
  w.step();
  CHECK(w.total() == 5);
  w.d.spec.paused = false;
  p = w.step();
  CHECK(p.create);
}

TEST_CASE("scaling in the middle of a rollout is shared in proportion") {
  World w{deployment(10), {}};
  auto& r = w.d.spec.strategy.ensure().rollingUpdate.ensure();
  r.maxSurge = api::IntOrString::of(3);
  r.maxUnavailable = api::IntOrString::of(2);
  w.settle();
  w.d.spec.template_.spec.containers[0].image = "v2";
  w.step();
  w.step();
  REQUIRE(w.total() == 11);  // 8 old, 3 new (+2 that still fit)
  w.d.spec.replicas = 15;
  w.pods_follow(0);
  w.step();
  CHECK(w.total() == 18);
}

TEST_CASE("without progress the deadline is reported") {
  World w{deployment(1), {}};
  w.step();
  w.step();
  auto p = plan_deployment(w.d, w.sets, false, now + 601s);
  const auto* c = find_condition(p.status.conditions, "Progressing");
  REQUIRE(c);
  CHECK(c->status == "False");
  CHECK(c->reason == "ProgressDeadlineExceeded");
  p = plan_deployment(w.d, w.sets, false, now + 10s);
  REQUIRE(p.again);
  CHECK(*p.again > 580s);
}
