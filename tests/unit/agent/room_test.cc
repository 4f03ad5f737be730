#include <catch2/catch.hpp>

#include "agent/pods/room.h"

using namespace agent;

namespace {

api::core::Pod pod(std::string uid, std::string cpu, std::string memory = "0", int port = 0) {
  api::core::Pod p;
  p.metadata.uid = std::move(uid);
  auto& c = p.spec.containers.emplace_back();
  c.resources.emplace().requests = {{"cpu", std::move(cpu)}, {"memory", std::move(memory)}};
  if (port) {
    auto& x = c.ports.emplace_back();
    x.containerPort = x.hostPort.emplace(port);
  }
  return p;
}
std::string reason(const std::optional<Refusal>& r) { return r ? r->reason : "taken"; }

}  // namespace

TEST_CASE("a node takes pods while it has room") {
  Room room({{"cpu", "2"}, {"memory", "1Gi"}, {"pods", "3"}});
  CHECK(reason(room.take(pod("a", "1500m"), nullptr)) == "taken");
  auto refused = room.take(pod("b", "600m"), nullptr);
  REQUIRE(refused);
  CHECK(refused->reason == "OutOfcpu");
  CHECK(refused->message == "Pod was rejected: Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000");
  CHECK(reason(room.take(pod("b", "100m", "2Gi"), nullptr)) == "OutOfmemory");
  CHECK(reason(room.take(pod("b", "500m"), nullptr)) == "taken");
  CHECK(reason(room.take(pod("c", "0"), nullptr)) == "taken");
  CHECK(reason(room.take(pod("d", "0"), nullptr)) == "OutOfpods");
  CHECK(reason(room.take(pod("c", "0"), nullptr)) == "taken");  // it is here already
  room.release("a");
  CHECK(reason(room.take(pod("d", "1")  , nullptr)) == "taken");
  room.keep(pod("e", "4"));  // whatever it takes
  CHECK(reason(room.take(pod("f", "1m"), nullptr)) == "OutOfcpu");
}

TEST_CASE("host ports belong to one pod, by protocol and address") {
  Room room({{"cpu", "2"}, {"memory", "1Gi"}, {"pods", "110"}});
  CHECK(reason(room.take(pod("a", "0", "0", 80), nullptr)) == "taken");
  CHECK(reason(room.take(pod("b", "0", "0", 80), nullptr)) == "NodePorts");
  auto udp = pod("c", "0", "0", 80);
  udp.spec.containers[0].ports[0].protocol = "UDP";
  udp.spec.containers[0].ports[0].hostIP = "10.0.0.1";
  CHECK(reason(room.take(udp, nullptr)) == "taken");
  udp.metadata.uid = "d";
  udp.spec.containers[0].ports[0].hostIP = "10.0.0.2";
  CHECK(reason(room.take(udp, nullptr)) == "taken");
  udp.metadata.uid = "e";
  udp.spec.containers[0].ports[0].hostIP = "";
  CHECK(reason(room.take(udp, nullptr)) == "NodePorts");
}

TEST_CASE("labels and the required affinity select the node") {
  Room room({{"cpu", "2"}, {"pods", "110"}});
  api::core::Node node;
  node.metadata.name = "n";
  node.metadata.labels = {{"disk", "ssd"}, {"cores", "8"}};
  auto p = pod("a", "0");
  p.spec.nodeSelector = {{"disk", "hdd"}};
  CHECK(reason(room.take(p, &node)) == "NodeAffinity");
  p.spec.nodeSelector = {{"disk", "ssd"}};
  CHECK(reason(room.take(p, &node)) == "taken");
  auto& term = p.spec.affinity.emplace()
                   .nodeAffinity.emplace()
                   .requiredDuringSchedulingIgnoredDuringExecution.emplace()
                   .nodeSelectorTerms.emplace_back();
  CHECK_FALSE(selects_node(p, node));  // an empty term selects nothing
  auto& r = term.matchExpressions.emplace_back();
  r.key = "cores";
  for (auto [op, value, selected] : {std::tuple{"In", "8", true},
                                     {"NotIn", "8", false},
                                     {"Exists", "", true},
                                     {"DoesNotExist", "", false},
                                     {"Gt", "7", true},
                                     {"Gt", "8", false},
                                     {"Lt", "10", true},
                                     {"Lt", "x", false}}) {
    r.operator_ = op;
    r.values = {value};
    INFO(op << " " << value);
    CHECK(selects_node(p, node) == selected);
  }
  auto& f = term.matchFields.emplace_back();
  f.key = "metadata.name";
  f.operator_ = "In";
  f.values = {"n"};
  r.operator_ = "Exists";
  CHECK(selects_node(p, node));
  f.values = {"m"};
  CHECK_FALSE(selects_node(p, node));
}

TEST_CASE("sysctls of the pod's own namespaces only") {
  auto p = pod("a", "0");
  auto& list = p.spec.securityContext.emplace().sysctls;
  for (const char* good :
       {"net.core.somaxconn", "net/ipv4/ip_forward", "kernel.shm_rmid_forced", "kernel.msgmax", "kernel.sem", "fs.mqueue.msg_max"}) {
    list.clear();
    list.emplace_back().name = good;
    CHECK_FALSE(forbidden_sysctl(p));
  }
  for (const char* bad : {"vm.swappiness", "kernel.core_pattern", "kernel.panic", "fs.file-max"}) {
    list.clear();
    list.emplace_back().name = bad;
    CHECK(forbidden_sysctl(p) == bad);
  }
  list[0].name = "net.core.somaxconn";
  p.spec.hostNetwork = true;
  CHECK(forbidden_sysctl(p));
  Room room({{"cpu", "2"}, {"pods", "110"}});
  CHECK(reason(room.take(p, nullptr)) == "SysctlForbidden");
}

TEST_CASE("a pod that grows waits for room, or learns that there will never be any") {
  Room room({{"cpu", "2"}, {"memory", "1Gi"}, {"pods", "110"}});
  CHECK_FALSE(room.take(pod("a", "1"), nullptr));
  CHECK_FALSE(room.take(pod("b", "500m"), nullptr));
  CHECK(reason(room.change(pod("a", "3"))) == "Infeasible");
  CHECK(reason(room.change(pod("a", "1800m"))) == "Deferred");
  CHECK(reason(room.change(pod("a", "1500m"))) == "taken");
  CHECK(reason(room.change(pod("b", "100m"))) == "taken");
  CHECK(reason(room.change(pod("a", "1900m"))) == "taken");
  room.keep(pod("big", "10"));
  CHECK(reason(room.change(pod("a", "1"))) == "taken");  // less is always possible
}
