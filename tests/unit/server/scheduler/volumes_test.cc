#include <catch2/catch.hpp>

#include "server/scheduler/decision.h"
#include "server/scheduler/volumes.h"

using namespace server::scheduler;

namespace {

NodeTerm on(std::string host) { return {{{"kubernetes.io/hostname", Requirement::Op::in, {std::move(host)}}}, {}}; }

Volume volume(std::string name, int64_t size, std::optional<std::string> host = std::nullopt) {
  Volume v;
  v.name = std::move(name);
  v.storage_class = "local";
  v.mode = "Filesystem";
  v.available = true;
  v.capacity = size;
  v.access = {"ReadWriteOnce"};
  if (host) v.reach.emplace().push_back(on(*host));
  return v;
}
Claim claim(std::string name, int64_t size) {
  Claim c;
  c.ns = "default";
  c.name = std::move(name);
  c.uid = "uid-" + c.name;
  c.storage_class = "local";
  c.mode = "Filesystem";
  c.request = size;
  c.access = {"ReadWriteOnce"};
  return c;
}
std::map<std::string, VolumePtr> all(std::vector<Volume> list) {
  std::map<std::string, VolumePtr> out;
  for (Volume& v : list) out[v.name] = std::make_shared<const Volume>(v);
  return out;
}
std::string best(const Claim& c, std::vector<Volume> list, bool only_reserved = false) {
  auto v = best_volume(c, all(std::move(list)), only_reserved);
  return v ? v->name : "";
}

Cluster two_nodes() {
  Cluster out;
  for (std::string name : {"n1", "n2"}) {
    Node n;
    n.name = name;
    n.labels["kubernetes.io/hostname"] = name;
    n.allocatable.cpu = 1000;
    n.allocatable.memory = 1 << 30;
    n.allocatable.pods = 10;
    out.set_node(n);
  }
  return out;
}
Pod pod(std::vector<std::string> claims) {
  Pod p;
  p.ns = "default";
  p.name = p.uid = "p";
  p.claims = std::move(claims);
  p.request.pods = 1;
  return p;
}
template <class T>
std::shared_ptr<const T> ptr(T v) {
  return std::make_shared<const T>(std::move(v));
}

}  // namespace

TEST_CASE("the smallest volume that suits a claim is taken, and one reserved for it before all others") {
  Claim c = claim("a", 10);
  CHECK(best(c, {volume("big", 100), volume("fit", 10), volume("small", 9)}) == "fit");
  Volume other_class = volume("x", 10), other_mode = volume("y", 10), taken = volume("z", 10), deleted = volume("d", 10),
         busy = volume("b", 10);
  other_class.storage_class = "other";
  other_mode.mode = "Block";
  taken.claimed = true, taken.claim_ns = "default", taken.claim_name = "b";
  deleted.deleting = true;
  busy.available = false;
  CHECK(best(c, {other_class, other_mode, taken, deleted, busy}) == "");
  Volume reserved = volume("reserved", 50);
  reserved.claimed = true, reserved.claim_ns = "default", reserved.claim_name = "a";
  CHECK(best(c, {volume("fit", 10), reserved}) == "reserved");
  CHECK(best(c, {volume("fit", 10)}, true) == "");
  reserved.claim_uid = "an earlier claim of that name";
  CHECK(best(c, {reserved}) == "");
  c.access = {"ReadWriteMany"};
  CHECK(best(c, {volume("fit", 10)}) == "");
  c = claim("a", 10);
  c.labels.all.push_back({"tier", Requirement::Op::in, {"fast"}});
  Volume labelled = volume("labelled", 90);
  labelled.labels["tier"] = "fast";
  CHECK(best(c, {volume("fit", 10), labelled}) == "labelled");
}

TEST_CASE("a pod goes where its volumes are, waits for them, and says what it waits for") {
  Cluster cluster = two_nodes();
  Volumes known;
  auto needs = [&](std::vector<std::string> claims) { return volume_needs(known, cluster, pod(std::move(claims))); };
  CHECK(needs({"a"}).refusal == "persistentvolumeclaim \"a\" not found");
  Claim c = claim("a", 10);
  known.claims["default/a"] = ptr(c);
  CHECK(needs({"a"}).refusal == "pod has unbound immediate PersistentVolumeClaims");
  known.classes["local"] = ptr(StorageClass{no_provisioner, true, {}});
  // Nothing to bind: no node will do.
  VolumeNeeds none = needs({"a"});
  CHECK(none.refusal == "");
  REQUIRE(none.reach.size() == 1);
  Pod p = pod({"a"});
  p.reach = none.reach;
  CHECK(decide(cluster, p).message == "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.");
  // One volume on n2: the pod goes there, and gets it.
  known.volumes = all({volume("v", 10, "n2")});
  VolumeNeeds one = needs({"a"});
  p.reach = one.reach;
  CHECK(decide(cluster, p).node == "n2");
  auto chosen = choose_volumes(known, one.open, cluster.node("n2")->node);
  REQUIRE(chosen.size() == 1);
  CHECK(chosen[0].volume->name == "v");
  // Two claims never share it.
  known.claims["default/b"] = ptr(claim("b", 10));
  auto both = choose_volumes(known, needs({"a", "b"}).open, cluster.node("n2")->node);
  CHECK((both[0].volume != nullptr) != (both[1].volume != nullptr));
  // Bound: its node and no other.
  c.volume = "v";
  c.complete = true;
  known.claims["default/a"] = ptr(c);
  p.reach = needs({"a"}).reach;
  CHECK(decide(cluster, p).node == "n2");
  cluster.remove_node("n2");
  CHECK(decide(cluster, p).message == "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.");
}

TEST_CASE("what is provisioned comes to any node, and stays where it was begun") {
  Cluster cluster = two_nodes();
  Volumes known;
  known.classes["local"] = ptr(StorageClass{"appliance.dev/local-path", true, {}});
  Claim c = claim("a", 10);
  known.claims["default/a"] = ptr(c);
  VolumeNeeds free = volume_needs(known, cluster, pod({"a"}));
  CHECK(free.reach.empty());
  CHECK(free.open.size() == 1);
  CHECK(choose_volumes(known, free.open, cluster.node("n1")->node)[0].volume == nullptr);
  c.selected_node = "n1";
  known.claims["default/a"] = ptr(c);
  Pod p = pod({"a"});
  p.reach = volume_needs(known, cluster, p).reach;
  CHECK(decide(cluster, p).node == "n1");
  // One pod at a time.
  c.access = {"ReadWriteOncePod"};
  known.claims["default/a"] = ptr(c);
  Pod holder = pod({"a"});
  holder.uid = "holder";
  holder.node_name = "n1";
  cluster.add_pod(ptr(holder));
  CHECK(volume_needs(known, cluster, p).refusal ==
        "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode");
  c.deleting = true;
  known.claims["default/a"] = ptr(c);
  CHECK(volume_needs(known, cluster, p).refusal == "persistentvolumeclaim \"a\" is being deleted");
}
