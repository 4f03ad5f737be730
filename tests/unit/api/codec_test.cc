#include "api/codec.h"

#include <catch2/catch.hpp>

#include "api/types/apps_v1.h"
#include "api/types/core_v1.h"

TEST_CASE("a deployment survives decoding and encoding") {
  const char* text =
      R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"replicas":3,)"
      R"("selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c",)"
      R"("image":"nginx","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1","memory":"64Mi"}},)"
      R"("livenessProbe":{"httpGet":{"path":"/","port":"http"},"periodSeconds":5}}]}},)"
      R"("strategy":{"rollingUpdate":{"maxUnavailable":0,"maxSurge":"25%"}}}})";
  auto d = api::decode<api::apps::Deployment>(text);
  REQUIRE(d);
  CHECK(d->spec.replicas == 3);
  CHECK(d->spec.strategy->rollingUpdate->maxUnavailable.present);
  CHECK(d->spec.template_.spec.containers[0].livenessProbe->httpGet->port.text == "http");
  CHECK(api::encode(*d) == text);
  auto again = *d;
  CHECK(again == *d);
  again.spec.template_.spec.containers[0].image = "other";
  CHECK_FALSE(again == *d);
}

TEST_CASE("secret data is base64 in JSON and raw in the struct") {
  auto s = api::decode<api::core::Secret>(R"({"metadata":{"name":"s"},"data":{"a":"AAEC"}})");
  REQUIRE(s);
  CHECK(s->data.at("a") == std::string("\0\1\2", 3));
  CHECK(api::encode(*s) == R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"a":"AAEC"}})");
}

TEST_CASE("unknown fields and nulls are ignored, wrong types name their path") {
  auto p = api::decode<api::core::Pod>(R"({"metadata":{"creationTimestamp":null},"spec":{"containers":[{"name":"c","bogus":1}]},"x":{}})");
  REQUIRE(p);
  CHECK(p->metadata.creationTimestamp.empty());
  auto bad = api::decode<api::core::Pod>(R"({"spec":{"containers":[{"name":"c"},{"name":5}]}})");
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code == 400);
  CHECK(bad.error().message == "spec.containers[1].name: expected string");
}
