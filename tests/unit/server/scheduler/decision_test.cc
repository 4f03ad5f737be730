#include <catch2/catch.hpp>

#include "server/scheduler/decision.h"

using namespace server::scheduler;

namespace {

Node node(std::string name, int64_t cpu = 4000, int64_t memory_mb = 8192) {
  Node n;
  n.name = name;
  n.labels = {{"kubernetes.io/hostname", name}};
  n.allocatable = {cpu, memory_mb << 20, int64_t(100) << 30, 110, {}};
  return n;
}

Pod pod(std::string name, int64_t cpu = 100, int64_t memory_mb = 128) {
  Pod p;
  p.ns = "default";
  p.name = p.uid = name;
  p.request = {cpu, memory_mb << 20, 0, 1, {}};
  p.scored_cpu = cpu;
  p.scored_memory = memory_mb << 20;
  return p;
}

PodPtr on(Pod p, std::string node_name) {
  p.node_name = std::move(node_name);
  return std::make_shared<const Pod>(std::move(p));
}

Selector labelled(std::string key, std::string value) { return {false, {{std::move(key), Requirement::Op::in, {std::move(value)}}}}; }

PodTerm term(Selector s, std::string topology) {
  PodTerm t;
  t.pods = std::move(s);
  t.namespaces = {"default"};
  t.topology_key = std::move(topology);
  return t;
}

}  // namespace

TEST_CASE("a pod goes to the node with the most room") {
  Cluster c;
  c.set_node(node("small", 1000, 1024));
  c.set_node(node("large"));
  CHECK(decide(c, pod("p")).node == "large");
}

TEST_CASE("reasons are counted and sorted as kube-scheduler does") {
  Cluster c;
  c.set_node(node("a", 50));
  Node tainted = node("b");
  tainted.taints = {{"role", "db", "NoSchedule"}};
  c.set_node(tainted);
  Decision d = decide(c, pod("p", 100));
  CHECK(d.node.empty());
  CHECK(d.message == "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {role: db}.");
  CHECK(d.waits_for_resources);
  CHECK(d.preemptable.size() == 1);
}

TEST_CASE("taints that no node has any more take no room") {
  Cluster c;
  for (int i = 0; i < 100; ++i) {
    Node n = node("a");
    n.taints = {{"number", std::to_string(i), "NoSchedule"}};
    c.set_node(n);
  }
  c.set_node(node("a"));
  CHECK(c.taint_sets().size() <= 3);
  CHECK(decide(c, pod("p")).node == "a");
}

TEST_CASE("without nodes the message says so") {
  Cluster c;
  CHECK(decide(c, pod("p")).message == "no nodes available to schedule pods");
}

TEST_CASE("a cordoned node takes only pods that tolerate it") {
  Cluster c;
  Node n = node("a");
  n.unschedulable = true;
  c.set_node(n);
  Pod p = pod("p");
  CHECK(decide(c, p).message == "0/1 nodes are available: 1 node(s) were unschedulable.");
  p.tolerations.push_back({"node.kubernetes.io/unschedulable", "", "NoSchedule", true});
  CHECK(decide(c, p).node == "a");
}

TEST_CASE("assumed pods count, removed ones do not") {
  Cluster c;
  c.set_node(node("a", 1000));
  c.add_pod(on(pod("x", 950), "a"));
  CHECK(decide(c, pod("p", 100)).node.empty());
  c.remove_pod("x");
  CHECK(decide(c, pod("p", 100)).node == "a");
}

TEST_CASE("the number of pods is limited") {
  Cluster c;
  Node n = node("a");
  n.allocatable.pods = 1;
  c.set_node(n);
  c.add_pod(on(pod("x", 0, 0), "a"));
  CHECK(decide(c, pod("p", 0, 0)).message == "0/1 nodes are available: 1 Too many pods.");
}

TEST_CASE("node selectors and affinity choose nodes") {
  Cluster c;
  Node ssd = node("ssd");
  ssd.labels["disk"] = "ssd";
  ssd.labels["cores"] = "8";
  c.set_node(ssd);
  c.set_node(node("plain", 16000, 65536));
  Pod p = pod("p");
  p.node_selector = {{"disk", Requirement::Op::in, {"ssd"}}};
  CHECK(decide(c, p).node == "ssd");
  p.node_selector = {{"disk", Requirement::Op::in, {"tape"}}};
  CHECK(decide(c, p).message == "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.");
  Pod q = pod("q");
  q.node_terms = {{{{{"cores", Requirement::Op::greater, {"4"}}}, {}, 0}}};
  CHECK(decide(c, q).node == "ssd");
  Pod r = pod("r");
  r.node_terms = {{{{}, {{"metadata.name", Requirement::Op::in, {"plain"}}}, 0}}};
  CHECK(decide(c, r).node == "plain");
  Pod s = pod("s");
  s.preferred_nodes = {{{{"disk", Requirement::Op::exists, {}}}, {}, 100}};
  CHECK(decide(c, s).node == "ssd");
}

TEST_CASE("host ports do not clash") {
  Cluster c;
  c.set_node(node("a"));
  Pod x = pod("x"), p = pod("p");
  x.host_ports = {{"TCP", "", 80}};
  c.add_pod(on(x, "a"));
  p.host_ports = {{"TCP", "10.0.0.1", 80}};
  CHECK(decide(c, p).message == "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.");
  p.host_ports = {{"UDP", "", 80}};
  CHECK(decide(c, p).node == "a");
}

TEST_CASE("pod affinity follows, anti-affinity avoids, both ways") {
  Cluster c;
  c.set_node(node("a"));
  c.set_node(node("b"));
  Pod web = pod("web");
  web.labels = {{"app", "web"}};
  c.add_pod(on(web, "a"));
  Pod near = pod("near");
  near.affinity = {term(labelled("app", "web"), "kubernetes.io/hostname")};
  CHECK(decide(c, near).node == "a");
  Pod far = pod("far");
  far.anti_affinity = near.affinity;
  CHECK(decide(c, far).node == "b");
  // A running pod's anti-affinity binds those that come later.
  Pod guard = pod("guard");
  guard.anti_affinity = {term(labelled("app", "noisy"), "kubernetes.io/hostname")};
  c.add_pod(on(guard, "a"));
  Pod noisy = pod("noisy");
  noisy.labels = {{"app", "noisy"}};
  CHECK(decide(c, noisy).node == "b");
  c.remove_node("b");
  CHECK(decide(c, noisy).message == "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.");
  CHECK(decide(c, far).message == "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.");
}

TEST_CASE("the first pod of a group may start though it asks for its own company") {
  Cluster c;
  c.set_node(node("a"));
  Pod p = pod("p");
  p.labels = {{"app", "db"}};
  p.affinity = {term(labelled("app", "db"), "kubernetes.io/hostname")};
  CHECK(decide(c, p).node == "a");
  p.labels.clear();
  CHECK(decide(c, p).message == "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.");
}

TEST_CASE("namespace selectors widen pod terms") {
  Cluster c;
  c.set_node(node("a"));
  c.set_node(node("b"));
  c.set_namespace("team", {{"kind", "team"}});
  Pod web = pod("web");
  web.ns = "team";
  web.labels = {{"app", "web"}};
  c.add_pod(on(web, "b"));
  Pod p = pod("p");
  PodTerm t = term(labelled("app", "web"), "kubernetes.io/hostname");
  t.namespaces.clear();
  t.namespace_selector = labelled("kind", "team");
  p.affinity = {t};
  CHECK(decide(c, p).node == "b");
}

TEST_CASE("hard spreading keeps the skew, soft spreading prefers the emptier side") {
  Cluster c;
  for (std::string name : {"a", "b", "c"}) {
    Node n = node(name);
    n.labels["zone"] = name == "c" ? "z2" : "z1";
    c.set_node(n);
  }
  Pod p = pod("p");
  p.labels = {{"app", "web"}};
  p.spread = {{"zone", 1, true, labelled("app", "web"), 1, true, false}};
  Pod first = p;
  first.uid = "first";
  c.add_pod(on(first, "a"));
  CHECK(decide(c, p).node == "c");
  Pod full = pod("full", 4000);
  c.add_pod(on(full, "c"));
  CHECK(decide(c, p).message == "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match pod topology spread constraints.");
  p.spread[0].hard = false;
  CHECK(decide(c, p).node == "b");
}

TEST_CASE("siblings are spread without being told to") {
  Cluster c;
  c.set_node(node("a"));
  c.set_node(node("b"));
  std::map<std::string, int> counts;
  for (int i = 0; i < 10; ++i) {
    Pod p = pod("p" + std::to_string(i));
    p.owner_uid = "rs";
    Decision d = decide(c, p, uint32_t(i));
    ++counts[d.node];
    c.add_pod(on(p, d.node));
  }
  CHECK(counts["a"] == 5);
  CHECK(counts["b"] == 5);
}

TEST_CASE("PreferNoSchedule is avoided where possible") {
  Cluster c;
  Node n = node("a", 16000, 65536);
  n.taints = {{"x", "", "PreferNoSchedule"}};
  c.set_node(n);
  c.set_node(node("b"));
  CHECK(decide(c, pod("p")).node == "b");
}

TEST_CASE("preemption takes the fewest, least important pods and leaves the table as it was") {
  Cluster c;
  c.set_node(node("a", 1000));
  c.set_node(node("b", 1000));
  auto lower = [](std::string name, int64_t cpu, int32_t priority) {
    Pod p = pod(name, cpu);
    p.priority = priority;
    return p;
  };
  c.add_pod(on(lower("a1", 500, 1), "a"));
  c.add_pod(on(lower("a2", 500, 5), "a"));
  c.add_pod(on(lower("b1", 1000, 3), "b"));
  Pod p = pod("p", 400);
  p.priority = 10;
  Decision d = decide(c, p);
  REQUIRE(d.node.empty());
  Preemption r = preempt(c, p, d.preemptable, {});
  CHECK(r.node == "a");
  REQUIRE(r.victims.size() == 1);
  CHECK(r.victims[0]->name == "a1");
  CHECK(c.node("a")->pods.size() == 2);
  CHECK(c.node("b")->pods.size() == 1);
  // A budget that allows nothing moves the choice.
  Budget b{"default", {}, 0};
  b.pods = {false, {}};
  Pod labelled_victim = lower("a1", 500, 1);
  labelled_victim.labels = {{"app", "guarded"}};
  c.add_pod(on(labelled_victim, "a"));
  b.pods = labelled("app", "guarded");
  r = preempt(c, p, d.preemptable, {b});
  REQUIRE(r.victims.size() == 1);
  CHECK(r.victims[0]->name != "a1");
  p.priority = 0;
  r = preempt(c, p, d.preemptable, {});
  CHECK(r.node.empty());
  CHECK(r.message == "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.");
}

TEST_CASE("room is kept for a nominated pod against less important ones") {
  Cluster c;
  c.set_node(node("a", 1000));
  Pod vip = pod("vip", 800);
  vip.priority = 10;
  c.nominate(std::make_shared<const Pod>(vip), "a");
  CHECK(decide(c, pod("p", 300)).node.empty());
  CHECK(decide(c, vip).node == "a");
}
