#include "api/apply.h"

#include <catch2/catch.hpp>

namespace {

using base::json::value;

value parse(std::string_view text) {
  auto v = base::parse_json(text);
  REQUIRE(v);
  return *v;
}
const api::Kind& deployment() { return *api::Schema::builtin().kind("apps/v1", "Deployment"); }
api::Manager manager(std::string name) { return {std::move(name), {}, "2026-01-01T00:00:00Z"}; }

value created(std::string_view text, std::string name = "kubectl-create") {
  value v = parse(text);
  api::track_update(deployment(), nullptr, v, manager(std::move(name)));
  return v;
}
value applied(const value& live, std::string_view text, std::string name = "tool", bool force = false) {
  auto r = api::apply(deployment(), live, parse(text), manager(std::move(name)), force);
  if (!r) FAIL(r.error().message);
  return *r;
}
std::string fields(const value& object, std::string_view name, std::string_view operation) {
  for (const value& e : *base::find_array(object, "metadata.managedFields")) {
    if (base::get_string(e, "manager") == name && base::get_string(e, "operation") == operation) return base::to_text(*base::find(e, "fieldsV1"));
  }
  return "none";
}

constexpr std::string_view kWeb =
    R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"replicas":3,)"
    R"("template":{"spec":{"containers":[{"name":"c","image":"nginx","ports":[{"containerPort":80,"protocol":"TCP"}]}]}}}})";

}  // namespace

TEST_CASE("creating records who owns what") {
  CHECK(fields(created(kWeb), "kubectl-create", "Update") ==
        R"({"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{)"
        R"("k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},)"
        R"("f:containerPort":{},"f:protocol":{}}}}}}}}})");
}

TEST_CASE("applying states only what was applied") {
  value v = applied(nullptr, kWeb);
  CHECK(fields(v, "tool", "Apply") ==
        R"({"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{)"
        R"(".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}}}}}}}})");
}

TEST_CASE("a field of another manager is a conflict, unless forced or equal") {
  value live = created(kWeb, "kubectl-client-side-apply");
  auto r = api::apply(deployment(), live, parse(R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":5}})"),
                      manager("tool"), false);
  REQUIRE_FALSE(r);
  CHECK(r.error().code == 409);
  CHECK(r.error().message == "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas");
  REQUIRE(r.error().causes.size() == 1);
  CHECK(r.error().causes[0].reason == "FieldManagerConflict");
  CHECK(r.error().causes[0].field == ".spec.replicas");

  value forced = applied(live, R"({"metadata":{"name":"web"},"spec":{"replicas":5}})", "tool", true);
  CHECK(base::get_int(forced, "spec.replicas") == 5);
  CHECK(fields(forced, "tool", "Apply") == R"({"f:spec":{"f:replicas":{}}})");
  CHECK(fields(forced, "kubectl-client-side-apply", "Update").find("f:replicas") == std::string::npos);

  value shared = applied(live, R"({"metadata":{"name":"web"},"spec":{"replicas":3}})");
  CHECK(fields(shared, "kubectl-client-side-apply", "Update").find("f:replicas") != std::string::npos);

  auto two = api::apply(deployment(), live, parse(R"({"metadata":{"name":"web"},"spec":{"replicas":5,"template":{"spec":{"containers":[{"name":"c","image":"x"}]}}}})"),
                        manager("tool"), false);
  REQUIRE_FALSE(two);
  CHECK(two.error().message == "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.replicas\n"
                               "- .spec.template.spec.containers[name=\"c\"].image");
}

TEST_CASE("what is no longer applied goes, unless another manager owns it") {
  value v = applied(nullptr, kWeb);
  v = applied(v, R"({"metadata":{"labels":{"app":"web"}},"spec":{"replicas":3}})", "other");
  v = applied(v, R"({"metadata":{"name":"web"},"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx"}]}}}})");
  CHECK(base::get_int(v, "spec.replicas") == 3);
  CHECK(base::get_string(v, "metadata.labels.app") == "web");
  CHECK(base::find(v, "spec.template.spec.containers")->get_array().size() == 1);
  CHECK_FALSE(base::find(base::find_array(v, "spec.template.spec.containers")->at(0), "ports"));
}

TEST_CASE("a removed list item goes with what the server added to it") {
  value v = applied(nullptr, R"({"spec":{"template":{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"1"}]}}}})");
  v.at_pointer("/spec/template/spec/containers/1").as_object()["imagePullPolicy"] = "Always";
  v = applied(v, R"({"spec":{"template":{"spec":{"containers":[{"name":"a","image":"1"}]}}}})");
  CHECK(base::find_array(v, "spec.template.spec.containers")->size() == 1);
}

TEST_CASE("an update takes fields over and drops what was removed") {
  value live = applied(nullptr, kWeb);
  value now = live;
  now.at_pointer("/spec").as_object()["replicas"] = 7;
  now.at_pointer("/metadata").as_object().erase("labels");
  api::track_update(deployment(), live, now, manager("kubectl-scale"));
  CHECK(fields(now, "kubectl-scale", "Update") == R"({"f:spec":{"f:replicas":{}}})");
  CHECK(fields(now, "tool", "Apply").find("f:replicas") == std::string::npos);
  CHECK(fields(now, "tool", "Apply").find("f:labels") == std::string::npos);
}

TEST_CASE("one empty entry resets ownership, status is owned apart") {
  value live = created(kWeb);
  value now = live;
  now.at_pointer("/metadata").as_object()["managedFields"] = base::json::array{base::json::object{}};
  api::track_update(deployment(), live, now, manager("x"));
  CHECK_FALSE(base::find(now, "metadata.managedFields"));

  value status = live;
  status.as_object()["status"] = base::json::object{{"replicas", 3}};
  api::Manager m = manager("controller");
  m.subresource = "status";
  api::track_update(deployment(), live, status, m);
  CHECK(fields(status, "controller", "Update") == R"({"f:status":{"f:replicas":{}}})");
}

TEST_CASE("applying the same again changes nothing") {
  value v = applied(nullptr, kWeb);
  auto again = api::apply(deployment(), v, parse(kWeb), {"tool", {}, "2027-01-01T00:00:00Z"}, false);
  REQUIRE(again);
  CHECK(*again == v);
}
