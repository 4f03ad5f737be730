#include <catch2/catch.hpp>

#include "server/controllers/cron_schedule.h"
#include "server/controllers/endpoints_plan.h"
#include "server/controllers/expectations.h"
#include "server/controllers/job.h"
#include "server/controllers/node_health.h"
#include "server/controllers/owner_graph.h"
#include "server/controllers/replicaset.h"
#include "server/controllers/revisions.h"
#include "server/controllers/statefulset.h"

using namespace server::controllers;
using namespace std::chrono_literals;
using namespace std::string_literals;
namespace core = api::core;
namespace apps = api::apps;
namespace batch = api::batch;

namespace {

const WallTime now = std::chrono::sys_days(std::chrono::year(2026) / 1 / 2);

core::Pod pod(std::string name, bool ready = true, std::string ip = "10.42.0.2") {
  core::Pod p;
  p.metadata.name = name;
  p.metadata.uid = "uid-" + name;
  p.metadata.namespace_ = "default";
  p.metadata.labels = {{"app", "web"}};
  p.metadata.creationTimestamp = base::rfc3339(now - 1h);
  p.spec.nodeName = "n1";
  p.status.phase = "Running";
  p.status.podIP = std::move(ip);
  core::PodCondition c;
  c.type = "Ready";
  c.status = ready ? "True" : "False";
  c.lastTransitionTime = base::rfc3339(now - 30min);
  p.status.conditions.push_back(c);
  return p;
}
PodPtr ptr(core::Pod p) { return std::make_shared<const core::Pod>(std::move(p)); }

core::Service service() {
  core::Service s;
  s.metadata.name = "web";
  s.metadata.namespace_ = "default";
  s.metadata.uid = "svc";
  s.spec.clusterIP = "10.43.0.5";
  s.spec.selector = {{"app", "web"}};
  core::ServicePort p;
  p.name = "http";
  p.port = 80;
  p.protocol = "TCP";
  p.targetPort = api::IntOrString::of(8080);
  s.spec.ports.push_back(p);
  return s;
}

}  // namespace

TEST_CASE("surplus pods go in the order unassigned, pending, not ready, crowded, young") {
  core::Pod unassigned = pod("unassigned"), pending = pod("pending"), broken = pod("broken", false), young = pod("young"),
            cheap = pod("cheap");
  unassigned.spec.nodeName.clear();
  pending.status.phase = "Pending";
  young.metadata.creationTimestamp = base::rfc3339(now);
  cheap.metadata.annotations["controller.kubernetes.io/pod-deletion-cost"] = "-5";
  std::vector<PodPtr> pods{ptr(pod("keep")), ptr(young), ptr(broken), ptr(cheap), ptr(pending), ptr(unassigned)};
  sort_for_removal(pods);
  std::vector<std::string> names;
  for (auto& p : pods) names.push_back(p->metadata.name);
  CHECK(names == std::vector<std::string>{"unassigned", "pending", "broken", "cheap", "young", "keep"});
}

TEST_CASE("a replica set counts what is ready and available, and asks to come back for the rest") {
  apps::ReplicaSet set;
  set.spec.replicas = 3;
  set.spec.minReadySeconds = 3600;
  set.metadata.generation = 4;
  auto plan = plan_status(set, {ptr(pod("a")), ptr(pod("b", false))}, now);
  CHECK(plan.status.replicas == 2);
  CHECK(plan.status.readyReplicas == 1);
  CHECK(plan.status.availableReplicas == 0);
  CHECK(plan.status.observedGeneration == 4);
  REQUIRE(plan.again);
  CHECK(*plan.again == 30min);
  CHECK(plan_replicas(set, {ptr(pod("a"))}, now).create == 2);
}

TEST_CASE("slices hold ready, unready and terminating endpoints with resolved ports") {
  core::Service s = service();
  s.spec.ports[0].targetPort = api::IntOrString::of(std::string("web"));
  core::Pod a = pod("a"), b = pod("b", false, "10.42.0.3"), c = pod("c", true, "10.42.0.4"), d = pod("d", true, "10.42.0.5");
  core::ContainerPort port;
  port.name = "web";
  port.containerPort = 8080;
  for (core::Pod* p : {&a, &b, &c, &d}) p->spec.containers.emplace_back().ports.push_back(port);
  c.metadata.deletionTimestamp = "2026-01-02T00:00:00Z";
  d.spec.containers[0].ports[0].containerPort = 9090;
  auto plan = plan_slices(s, {ptr(a), ptr(b), ptr(c), ptr(d)}, {}, {{"n1", "z1"}});
  REQUIRE(plan.create.size() == 2);  // two different target ports
  const auto& slice = plan.create[0].ports[0].port == 8080 ? plan.create[0] : plan.create[1];
  REQUIRE(slice.endpoints.size() == 3);
  CHECK(slice.addressType == "IPv4");
  CHECK(slice.metadata.labels.at("kubernetes.io/service-name") == "web");
  CHECK(slice.metadata.ownerReferences.at(0).kind == "Service");
  for (const auto& e : slice.endpoints) {
    bool is_a = e.targetRef->name == "a", is_c = e.targetRef->name == "c";
    CHECK(e.conditions->ready == is_a);
    CHECK(e.conditions->serving == (is_a || is_c));
    CHECK(e.conditions->terminating == is_c);
    CHECK(e.zone == "z1");
    CHECK(e.nodeName == "n1");
  }
  s.spec.publishNotReadyAddresses = true;
  plan = plan_slices(s, {ptr(b)}, {}, {});
  CHECK(plan.create.at(0).endpoints.at(0).conditions->ready == true);
}

TEST_CASE("a change of one endpoint writes one slice; slices fill up to a hundred and empty ones go") {
  core::Service s = service();
  std::vector<PodPtr> pods;
  for (int i = 0; i < 250; ++i) pods.push_back(ptr(pod("p" + std::to_string(i), true, "10.42.1." + std::to_string(i))));
  auto plan = plan_slices(s, pods, {}, {});
  REQUIRE(plan.create.size() == 3);
  std::vector<SlicePtr> slices;
  std::set<std::string> names;
  for (auto& x : plan.create) {
    CHECK(x.endpoints.size() <= slice_capacity);
    names.insert(x.metadata.name);
    slices.push_back(std::make_shared<const api::discovery::EndpointSlice>(x));
  }
  CHECK(names.size() == 3);
  plan = plan_slices(s, pods, slices, {});
  CHECK((plan.create.empty() && plan.update.empty() && plan.remove.empty()));
  pods[7] = ptr(pod("p7", false, "10.42.1.7"));
  plan = plan_slices(s, pods, slices, {});
  CHECK(plan.update.size() == 1);
  CHECK((plan.create.empty() && plan.remove.empty()));
  plan = plan_slices(s, {}, slices, {});
  CHECK(plan.update.size() == 1);  // one stays to say that there is nothing
  CHECK(plan.remove.size() == 2);
}

TEST_CASE("Endpoints lists ready and unready addresses, and leaves out what is ending") {
  core::Service s = service();
  core::Pod ending = pod("c", true, "10.42.0.4");
  ending.metadata.deletionTimestamp = "2026-01-02T00:00:00Z";
  auto e = plan_endpoints(s, {ptr(pod("a")), ptr(pod("b", false, "10.42.0.3")), ptr(ending)});
  REQUIRE(e.subsets.size() == 1);
  REQUIRE(e.subsets[0].addresses.size() == 1);
  CHECK(e.subsets[0].addresses[0].ip == "10.42.0.2");
  REQUIRE(e.subsets[0].notReadyAddresses.size() == 1);
  CHECK(e.subsets[0].ports.at(0).port == 8080);
  s.spec.clusterIP = "None";
  core::Pod named = pod("a");
  named.spec.hostname = "db-0";
  named.spec.subdomain = "web";
  e = plan_endpoints(s, {ptr(named)});
  CHECK(e.subsets.at(0).addresses.at(0).hostname == "db-0");
  CHECK(e.metadata.labels.contains("service.kubernetes.io/headless"));
}

TEST_CASE("taints follow the conditions of a node and leave others alone") {
  core::Node n;
  n.metadata.name = "n1";
  core::Taint own;
  own.key = "team";
  own.effect = "NoSchedule";
  n.spec.taints.push_back(own);
  CHECK(wanted_taints(n, now).size() == 3);  // never reported: not ready
  core::NodeCondition ready;
  ready.type = "Ready";
  ready.status = "True";
  n.status.conditions = {ready};
  CHECK(wanted_taints(n, now) == std::vector{own});
  REQUIRE(mark_unknown(n, now));
  CHECK_FALSE(mark_unknown(n, now + 1min));
  auto taints = wanted_taints(n, now);
  REQUIRE(taints.size() == 3);
  CHECK(taints[1].key == "node.kubernetes.io/unreachable");
  n.spec.taints = taints;
  CHECK(wanted_taints(n, now + 1min) == taints);  // the time they were added stays
  n.spec.unschedulable = true;
  CHECK(wanted_taints(n, now).back().key == "node.kubernetes.io/unschedulable");
}

TEST_CASE("pods leave a tainted node at once, after their toleration, or never") {
  core::Taint t;
  t.key = "node.kubernetes.io/unreachable";
  t.effect = "NoExecute";
  t.timeAdded = base::rfc3339(now);
  core::Pod p = pod("p");
  CHECK(eviction_time(p, {t}, now) == now);
  core::Toleration o;
  o.key = t.key;
  o.operator_ = "Exists";
  o.effect = "NoExecute";
  o.tolerationSeconds = 300;
  p.spec.tolerations = {o};
  CHECK(eviction_time(p, {t}, now + 10s) == now + 300s);
  p.spec.tolerations[0].tolerationSeconds.reset();
  CHECK_FALSE(eviction_time(p, {t}, now));
  CHECK_FALSE(eviction_time(p, {}, now));
}

TEST_CASE("a job starts, retries with back-off, completes and expires") {
  batch::Job j;
  j.metadata.name = "j";
  j.metadata.uid = "j";
  j.metadata.namespace_ = "default";
  j.spec.completions = 2;
  j.spec.parallelism = 2;
  j.spec.backoffLimit = 1;
  j.spec.ttlSecondsAfterFinished = 60;
  auto plan = plan_job(j, {}, now);
  CHECK(plan.create.size() == 2);
  CHECK(plan.status.active == 2);
  CHECK_FALSE(plan.status.startTime.empty());
  j.status = plan.status;
  core::Pod ok = pod("ok"), bad = pod("bad");
  ok.status.phase = "Succeeded";
  bad.status.phase = "Failed";
  bad.metadata.creationTimestamp = base::rfc3339(now);
  plan = plan_job(j, {ptr(ok), ptr(bad)}, now + 1s);
  CHECK(plan.create.empty());
  CHECK(plan.again == 9s);
  plan = plan_job(j, {ptr(ok), ptr(bad)}, now + 10s);
  CHECK(plan.create.size() == 1);
  CHECK(plan.status.failed == 1);
  core::Pod ok2 = pod("ok2");
  ok2.status.phase = "Succeeded";
  plan = plan_job(j, {ptr(ok), ptr(bad), ptr(ok2)}, now + 20s);
  j.status = plan.status;
  CHECK(job_finished(j));
  CHECK(find_condition(j.status.conditions, "Complete")->status == "True");
  CHECK(plan_job(j, {}, now + 21s).again == 59s);
  CHECK(plan_job(j, {}, now + 90s).expired);
}

TEST_CASE("a job that fails too often or too long fails") {
  batch::Job j;
  j.metadata.uid = "j";
  j.spec.completions = 1;
  j.spec.backoffLimit = 0;
  core::Pod bad = pod("bad");
  bad.status.phase = "Failed";
  auto plan = plan_job(j, {ptr(bad)}, now);
  CHECK(find_condition(plan.status.conditions, "Failed")->reason == "BackoffLimitExceeded");
  j.spec.activeDeadlineSeconds = 10;
  j.status.startTime = base::rfc3339(now - 11s);
  plan = plan_job(j, {ptr(pod("slow"))}, now);
  CHECK(find_condition(plan.status.conditions, "FailureTarget")->reason == "DeadlineExceeded");
  CHECK_FALSE(find_condition(plan.status.conditions, "Failed"));
  CHECK(plan.remove.size() == 1);
  j.status = plan.status;
  plan = plan_job(j, {}, now + 1s);  // when the pod has gone
  CHECK(find_condition(plan.status.conditions, "Failed")->reason == "DeadlineExceeded");
  CHECK(plan.status.failed == 1);
  CHECK(plan.status.terminating == 0);
}

core::Pod failed_pod(core::Pod pod, int32_t code) {
  pod.status.phase = "Failed";
  pod.metadata.creationTimestamp = base::rfc3339(now);
  core::ContainerStatus c;
  c.name = "main";
  c.state.emplace().terminated.emplace().exitCode = code;
  pod.status.containerStatuses.push_back(c);
  return pod;
}

TEST_CASE("a job's rules say what a failed pod means") {
  batch::Job j;
  j.metadata.uid = "j";
  j.metadata.namespace_ = "default";
  j.spec.completions = 1;
  j.spec.backoffLimit = 3;
  auto& rules = j.spec.podFailurePolicy.emplace().rules;
  rules.resize(3);
  rules[0].action = "Ignore";
  rules[0].onPodConditions.resize(1);
  rules[0].onPodConditions[0].type = "DisruptionTarget";
  rules[1].action = "FailJob";
  rules[1].onExitCodes.emplace().operator_ = "In";
  rules[1].onExitCodes->values = {42};
  rules[1].onExitCodes->containerName = "main";
  rules[2].action = "Count";
  rules[2].onExitCodes.emplace().operator_ = "NotIn";
  rules[2].onExitCodes->values = {1};
  core::Pod disrupted = failed_pod(pod("p"), 137);
  set_condition(disrupted.status.conditions, "DisruptionTarget", "True", "", "", now);
  CHECK(judge_failure(j, disrupted).action == FailureAction::ignore);
  auto plan = plan_job(j, {ptr(disrupted)}, now);
  CHECK(plan.create.size() == 1);
  CHECK_FALSE(plan.status.failed);
  CHECK(judge_failure(j, failed_pod(pod("p"), 2)).action == FailureAction::count);
  plan = plan_job(j, {ptr(failed_pod(pod("p"), 42))}, now);
  CHECK(find_condition(plan.status.conditions, "Failed")->message ==
        "Container main for pod default/p failed with exit code 42 matching FailJob rule at index 1");
  CHECK(plan.create.empty());
}

TEST_CASE("a job that counts failures by index gives up one index after the other") {
  batch::Job j;
  j.metadata.uid = "j";
  j.metadata.name = "j";
  j.spec.completions = 3;
  j.spec.parallelism = 3;
  j.spec.completionMode = "Indexed";
  j.spec.backoffLimit = 100;
  j.spec.backoffLimitPerIndex = 1;
  auto first = plan_job(j, {}, now).create;
  REQUIRE(first.size() == 3);
  core::Pod done = first[0], bad = failed_pod(first[1], 1);
  done.status.phase = "Succeeded";
  auto plan = plan_job(j, {ptr(done), ptr(bad), ptr(first[2])}, now);
  CHECK(plan.create.empty());
  CHECK(plan.again == 10s);
  plan = plan_job(j, {ptr(done), ptr(bad), ptr(first[2])}, now + 10s);
  REQUIRE(plan.create.size() == 1);
  CHECK(completion_index(plan.create[0]) == 1);
  CHECK(annotation(plan.create[0].metadata, "batch.kubernetes.io/job-index-failure-count") == "1");
  core::Pod again = failed_pod(plan.create[0], 1);
  plan = plan_job(j, {ptr(done), ptr(again), ptr(first[2])}, now + 11s);  // the pod of the first failure may be gone
  CHECK(plan.status.failedIndexes == "1");
  CHECK(plan.create.empty());
  j.status = plan.status;
  core::Pod last = first[2];
  last.status.phase = "Succeeded";
  plan = plan_job(j, {ptr(last)}, now + 12s);
  CHECK(plan.status.completedIndexes == "0,2");
  CHECK(find_condition(plan.status.conditions, "Failed")->reason == "FailedIndexes");
  j.spec.maxFailedIndexes = 0;
  plan = plan_job(j, {ptr(first[2])}, now + 12s);
  CHECK(find_condition(plan.status.conditions, "FailureTarget")->reason == "MaxFailedIndexesExceeded");
}

TEST_CASE("a job with a success policy ends when the rule is satisfied and its pods are gone") {
  batch::Job j;
  j.metadata.uid = "j";
  j.metadata.name = "j";
  j.spec.completions = 10;
  j.spec.parallelism = 2;
  j.spec.completionMode = "Indexed";
  auto& rule = j.spec.successPolicy.emplace().rules.emplace_back();
  rule.succeededIndexes = "1,3-5";
  rule.succeededCount = 2;
  CHECK_FALSE(satisfied_rule(j, {0, 1, 2}));
  CHECK(satisfied_rule(j, {1, 4}) == 0);
  rule.succeededIndexes = "0";
  auto made = plan_job(j, {}, now).create;
  rule.succeededCount = 1;
  core::Pod leader = made[0];
  leader.status.phase = "Succeeded";
  auto plan = plan_job(j, {ptr(leader), ptr(made[1])}, now);
  CHECK(find_condition(plan.status.conditions, "SuccessCriteriaMet")->message == "Matched rules at index 0");
  CHECK_FALSE(find_condition(plan.status.conditions, "Complete"));
  CHECK(plan.remove.size() == 1);
  CHECK(plan.status.terminating == 1);
  j.status = plan.status;
  plan = plan_job(j, {ptr(leader)}, now + 1s);
  CHECK(find_condition(plan.status.conditions, "Complete")->reason == "SuccessPolicy");
  CHECK(plan.status.terminating == 0);
  CHECK_FALSE(plan.status.failed);
}

TEST_CASE("indexed jobs give each pod its index once") {
  batch::Job j;
  j.metadata.uid = "j";
  j.metadata.name = "j";
  j.spec.completions = 3;
  j.spec.parallelism = 3;
  j.spec.completionMode = "Indexed";
  auto plan = plan_job(j, {}, now);
  REQUIRE(plan.create.size() == 3);
  core::Pod done = plan.create[1];
  done.status.phase = "Succeeded";
  CHECK(completion_index(done) == 1);
  plan = plan_job(j, {ptr(done)}, now);
  CHECK(plan.create.size() == 2);
  CHECK(plan.status.completedIndexes == "1");
  CHECK(index_ranges({0, 1, 2, 5, 7, 8}) == "0-2,5,7,8");
}

TEST_CASE("stateful pods start in order, update from the top and stop from the top") {
  apps::StatefulSet s;
  s.metadata.name = "db";
  s.metadata.uid = "s";
  s.metadata.namespace_ = "default";
  s.spec.replicas = 2;
  s.spec.serviceName = "db";
  s.spec.volumeClaimTemplates.emplace_back().metadata.name = "data";
  StatefulSetRevisions r{"db-1", "db-1", {}, {}};
  auto plan = plan_statefulset(s, {}, r, now);
  REQUIRE(plan.create.size() == 1);
  core::Pod first = plan.create[0];
  CHECK(first.metadata.name == "db-0");
  CHECK(first.spec.hostname == "db-0");
  CHECK(first.spec.volumes.at(0).persistentVolumeClaim->claimName == "data-db-0");
  CHECK(claims_of(s, 0).at(0).metadata.name == "data-db-0");
  // Who takes the claim along: nobody, the set, or a pod that is superfluous.
  api::meta::ObjectMeta claim;
  CHECK(claim_owners(s, claim, first).empty());
  auto& policy = s.spec.persistentVolumeClaimRetentionPolicy.emplace();
  policy.whenDeleted = policy.whenScaled = "Delete";
  claim.ownerReferences = claim_owners(s, claim, first);
  REQUIRE(claim.ownerReferences.size() == 1);
  CHECK(claim.ownerReferences[0].kind == "StatefulSet");
  s.spec.replicas = 0;
  CHECK(claim_owners(s, claim, first).at(0).kind == "Pod");
  policy.whenScaled = "Retain";
  CHECK(claim_owners(s, claim, first) == claim.ownerReferences);
  s.spec.persistentVolumeClaimRetentionPolicy.reset();
  CHECK(claim_owners(s, claim, first).empty());
  s.spec.replicas = 2;
  CHECK(plan_statefulset(s, {ptr(first)}, r, now).create.empty());  // not ready yet
  auto up = [&](core::Pod p) {
    p.status = pod("x").status;
    return ptr(p);
  };
  plan = plan_statefulset(s, {up(first)}, r, now);
  REQUIRE(plan.create.size() == 1);
  core::Pod second = plan.create[0];
  CHECK(second.metadata.name == "db-1");
  r.update = "db-2";
  plan = plan_statefulset(s, {up(first), up(second)}, r, now);
  REQUIRE(plan.remove.size() == 1);
  CHECK(plan.remove[0]->metadata.name == "db-1");
  r.update = "db-1";
  s.spec.replicas = 0;
  plan = plan_statefulset(s, {up(first), up(second)}, r, now);
  REQUIRE(plan.remove.size() == 1);
  CHECK(plan.remove[0]->metadata.name == "db-1");
}

TEST_CASE("cron schedules") {
  struct Case {
    const char *schedule, *from, *next;
  };
  for (auto& c : std::vector<Case>{{"* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"},
                                   {"*/15 * * * *", "2026-01-01T00:46:00Z", "2026-01-01T01:00:00Z"},
                                   {"0 3 * * mon-fri", "2026-01-02T03:00:00Z", "2026-01-05T03:00:00Z"},
                                   {"30 12 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T12:30:00Z"},
                                   {"0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
                                   {"0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"},
                                   {"@monthly", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"},
                                   {"5,10 1-3 1 JAN,jun *", "2026-01-01T03:10:00Z", "2026-06-01T01:05:00Z"}}) {
    CAPTURE(c.schedule);
    auto s = CronSchedule::parse(c.schedule);
    REQUIRE(s);
    CHECK(base::rfc3339(*s->next(*base::parse_rfc3339(c.from))) == c.next);
  }
  for (const char* bad : {"", "* * * *", "60 * * * *", "* * * * mon-", "a * * * *", "*/0 * * * *", "5-1 * * * *"})
    CHECK_FALSE(CronSchedule::parse(bad));
  CHECK_FALSE(CronSchedule::parse("0 0 30 2 *")->next(now));
}

TEST_CASE("cron schedules follow the clock of their zone") {
  // A made-up zone: UTC+1, and UTC+2 between 2026-03-29 and 2026-10-25, 01:00 UTC.
  auto big = [](uint64_t n, int bytes) {
    std::string out;
    for (int i = bytes - 1; i >= 0; --i) out += char(n >> (8 * i));
    return out;
  };
  auto at = [](const char* t) {
    return uint64_t(std::chrono::duration_cast<std::chrono::seconds>(base::parse_rfc3339(t)->time_since_epoch()).count());
  };
  std::string counts = big(0, 4) + big(0, 4) + big(0, 4) + big(2, 4) + big(2, 4) + big(0, 4), head = "TZif2" + std::string(15, '\0');
  std::string body = std::string("\1\0", 2) + big(3600, 4) + "\0\0"s + big(7200, 4) + "\1\0"s;
  std::string file =
      head + counts + big(0, 8) + body + head + counts + big(at("2026-03-29T01:00:00Z"), 8) + big(at("2026-10-25T01:00:00Z"), 8) + body;
  auto zone = TimeZone::parse(file);
  REQUIRE(zone);
  auto next = [&](const char* schedule, const char* from) {
    return base::rfc3339(*CronSchedule::parse(schedule)->next(*base::parse_rfc3339(from), *zone));
  };
  CHECK(next("0 9 * * *", "2026-01-01T00:00:00Z") == "2026-01-01T08:00:00Z");
  CHECK(next("0 9 * * *", "2026-07-01T07:30:00Z") == "2026-07-02T07:00:00Z");
  CHECK(next("0 9 * * *", "2026-03-28T08:00:00Z") == "2026-03-29T07:00:00Z");
  CHECK(next("30 2 * * *", "2026-03-28T12:00:00Z") == "2026-03-30T00:30:00Z");  // 02:30 is skipped on the 29th
  for (size_t n = 0; n < file.size(); ++n) CHECK_FALSE(TimeZone::parse(file.substr(0, n)));
  CHECK_FALSE(TimeZone::load("../../etc/passwd"));
  CHECK_FALSE(TimeZone::load("Nowhere/Land"));
}

TEST_CASE("the owner graph tells what to look at") {
  OwnerGraph g;
  auto child = [](std::string uid, std::string owner, bool blocks = true) {
    api::meta::ObjectMeta m;
    m.uid = std::move(uid);
    auto& o = m.ownerReferences.emplace_back();
    o.uid = std::move(owner);
    o.blockOwnerDeletion = blocks;
    return m;
  };
  CHECK(g.put("1/a/rs", child("rs", "d")) == std::vector<std::string>{"1/a/rs"});  // nothing is known of d
  CHECK(g.put("2/a/pod", child("p", "rs")).empty());  // rs has been seen
  g.set_presence("d", OwnerGraph::Presence::present);
  CHECK(g.put("1/a/rs", child("rs", "d")).empty());
  CHECK(g.removed("0/a/d", "d") == std::vector<std::string>{"1/a/rs"});
  CHECK(g.presence("d") == OwnerGraph::Presence::absent);
  CHECK(g.removed("1/a/rs", "rs") == std::vector<std::string>{"2/a/pod"});
  CHECK(g.removed("2/a/pod", "p").empty());
  CHECK(g.size() == 0);
  CHECK(g.presence("d") == OwnerGraph::Presence::unknown);  // forgotten with its last dependent
  g.put("2/a/x", child("x", "o"));
  g.waits("o", "0/a/o");
  CHECK(g.put("2/a/x", child("x", "o", false)) == std::vector<std::string>{"2/a/x", "0/a/o"});  // o need not wait any more
  CHECK(g.removed("2/a/x", "x") == std::vector<std::string>{"0/a/o"});
}

TEST_CASE("a revision holds the template as Kubernetes writes it") {
  core::PodTemplateSpec t;
  t.metadata.labels = {{"b", "1"}, {"a", "2"}};
  auto& c = t.spec.containers.emplace_back();
  c.name = "app";
  c.image = "v1";
  t.spec.restartPolicy = "Always";
  CHECK(
      revision_data(t) ==
      R"({"spec":{"template":{"$patch":"replace","metadata":{"labels":{"a":"2","b":"1"}},"spec":{"containers":[{"image":"v1","name":"app","resources":{}}],"restartPolicy":"Always"}}}})");
  apps::ControllerRevision r;
  r.data.text = revision_data(t);
  CHECK(revision_data(*template_of(r)) == r.data.text);
}

TEST_CASE("expectations hold until what was expected is seen") {
  Expectations e;
  CHECK(e.satisfied("a/rs"));
  e.expect("a/rs", "a/pod1");
  e.expect("a/rs", "a/pod2");
  e.met("a/pod1");
  CHECK_FALSE(e.satisfied("a/rs"));
  CHECK(e.satisfied("a/other"));
  e.met("a/pod2");
  e.met("a/unknown");
  CHECK(e.satisfied("a/rs"));
}
