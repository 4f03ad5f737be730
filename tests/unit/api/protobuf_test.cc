#include "api/protobuf.h"

#include <catch2/catch.hpp>

#include "base/bytes.h"

namespace {
std::string round_trip(std::string_view text) {
  auto v = base::parse_json(text);
  REQUIRE(v);
  auto bytes = api::to_protobuf(*v);
  REQUIRE(bytes);
  CHECK(api::has_protobuf_envelope(*bytes));
  auto back = api::from_protobuf(*bytes);
  if (!back) FAIL(back.error().message);
  CHECK(*back == *v);
  return *bytes;
}
}  // namespace

TEST_CASE("objects survive protobuf") {
  round_trip(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"a":"1"}},)"
             R"("spec":{"volumes":[{"name":"v","emptyDir":{"sizeLimit":"1Gi"}}],"containers":[{"name":"c","image":"i","env":[{"name":"E","valueFrom":)"
             R"({"configMapKeyRef":{"name":"cm","key":"k"}}}],"livenessProbe":{"httpGet":{"port":"http"},"periodSeconds":5}}],"priority":0},)"
             R"("status":{"phase":"Running"}})");
  round_trip(R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"ports":[{"port":80,"targetPort":8080},{"port":81,"targetPort":"x"}]}})");
  round_trip(R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"a":"AAEC"},"type":"Opaque"})");
  round_trip(R"({"apiVersion":"apps/v1","kind":"DeploymentList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"d"},"spec":{"replicas":0,)"
             R"("selector":{},"template":{}}}]})");
  round_trip(R"({"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"},"spec":{"renewTime":"2026-01-02T03:04:05.678901Z"}})");
  round_trip(R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"t"},"status":{"authenticated":true,"user":{"username":"u",)"
             R"("extra":{"k":["a","b"]}}}})");
  round_trip(R"({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","spec":{"group":"g","names":{"plural":"xs","kind":"X"},)"
             R"("scope":"Cluster","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","default":{"a":[1]},)"
             R"("properties":{"l":{"items":{"type":"string"},"additionalProperties":false}}}}}]}})");
  round_trip(R"({"apiVersion":"metrics.k8s.io/v1beta1","kind":"NodeMetrics","timestamp":"2026-01-02T03:04:05Z","window":"1m30.5s","usage":{"cpu":"1"}})");
  round_trip(R"({"apiVersion":"apps/v1","kind":"DeleteOptions","gracePeriodSeconds":0,"propagationPolicy":"Background"})");
}

TEST_CASE("the bytes are those other implementations write") {
  // Envelope: TypeMeta{apiVersion, kind}, raw, two empty strings. Namespace{metadata{name}}.
  std::string bytes = round_trip(R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"}})");
  CHECK(base::hex_encode(bytes) == "6b3873000a0f0a0276311209" "4e616d657370616365" "12050a030a0178" "1a002200");
}

TEST_CASE("malformed protobuf is refused, never trusted") {
  auto good = api::to_protobuf(*base::parse_json(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"abc"},"spec":{"containers":[{"name":"c"}]}})"));
  REQUIRE(good);
  for (size_t n = 0; n < good->size(); ++n) (void)api::from_protobuf(good->substr(0, n));
  for (size_t i = 4; i < good->size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = *good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      (void)api::from_protobuf(bad);
    }
  }
  CHECK(api::from_protobuf("x").error().code == 400);
  CHECK(api::to_protobuf(*base::parse_json(R"({"apiVersion":"meta.k8s.io/v1","kind":"Table"})")).error().code == 406);
}
