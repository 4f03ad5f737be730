#include <catch2/catch.hpp>

#include "agent/join.h"
#include "agent/node/node_object.h"
#include "agent/pods/image_puller.h"
#include "base/bytes.h"

using namespace agent;

TEST_CASE("join tokens") {
  std::string hash(64, 'a');
  auto t = parse_join_token("A10" + hash + "::server:secret\n");
  REQUIRE(t);
  CHECK(t->ca_hash == hash);
  CHECK(t->secret == "A10" + hash + "::server:secret");
  CHECK(parse_join_token("justasecret")->ca_hash.empty());
  CHECK_FALSE(parse_join_token(""));
  CHECK_FALSE(parse_join_token("A10abc::server:x"));
  CHECK_FALSE(parse_join_token("A10" + hash + "::"));
  CHECK_FALSE(parse_join_token("K10" + hash + "::server:x"));
}

TEST_CASE("a signing request has a key") {
  auto r = make_signing_request("n1");
  REQUIRE(r);
  CHECK(r->key_pem.find("PRIVATE KEY") != std::string::npos);
  CHECK(r->csr_pem.find("CERTIFICATE REQUEST") != std::string::npos);
  CHECK_FALSE(read_certificate(r->csr_pem));
}

TEST_CASE("taints") {
  auto t = parse_taint("dedicated=gpu:NoSchedule");
  REQUIRE(t);
  CHECK(t->key == "dedicated");
  CHECK(t->value == "gpu");
  CHECK(t->effect == "NoSchedule");
  CHECK(parse_taint("key:NoExecute")->value.empty());
  CHECK_FALSE(parse_taint("key=value"));
  CHECK_FALSE(parse_taint("key=value:Sometimes"));
}

TEST_CASE("a node's status keeps transition times of conditions that stay") {
  AgentOptions o;
  o.node_name = "n1";
  NodeFacts f;
  f.machine.cpus = 4;
  f.machine.memory_bytes = 8ull << 30;
  f.addresses = {"192.0.2.1"};
  auto first = make_node_status(o, f, {}, "t1");
  f.network_ready = true;
  auto second = make_node_status(o, f, first, "t2");
  for (const auto& c : second.conditions) {
    CHECK(c.lastTransitionTime == (c.type == "Ready" ? "t2" : "t1"));
    CHECK(c.status == (c.type == "Ready" ? "True" : "False"));
  }
  CHECK(second.capacity["cpu"] == "4");
  CHECK(second.capacity["memory"] == "8388608Ki");
  CHECK(second.addresses.size() == 2);
  // Resources that somebody else has announced can be used.
  f.extended["example.com/dongle"] = "4";
  auto third = make_node_status(o, f, second, "t3");
  CHECK(third.allocatable["example.com/dongle"] == "4");
  CHECK(third.allocatable["cpu"] == "4");
  o.control_plane = true;
  CHECK(node_labels(o, f.machine)["node-role.kubernetes.io/control-plane"] == "true");
}

TEST_CASE("pull secrets apply to the registry they name") {
  api::core::Secret s;
  auto auth = [](const std::string& up) { return base::base64_encode(up); };
  s.data[".dockerconfigjson"] = R"({"auths":{"https://index.docker.io/v1/":{"auth":")" + auth("hub:pw") + R"("},
    "registry.example:5000":{"username":"u","password":"p"},
    "registry.example:5000/team":{"username":"team","password":"t"},
    "*.corp.example":{"identitytoken":"id"}}})";
  auto hub = pull_credentials(s, "nginx");
  REQUIRE(hub.size() == 1);
  CHECK(hub[0].username == "hub");
  CHECK(hub[0].password == "pw");
  auto team = pull_credentials(s, "registry.example:5000/team/app:1");
  REQUIRE(team.size() == 2);
  CHECK(team[0].username == "team");
  CHECK(pull_credentials(s, "registry.example:5000/teams/app").size() == 1);
  CHECK(pull_credentials(s, "a.corp.example/x").at(0).identity_token == "id");
  CHECK(pull_credentials(s, "a.b.corp.example/x").empty());
}

TEST_CASE("pull policy defaults") {
  api::core::Container c;
  c.image = "nginx";
  CHECK(pull_policy(c) == "Always");
  c.image = "nginx:1.25";
  CHECK(pull_policy(c) == "IfNotPresent");
  c.imagePullPolicy = "Never";
  CHECK(pull_policy(c) == "Never");
}
