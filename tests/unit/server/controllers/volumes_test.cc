#include <catch2/catch.hpp>

#include "api/types/storage_v1.h"
#include "server/controllers/all.h"
#include "server/controllers/objects.h"
#include "tests/unit/server/eventually.h"
#include "tests/unit/server/fake_client.h"

using namespace std::chrono_literals;
using testing::eventually;
using testing::FakeClient;
namespace core = api::core;
using Claim = core::PersistentVolumeClaim;
using Volume = core::PersistentVolume;

namespace {

Claim claim(std::string name, std::string size, std::string storage_class = {}) {
  Claim c;
  c.metadata.name = std::move(name);
  c.metadata.namespace_ = "default";
  c.spec.accessModes = {"ReadWriteOnce"};
  c.spec.resources.emplace().requests["storage"] = std::move(size);
  c.spec.storageClassName = std::move(storage_class);
  c.status.phase = "Pending";
  return c;
}
Volume volume(std::string name, std::string size, std::string policy = "Retain") {
  Volume v;
  v.metadata.name = std::move(name);
  v.spec.capacity["storage"] = std::move(size);
  v.spec.accessModes = {"ReadWriteOnce"};
  v.spec.hostPath.emplace().path = "/x";
  v.spec.persistentVolumeReclaimPolicy = std::move(policy);
  v.status.phase = "Pending";
  return v;
}
core::Node node(std::string name) {
  core::Node n;
  n.metadata.name = name;
  n.metadata.labels["kubernetes.io/hostname"] = name;
  n.metadata.annotations["appliance.dev/storage-dir"] = "/data/storage";
  return n;
}

template <class Body>
void with_controllers(Body body) {
  base::Runtime runtime(2);
  FakeClient client;
  client.put(node("n1"));
  server::Controllers controllers(runtime,
                                  [&](const std::string&) { return std::shared_ptr<api::Client>(std::shared_ptr<void>(), &client); }, {});
  base::run_to_end(runtime, [](FakeClient& c, server::Controllers& k, Body& b) -> base::Task<> {
    k.start();
    co_await b(c);
    co_await k.stop();
  }(client, controllers, body));
}

std::string phase(FakeClient& c, std::string name) {
  auto v = c.find<Volume>("", name);
  return v ? v->status.phase : "gone";
}
bool bound(FakeClient& c, std::string name, std::string to) {
  auto now = c.find<Claim>("default", name);
  return now && now->status.phase == "Bound" && now->spec.volumeName == to && now->status.capacity == c.find<Volume>("", to)->spec.capacity;
}

}  // namespace

TEST_CASE("claims get the volume that suits them, one each, and volumes outlive their claims as their policy says") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    c.put(claim("early", "2Gi"));
    co_await eventually([&] {
      for (auto& e : c.all<core::Event>())
        if (e.reason == "FailedBinding") return true;
      return false;
    });
    c.put(volume("small", "1Gi"));
    c.put(volume("large", "10Gi"));
    co_await eventually([&] { return bound(c, "early", "large") && phase(c, "large") == "Bound" && phase(c, "small") == "Available"; });
    CHECK(c.find<Volume>("", "large")->spec.claimRef->uid == c.find<Claim>("default", "early")->metadata.uid);
    c.put(claim("one", "1Gi"));
    c.put(claim("two", "1Gi"));
    co_await eventually([&] { return bound(c, "one", "small") || bound(c, "two", "small"); });
    CHECK(bound(c, "one", "small") != bound(c, "two", "small"));
    c.erase<Claim>("default", "early");
    co_await eventually([&] { return phase(c, "large") == "Released"; });
    // Made free by its administrator, it serves again.
    auto v = *c.find<Volume>("", "large");
    v.spec.claimRef.reset();
    c.put(v);
    co_await eventually([&] { return bound(c, "one", "large") || bound(c, "two", "large"); });
    // Nobody here can delete what it did not make.
    c.put(volume("other", "50Gi", "Delete"));
    c.put(claim("big", "40Gi"));
    co_await eventually([&] { return bound(c, "big", "other"); });
    c.erase<Claim>("default", "big");
    co_await eventually([&] { return phase(c, "other") == "Failed"; });
    // A volume that is taken away leaves its claim lost.
    auto which = bound(c, "one", "large") ? "one" : "two";
    c.erase<Volume>("", "large");
    co_await eventually([&] { return c.find<Claim>("default", which)->status.phase == "Lost"; });
  });
}

TEST_CASE("a claim of class local-path becomes a directory of the node its pod was given") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    co_await eventually([&] { return c.find<api::storage::StorageClass>("", "local-path").has_value(); });
    CHECK(c.find<api::storage::StorageClass>("", "local-path")->metadata.annotations["storageclass.kubernetes.io/is-default-class"] ==
          "true");
    c.put(claim("data", "1Gi", "local-path"));
    co_await eventually([&] {
      for (auto& e : c.all<core::Event>())
        if (e.reason == "WaitForFirstConsumer") return true;
      return false;
    });
    CHECK(c.all<Volume>().empty());
    auto now = *c.find<Claim>("default", "data");
    now.metadata.annotations["volume.kubernetes.io/selected-node"] = "n1";
    now.metadata.finalizers = {"kubernetes.io/pvc-protection"};
    c.put(now);
    const std::string name = "pvc-" + now.metadata.uid;
    co_await eventually([&] { return bound(c, "data", name); });
    auto v = *c.find<Volume>("", name);
    CHECK(v.spec.local->path == "/data/storage/" + name + "_default_data");
    CHECK(v.spec.nodeAffinity->required->nodeSelectorTerms.at(0).matchExpressions.at(0).values.at(0) == "n1");
    CHECK(v.spec.persistentVolumeReclaimPolicy == "Delete");
    // Deleted while a pod on a node uses it, it stays; then it goes, and its volume waits for the node's agent.
    core::Pod p;
    p.metadata.name = "p";
    p.metadata.namespace_ = "default";
    p.spec.nodeName = "n1";
    core::Volume mounted;
    mounted.name = "data";
    mounted.persistentVolumeClaim.emplace().claimName = "data";
    p.spec.volumes.push_back(mounted);
    c.put(p);
    co_await eventually([&] {
      auto claim = c.find<Claim>("default", "data");
      return claim && !claim->metadata.finalizers.empty();
    });
    (void)co_await api::remove<Claim>(c, {"default", "data"});
    co_await base::sleep_for(50ms);
    CHECK(c.find<Claim>("default", "data").has_value());
    c.erase<core::Pod>("default", "p");
    co_await eventually([&] { return !c.find<Claim>("default", "data"); });
    co_await eventually([&] {
      auto left = c.find<Volume>("", name);
      return left && !left->metadata.deletionTimestamp.empty() &&
             left->metadata.finalizers == std::vector<std::string>{"appliance.dev/local-path"};
    });
    // A node that has gone for good is not waited for.
    c.erase<core::Node>("", "n1");
    co_await eventually([&] { return !c.find<Volume>("", name); });
  });
}

TEST_CASE("a replication controller keeps its pods") {
  with_controllers([](FakeClient& c) -> base::Task<> {
    core::ReplicationController r;
    r.metadata.name = "web";
    r.metadata.namespace_ = "default";
    r.spec.replicas = 2;
    r.spec.selector = {{"app", "web"}};
    r.spec.template_.metadata.labels = {{"app", "web"}};
    c.put(r);
    co_await eventually([&] {
      auto now = c.find<core::ReplicationController>("default", "web");
      return c.all<core::Pod>().size() == 2 && now->status.replicas == 2 && now->status.fullyLabeledReplicas == 2;
    });
    CHECK(c.all<core::Pod>().at(0).metadata.ownerReferences.at(0).kind == "ReplicationController");
    auto now = *c.find<core::ReplicationController>("default", "web");
    now.spec.replicas = 0;
    c.put(now);
    co_await eventually(
        [&] { return c.all<core::Pod>().empty() && c.find<core::ReplicationController>("default", "web")->status.replicas == 0; });
  });
}
