#include "fixture.h"

#include <set>

#include "server/apiserver/auth/rbac.h"
#include "server/apiserver/bootstrap/default_roles.h"
#include "server/apiserver/bootstrap/role_reconciliation.h"
#include "server/apiserver/registry/metadata.h"

using namespace test;
using base::json::array;
using base::json::object;
using server::metadata_of;

namespace {

const api::Resource clusterroles{"rbac.authorization.k8s.io", "v1", "clusterroles"},
    clusterrolebindings{"rbac.authorization.k8s.io", "v1", "clusterrolebindings"};

object named(const std::string& kind, const std::string& name) {
  for (object& o : server::default_roles())
    if (server::text_of(o, "kind") == kind && server::text_of(metadata_of(o), "name") == name) return o;
  FAIL("there is no " << kind << " " << name);
  return {};
}

Task<bool> holds(std::function<Task<bool>()> f) {
  for (int i = 0; i < 400; ++i) {
    if (co_await f()) co_return true;
    co_await base::sleep_for(std::chrono::milliseconds(5));
  }
  co_return false;
}

}  // namespace

TEST_CASE("every default binding refers to a default role, and every name is there once") {
  std::set<std::string> names;
  auto all = server::default_roles();
  for (const object& o : all) {
    value v(o);
    CHECK(names.insert(text(v, "kind") + "/" + text(v, "metadata.namespace") + "/" + text(v, "metadata.name")).second);
  }
  for (const object& o : all) {
    value v(o);
    if (!o.contains("roleRef")) continue;
    const std::string ns = text(v, "roleRef.kind") == "Role" ? text(v, "metadata.namespace") : "";
    CHECK(names.contains(text(v, "roleRef.kind") + "/" + ns + "/" + text(v, "roleRef.name")));
  }
  for (const char* role : {"cluster-admin", "admin", "edit", "view", "system:kube-scheduler", "system:node-proxier", "system:monitoring",
                           "system:controller:job-controller"})
    CHECK(names.contains("ClusterRole//" + std::string(role)));
}

TEST_CASE("the default roles are valid objects of the API") {
  with_cluster([](Cluster c) -> Task<> {
    for (object o : server::default_roles()) {
      value v(o);
      const std::string kind = text(v, "kind"), ns = text(v, "metadata.namespace"), name = text(v, "metadata.name");
      api::Resource resource{"rbac.authorization.k8s.io", "v1", kind == "Role" ? "roles" : kind == "RoleBinding" ? "rolebindings" : kind == "ClusterRole" ? "clusterroles" : "clusterrolebindings"};
      metadata_of(o)["name"] = name + "-again";
      auto made = co_await c.admin->create(resource, {ns, ""}, base::to_text(o));
      if (!made) FAIL(name << ": " << made.error().message);
    }
  });
}

TEST_CASE("a default role gets back what it lacks and keeps what was added") {
  const object wanted = named("ClusterRole", "system:node-problem-detector");
  CHECK_FALSE(server::reconcile_role(wanted, wanted));
  object live = wanted;
  live["rules"] = array{object{{"verbs", array{"get"}}, {"apiGroups", array{""}}, {"resources", array{"pods"}}}};
  metadata_of(live).erase("labels");
  auto now = server::reconcile_role(wanted, live);
  REQUIRE(now);
  CHECK(now->object.at("rules").as_array().size() == 1 + wanted.at("rules").as_array().size());
  CHECK(metadata_of(now->object).contains("labels"));
  CHECK_FALSE(server::reconcile_role(wanted, now->object));
  // What a wider rule grants already is not missing.
  live = wanted;
  live["rules"] = array{object{{"verbs", array{"*"}}, {"apiGroups", array{"*"}}, {"resources", array{"*"}}}};
  CHECK_FALSE(server::reconcile_role(wanted, live));
  live["rules"] = array{};
  metadata_of(live)["annotations"].as_object()["rbac.authorization.kubernetes.io/autoupdate"] = "false";
  CHECK_FALSE(server::reconcile_role(wanted, live));
}

TEST_CASE("a default binding gets back its subjects, and its role") {
  const object wanted = named("ClusterRoleBinding", "system:basic-user");
  object live = wanted;
  live["subjects"] = array{object{{"kind", "User"}, {"apiGroup", "rbac.authorization.k8s.io"}, {"name", "jo"}}};
  auto now = server::reconcile_role(wanted, live);
  REQUIRE(now);
  CHECK_FALSE(now->replaced);
  CHECK(now->object.at("subjects").as_array().size() == 2);
  live["roleRef"].as_object()["name"] = "other";
  auto other = server::reconcile_role(wanted, live);
  REQUIRE(other);
  CHECK(other->replaced);
  CHECK(other->object.at("roleRef") == wanted.at("roleRef"));
  CHECK(other->object.at("subjects").as_array().size() == 2);
}

TEST_CASE("view, edit and admin gather the rules of labelled roles") {
  with_cluster([](Cluster c) -> Task<> {
    auto allowed = [&](std::string role, std::string verb, std::string group, std::string resource) -> Task<bool> {
      auto r = co_await c.admin->create(
          {"authorization.k8s.io", "v1", "subjectaccessreviews"}, {},
          base::to_text(
              object{{"apiVersion", "authorization.k8s.io/v1"},
                     {"kind", "SubjectAccessReview"},
                     {"spec", object{{"user", role},
                                     {"resourceAttributes",
                                      object{{"verb", verb}, {"group", group}, {"resource", resource}, {"namespace", "default"}}}}}}));
      REQUIRE(r);
      co_return base::get_bool(parse(*r), "status.allowed");
    };
    for (std::string role : {"view", "edit", "admin"})
      CHECK((co_await c.admin->create(clusterrolebindings, {}, R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"t-)" + role + R"("},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":")" + role + R"("},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":")" + role + R"("}]})")));
    CHECK((co_await holds([&]() { return allowed("admin", "create", "rbac.authorization.k8s.io", "roles"); })));
    CHECK((co_await allowed("view", "list", "", "pods")));
    CHECK((co_await allowed("admin", "list", "", "pods")));
    CHECK((co_await allowed("admin", "create", "apps", "deployments")));
    CHECK_FALSE((co_await allowed("view", "list", "", "secrets")));
    CHECK_FALSE((co_await allowed("view", "create", "", "pods")));
    CHECK((co_await allowed("edit", "list", "", "secrets")));
    CHECK((co_await allowed("edit", "create", "apps", "deployments")));
    CHECK_FALSE((co_await allowed("edit", "create", "rbac.authorization.k8s.io", "roles")));
    CHECK_FALSE((co_await allowed("admin", "create", "", "resourcequotas")));
    CHECK_FALSE((co_await allowed("view", "get", "example.com", "widgets")));
    CHECK((co_await c.admin->create(
        clusterroles, {},
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"widgets","labels":{"rbac.authorization.k8s.io/aggregate-to-view":"true"}},"rules":[{"apiGroups":["example.com"],"resources":["widgets"],"verbs":["get"]}]})")));
    CHECK((co_await holds([&]() { return allowed("view", "get", "example.com", "widgets"); })));
  });
}

TEST_CASE("a label that makes a role part of another is a grant too") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(
        clusterroles, {},
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"editor"},"rules":[{"apiGroups":["rbac.authorization.k8s.io"],"resources":["clusterroles"],"verbs":["get","list","patch","update","create"]}]})")));
    CHECK((co_await c.admin->create(
        clusterrolebindings, {},
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"editor"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"editor"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"bob"}]})")));
    auto bob = c.api.client({"bob", "", {"system:authenticated"}, {}});
    CHECK((co_await holds([&]() -> Task<bool> { co_return (co_await bob->list(clusterroles, {}, {})).has_value(); })));
    const char* label = R"({"metadata":{"labels":{"rbac.authorization.k8s.io/aggregate-to-view":"true"}}})";
    auto refused = co_await bob->patch(clusterroles, {"", "system:kube-controller-manager"}, api::PatchType::merge, label);
    CHECK((!refused && refused.error().code == 403));
    CHECK((co_await bob->patch(clusterroles, {"", "editor"}, api::PatchType::merge, R"({"metadata":{"labels":{"a":"b"}}})")));
    auto gathering = co_await bob->create(
        clusterroles, {},
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"all"},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]},"rules":[]})");
    CHECK((!gathering && gathering.error().code == 403));
  });
}

TEST_CASE("a binding to a role that does not exist is named in the answer") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(
        clusterrolebindings, {},
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"x"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"gone"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"bob"}]})")));
    auto bob = c.api.client({"bob", "", {"system:authenticated"}, {}});
    CHECK((co_await holds([&]() -> Task<bool> {
      auto r = co_await bob->list(pods, "default", {});
      co_return !r && r.error().message.ends_with(": RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found");
    })));
    auto rules =
        co_await bob->create({"authorization.k8s.io", "v1", "selfsubjectrulesreviews"}, {},
                             R"({"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","spec":{"namespace":"default"}})");
    REQUIRE(rules);
    CHECK(base::get_bool(parse(*rules), "status.incomplete"));
    CHECK(text(parse(*rules), "status.evaluationError").find("gone") != std::string::npos);
  });
}

TEST_CASE("access reviews check their own fields") {
  with_cluster([](Cluster c) -> Task<> {
    auto ask = [&](std::string kind, std::string spec, std::string ns = "") -> Task<base::Result<value>> {
      std::string plural = kind == "SubjectAccessReview" ? "subjectaccessreviews" : "localsubjectaccessreviews";
      auto r = co_await c.admin->create({"authorization.k8s.io", "v1", plural}, {ns, ""},
                                        R"({"apiVersion":"authorization.k8s.io/v1","kind":")" + kind + R"(","spec":)" + spec + "}");
      if (!r) co_return std::unexpected(r.error());
      co_return parse(*r);
    };
    auto code = [&](std::string kind, std::string spec, std::string ns = "") -> Task<int> {
      auto r = co_await ask(kind, spec, ns);
      co_return r ? 201 : r.error().code;
    };
    CHECK((co_await code("SubjectAccessReview", R"({"user":"a"})")) == 422);
    CHECK((co_await code("SubjectAccessReview", R"({"resourceAttributes":{"verb":"get","resource":"pods"}})")) == 422);
    CHECK((co_await code("SubjectAccessReview", R"({"user":"a","resourceAttributes":{"verb":"get"},"nonResourceAttributes":{"verb":"get","path":"/"}})")) == 422);
    CHECK((co_await code("SubjectAccessReview", R"({"user":"a","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{}}})")) == 422);
    CHECK((co_await code("SubjectAccessReview", R"({"user":"a","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"a","operator":"In"}]}}})")) == 422);
    CHECK((co_await code("SubjectAccessReview", R"({"user":"a","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"a","operator":"In","values":["b"]}]}}})")) == 201);
    CHECK((co_await code("LocalSubjectAccessReview", R"({"user":"a","resourceAttributes":{"verb":"get","resource":"pods","namespace":"other"}})", "default")) == 422);
    CHECK((co_await code("LocalSubjectAccessReview", R"({"user":"a","nonResourceAttributes":{"verb":"get","path":"/"}})", "default")) == 422);
    auto broken = co_await ask("SubjectAccessReview", R"({"user":"a","resourceAttributes":{"verb":"list","resource":"pods","labelSelector":{"rawSelector":"a in ("}}})");
    REQUIRE(broken);
    CHECK(text(*broken, "status.evaluationError") == "spec.resourceAttributes.labelSelector ignored due to parse error");
    // A node may list the one Secret its pod uses.
    co_await default_account(c);
    CHECK((co_await c.admin->create(pods, {"default", ""},
                                    pod("p", R"(,"nodeName":"n1","volumes":[{"name":"v","secret":{"secretName":"used"}}])"))));
    auto node = [&](std::string selector) -> Task<bool> {
      auto r = co_await ask(
          "SubjectAccessReview",
          R"({"user":"system:node:n1","groups":["system:nodes"],"resourceAttributes":{"verb":"list","resource":"secrets","namespace":"default")" +
              selector + "}}");
      REQUIRE(r);
      co_return base::get_bool(*r, "status.allowed");
    };
    CHECK((co_await node(R"(,"fieldSelector":{"rawSelector":"metadata.name=used"})")));
    CHECK((co_await node(R"(,"fieldSelector":{"requirements":[{"key":"metadata.name","operator":"In","values":["used"]}]})")));
    CHECK_FALSE((co_await node(R"(,"fieldSelector":{"rawSelector":"metadata.name=other"})")));
    CHECK_FALSE((co_await node("")));
  });
}
