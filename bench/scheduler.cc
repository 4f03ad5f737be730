// Decisions of the scheduler per second and core, without the API: each decision is counted in the table before the next one is taken.
// Prints JSON: by case and number of nodes, decisions per second.
#include <chrono>
#include <functional>

#include <fmt/format.h>

#include "server/scheduler/decision.h"

namespace {

using namespace server::scheduler;

Cluster cluster(int nodes) {
  Cluster c;
  for (int i = 0; i < nodes; ++i) {
    Node n;
    n.name = fmt::format("node-{}", i);
    n.labels = {{"kubernetes.io/hostname", n.name},
                {"topology.kubernetes.io/zone", fmt::format("zone-{}", i % 3)},
                {"disk", i % 2 ? "ssd" : "hdd"}};
    n.allocatable = {32'000, int64_t(128) << 30, int64_t(1) << 40, 250, {}};
    c.set_node(std::move(n));
  }
  return c;
}

Pod pod(int i) {
  Pod p;
  p.ns = "default";
  p.name = p.uid = fmt::format("pod-{}", i);
  p.labels = {{"app", fmt::format("app-{}", i % 10)}};
  p.request = {100, int64_t(128) << 20, 0, 1, {}};
  p.scored_cpu = 100;
  p.scored_memory = int64_t(128) << 20;
  return p;
}

Selector own_app(const Pod& p) { return {false, {{"app", Requirement::Op::in, {p.labels.at("app")}}}}; }

double rate(int nodes, int pods, const std::function<void(Pod&)>& shape) {
  Cluster c = cluster(nodes);
  auto begin = std::chrono::steady_clock::now();
  std::chrono::steady_clock::duration deciding{};
  int placed = 0;
  for (int i = 0; i < pods; ++i) {
    Pod p = pod(i);
    shape(p);
    auto start = std::chrono::steady_clock::now();
    Decision d = decide(c, p, uint32_t(i));
    deciding += std::chrono::steady_clock::now() - start;
    if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(5)) pods = i + 1;
    if (d.node.empty()) continue;
    ++placed;
    p.node_name = std::move(d.node);
    c.add_pod(std::make_shared<const Pod>(std::move(p)));
  }
  return double(placed) / std::chrono::duration<double>(deciding).count();
}

}  // namespace

int main() {
  struct Case {
    const char* name;
    std::function<void(Pod&)> shape;
  };
  const Case cases[] = {
      {"simple", [](Pod&) {}},
      {"replica set", [](Pod& p) { p.owner_uid = p.labels.at("app"); }},
      {"node selector", [](Pod& p) { p.node_selector = {{"disk", Requirement::Op::in, {"ssd"}}}; }},
      {"zone spread", [](Pod& p) { p.spread = {{"topology.kubernetes.io/zone", 1, true, own_app(p), 1, true, false}}; }},
      {"preferred anti-affinity", [](Pod& p) {
         PodTerm t;
         t.pods = own_app(p);
         t.namespaces = {p.ns};
         t.topology_key = "kubernetes.io/hostname";
         t.weight = 100;
         p.preferred_anti_affinity = {t};
       }},
  };
  fmt::print("{{");
  bool first = true;
  for (const Case& c : cases) {
    fmt::print("{}\n  \"{}\": {{", first ? "" : ",", c.name);
    first = false;
    for (int nodes : {100, 500, 1000, 5000}) fmt::print("{}\"{}\": {:.0f}", nodes == 100 ? "" : ", ", nodes, rate(nodes, 10'000, c.shape));
    fmt::print("}}");
  }
  fmt::print("\n}}\n");
}
