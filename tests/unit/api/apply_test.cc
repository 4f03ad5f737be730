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
    if (base::get_string(e, "manager") == name && base::get_string(e, "operation") == operation)
      return base::to_text(*base::find(e, "fieldsV1"));
  }
  return "none";
}

constexpr std::string_view kWeb =
    R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"replicas":3,)"
    R"("template":{"spec":{"containers":[{"name":"c","image":"nginx","ports":[{"containerPort":80,"protocol":"TCP"}]}]}}}})";

}  // namespace

TEST_CASE("creating records who owns what") {
  CHECK(
      fields(created(kWeb), "kubectl-create", "Update") ==
      R"({"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{)"
      R"("k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},)"
      R"("f:containerPort":{},"f:protocol":{}}}}}}}}})");
}

TEST_CASE("applying states only what was applied") {
  value v = applied(nullptr, kWeb);
  CHECK(
      fields(v, "tool", "Apply") ==
      R"({"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{)"
      R"(".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}}}}}}}})");
}

TEST_CASE("a field of another manager is a conflict, unless forced or equal") {
  value live = created(kWeb, "kubectl-client-side-apply");
  auto r = api::apply(deployment(), live,
                      parse(R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":5}})"),
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

  auto two = api::apply(
      deployment(), live,
      parse(R"({"metadata":{"name":"web"},"spec":{"replicas":5,"template":{"spec":{"containers":[{"name":"c","image":"x"}]}}}})"),
      manager("tool"), false);
  REQUIRE_FALSE(two);
  CHECK(two.error().message ==
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.replicas\n"
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

TEST_CASE("items that nobody could own are refused") {
  for (const char* containers :
       {R"([{"image":"x"}])", R"([{"name":"a"},{"name":"a","image":"x"}])", R"([{"name":"a","ports":[{"hostPort":1}]}])"}) {
    INFO(containers);
    value v = parse(std::string(R"({"spec":{"template":{"spec":{"containers":)") + containers + "}}}}");
    auto r = api::apply(deployment(), nullptr, v, manager("tool"), false);
    if (std::string_view(containers).find("ports") != std::string_view::npos) {
      CHECK(r);  // protocol has a default, so there is a key
    } else {
      REQUIRE_FALSE(r);
      CHECK(r.error().code == 400);
      CHECK(r.error().message.find(".spec.template.spec.containers: element") != std::string::npos);
    }
  }
}

TEST_CASE("an item that is no longer applied goes as a whole unless somebody else holds it") {
  value v = applied(nullptr, R"({"spec":{"template":{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"1"}]}}}})");
  // A controller sets one field in it: that does not make the item its own.
  value now = v;
  now.at_pointer("/spec/template/spec/containers/1").as_object()["image"] = "2";
  api::track_update(deployment(), v, now, manager("controller"));
  value without = applied(now, R"({"spec":{"template":{"spec":{"containers":[{"name":"a","image":"1"}]}}}})");
  CHECK(base::find_array(without, "spec.template.spec.containers")->size() == 1);
  // Another that applies it does.
  now = applied(v, R"({"spec":{"template":{"spec":{"containers":[{"name":"b","tty":true}]}}}})", "other");
  value held = applied(now, R"({"spec":{"template":{"spec":{"containers":[{"name":"a","image":"1"}]}}}})");
  const auto* items = base::find_array(held, "spec.template.spec.containers");
  REQUIRE(items->size() == 2);
  const value& b = base::get_string(items->at(0), "name") == "b" ? items->at(0) : items->at(1);
  CHECK(base::to_text(b) == R"({"name":"b","tty":true})");
}

TEST_CASE("lists are owned by item, by value or as a whole, maps by key, atomic structs as one") {
  // Finalizers are a set, tolerations atomic, labels a map, a selector atomic.
  value v = applied(
      nullptr,
      R"({"metadata":{"finalizers":["a/x"],"labels":{"l":"1"}},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"spec":{"tolerations":[{"key":"k"}]}}}})");
  CHECK(
      fields(v, "tool", "Apply") ==
      R"({"f:metadata":{"f:finalizers":{"v:\"a/x\"":{}},"f:labels":{"f:l":{}}},"f:spec":{"f:selector":{},"f:template":{"f:spec":{"f:tolerations":{}}}}})");
  v = applied(v, R"({"metadata":{"finalizers":["b/y"],"labels":{"m":"1"}}})", "other");
  CHECK(base::to_text(*base::find(v, "metadata.finalizers")) == R"(["b/y","a/x"])");
  auto r = api::apply(deployment(), v,
                      parse(R"({"spec":{"selector":{"matchLabels":{"c":"d"}},"template":{"spec":{"tolerations":[{"key":"l"}]}}}})"),
                      manager("other"), false);
  REQUIRE_FALSE(r);
  REQUIRE(r.error().causes.size() == 2);
  CHECK(r.error().causes[0].field == ".spec.selector");
  CHECK(r.error().causes[1].field == ".spec.template.spec.tolerations");
  v = applied(v, R"({"metadata":{"labels":{"l":"1"}}})");
  CHECK(base::to_text(*base::find(v, "metadata.finalizers")) == R"(["b/y"])");
  CHECK(base::to_text(*base::find(v, "metadata.labels")) == R"({"l":"1","m":"1"})");
  CHECK_FALSE(base::find(v, "spec.selector"));
}

TEST_CASE("keys with defaults tell items apart") {
  const char* port =
      R"({"spec":{"template":{"spec":{"containers":[{"name":"c","ports":[{"containerPort":53},{"containerPort":53,"protocol":"UDP"}]}]}}}})";
  value v = applied(nullptr, port);
  std::string owned = fields(v, "tool", "Apply");
  CHECK(owned.find(R"(k:{\"containerPort\":53,\"protocol\":\"TCP\"})") != std::string::npos);
  CHECK(owned.find(R"(k:{\"containerPort\":53,\"protocol\":\"UDP\"})") != std::string::npos);
  v = applied(v, R"({"spec":{"template":{"spec":{"containers":[{"name":"c","ports":[{"containerPort":53,"protocol":"TCP"}]}]}}}})");
  CHECK(base::find_array(base::find_array(v, "spec.template.spec.containers")->at(0), "ports")->size() == 1);
}

TEST_CASE("nested items change value and key as their manager says") {
  auto spec = [](std::string_view c) { return R"({"spec":{"template":{"spec":{"containers":[)" + std::string(c) + "]}}}}"; };
  value v = applied(nullptr, spec(R"({"name":"a","env":[{"name":"x","value":"1"},{"name":"y","value":"1"}]})"));
  v = applied(v, spec(R"({"name":"a","env":[{"name":"z","value":"1"},{"name":"y","value":"2"}]})"));
  CHECK(base::to_text(*base::find(base::find_array(v, "spec.template.spec.containers")->at(0), "env")) ==
        R"([{"name":"z","value":"1"},{"name":"y","value":"2"}])");
  v = applied(v, spec(R"({"name":"b","env":[{"name":"z","value":"1"}]})"));
  CHECK(base::to_text(*base::find(v, "spec.template.spec.containers")) == R"([{"name":"b","env":[{"name":"z","value":"1"}]}])");
  // A struct goes with what is in it; what a controller put there stays.
  v = applied(nullptr, R"({"spec":{"strategy":{"rollingUpdate":{"maxSurge":1}}}})");
  value now = v;
  now.at_pointer("/spec/strategy").as_object()["type"] = "RollingUpdate";
  api::track_update(deployment(), v, now, manager("controller"));
  now = applied(now, R"({"metadata":{"name":"d"}})");
  CHECK(base::to_text(*base::find(now, "spec.strategy")) == R"({"type":"RollingUpdate"})");
  v = applied(v, R"({"metadata":{"name":"d"}})");
  CHECK_FALSE(base::find(v, "spec.strategy"));
}

TEST_CASE("what an object had before anybody was recorded is owned together") {
  value live = parse(R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3}})");
  auto r = api::apply(deployment(), live, parse(R"({"spec":{"replicas":5}})"), manager("tool"), false);
  REQUIRE_FALSE(r);
  CHECK(r.error().message == "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas");
  value same = applied(live, R"({"spec":{"replicas":3}})");
  CHECK(fields(same, "before-first-apply", "Update") == R"({"f:spec":{"f:replicas":{}}})");
  CHECK(fields(same, "tool", "Apply") == R"({"f:spec":{"f:replicas":{}}})");
}

TEST_CASE("a change leaves the entries of those it does not touch as they are, and takes what it changes from the others") {
  value live = created(kWeb);
  const std::string before = fields(live, "kubectl-create", "Update");
  value scaled = live;
  scaled.at("spec").at("template").at("spec").at("containers").at(0).at("image") = "nginx:2";
  api::track_update(deployment(), live, scaled, manager("ci"));
  CHECK(fields(scaled, "ci", "Update") == R"({"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:image":{}}}}}}})");
  CHECK(fields(scaled, "kubectl-create", "Update") != before);
  CHECK(fields(scaled, "kubectl-create", "Update").find("f:image") == std::string::npos);
  // Again by the same manager: nobody's set changes.
  value again = scaled;
  again.at("spec").at("template").at("spec").at("containers").at(0).at("image") = "nginx:3";
  api::track_update(deployment(), scaled, again, manager("ci"));
  for (std::string_view name : {"ci", "kubectl-create"}) CHECK(fields(again, name, "Update") == fields(scaled, name, "Update"));
}

TEST_CASE("entries a client made up are not kept word by word") {
  value live = created(kWeb), sent = live;
  sent.at("metadata").at("managedFields").at(0).at("fieldsV1").as_object()["nonsense"] = "x";
  api::track_update(deployment(), live, sent, manager("ci"));
  CHECK(fields(sent, "kubectl-create", "Update") == fields(live, "kubectl-create", "Update"));
}

TEST_CASE("ownership that cannot be understood is taken from the object as it was") {
  value live = created(kWeb);
  value now = live;
  now.at_pointer("/metadata").as_object()["managedFields"] =
      parse(R"([{"manager":"x","operation":"Dance","fieldsType":"FieldsV1","fieldsV1":{}}])");
  now.at_pointer("/spec").as_object()["replicas"] = 9;
  api::track_update(deployment(), live, now, manager("x"));
  CHECK(fields(now, "kubectl-create", "Update").find("f:template") != std::string::npos);
  CHECK(fields(now, "x", "Update") == R"({"f:spec":{"f:replicas":{}}})");
  // More than ten writers become one for the oldest.
  value many = live;
  for (int i = 0; i < 15; ++i) {
    value next = many;
    base::make_object(next, "metadata.labels")["l" + std::to_string(i)] = "1";
    api::track_update(deployment(), many, next, {"writer-" + std::to_string(i), {}, "2026-01-01T00:00:" + std::to_string(10 + i) + "Z"});
    many = std::move(next);
  }
  CHECK(base::find_array(many, "metadata.managedFields")->size() == 10);
  CHECK(fields(many, "ancient-changes", "Update").find("f:l0") != std::string::npos);
}
