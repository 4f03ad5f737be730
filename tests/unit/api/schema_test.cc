#include "api/schema.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <iostream>

TEST_CASE("the built-in schema knows kinds, resources, lists and embedded fields") {
  auto start = std::chrono::steady_clock::now();
  const api::Schema& s = api::Schema::builtin();
  auto took = std::chrono::steady_clock::now() - start;
  CHECK(took < std::chrono::milliseconds(20));
  INFO(std::chrono::duration_cast<std::chrono::microseconds>(took).count());

  const api::Kind* deployment = s.kind("apps/v1", "Deployment");
  REQUIRE(deployment);
  CHECK(deployment->plural == "deployments");
  CHECK(deployment->short_names == std::vector<std::string>{"deploy"});
  CHECK(s.resource("apps", "v1", "deployments") == deployment);
  CHECK(s.kind("v1", "PodList"));
  CHECK(s.kind("v1", "Status"));
  CHECK(s.kind("v1", "Nonsense") == nullptr);

  const api::Type* volume = s.type("io.k8s.api.core.v1.Volume");
  REQUIRE(volume);
  const api::Field* host_path = volume->field("hostPath");
  REQUIRE(host_path);
  CHECK(host_path->number == 1);
  CHECK(host_path->embedded[0] == 2);
  const api::Type* pod_spec = s.type("io.k8s.api.core.v1.PodSpec");
  CHECK(pod_spec->field("containers")->type->list == api::ListKind::map);
  CHECK(pod_spec->field("containers")->type->patch_key == "name");
  CHECK(pod_spec->field("terminationGracePeriodSeconds")->default_value == 30);
}
