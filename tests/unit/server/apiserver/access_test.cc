#include "fixture.h"

#include "server/apiserver/auth/access.h"

using namespace test;
using server::Access;
using server::PolicyRule;

TEST_CASE("rules match verbs, groups, resources, subresources and names") {
  auto ask = [](std::string verb, std::string group, std::string resource, std::string sub = "", std::string name = "") {
    Access a;
    a.verb = verb, a.group = group, a.resource = resource, a.subresource = sub, a.name = name;
    return a;
  };
  PolicyRule r{{"get"}, {""}, {"pods", "*/scale"}, {}, {}};
  CHECK(rule_allows(r, ask("get", "", "pods")));
  CHECK_FALSE(rule_allows(r, ask("list", "", "pods")));
  CHECK_FALSE(rule_allows(r, ask("get", "apps", "pods")));
  CHECK_FALSE(rule_allows(r, ask("get", "", "pods", "log")));
  CHECK(rule_allows(r, ask("get", "", "anything", "scale")));
  PolicyRule named{{"*"}, {"*"}, {"*"}, {"a"}, {}};
  CHECK(rule_allows(named, ask("get", "", "pods", "", "a")));
  CHECK_FALSE(rule_allows(named, ask("get", "", "pods", "", "b")));
  CHECK_FALSE(rule_allows(named, ask("list", "", "pods")));
  PolicyRule url{{"get"}, {}, {}, {}, {"/healthz", "/apis/*"}};
  Access path;
  path.verb = "get";
  path.path = "/apis/apps/v1";
  CHECK(rule_allows(url, path));
  path.path = "/metrics";
  CHECK_FALSE(rule_allows(url, path));
  CHECK_FALSE(rule_allows(named, path));
}

TEST_CASE("owned rules cover wanted ones only as a whole") {
  std::vector<PolicyRule> owned = {
      {{"get", "list"}, {""}, {"pods"}, {}, {}}, {{"*"}, {"apps"}, {"*"}, {}, {}}, {{"get"}, {""}, {"secrets"}, {"one"}, {}}};
  CHECK(rules_cover(owned, {{"get"}, {""}, {"pods"}, {}, {}}));
  CHECK(rules_cover(owned, {{"delete"}, {"apps"}, {"deployments"}, {}, {}}));
  CHECK_FALSE(rules_cover(owned, {{"delete"}, {""}, {"pods"}, {}, {}}));
  CHECK_FALSE(rules_cover(owned, {{"*"}, {""}, {"pods"}, {}, {}}));
  CHECK(rules_cover(owned, {{"get"}, {""}, {"secrets"}, {"one"}, {}}));
  CHECK_FALSE(rules_cover(owned, {{"get"}, {""}, {"secrets"}, {}, {}}));
  CHECK_FALSE(rules_cover(owned, {{"get"}, {""}, {"pods/log"}, {}, {}}));
}

namespace {

server::UserInfo user(const std::string& name) { return {name, "", {"system:authenticated"}, {}}; }

Task<bool> eventually_allowed(std::shared_ptr<api::Client> client, api::Resource resource, std::string ns) {
  for (int i = 0; i < 200; ++i) {
    auto r = co_await client->list(resource, ns, {});
    if (r) co_return true;
    co_await base::sleep_for(std::chrono::milliseconds(5));
  }
  co_return false;
}

}  // namespace

TEST_CASE("nobody may do anything until a binding says so") {
  with_cluster([](Cluster c) -> Task<> {
    auto bob = c.api.client(user("bob"));
    auto r = co_await bob->list(pods, "default", {});
    REQUIRE(!r);
    CHECK(r.error().code == 403);
    CHECK(r.error().message ==
          "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"");
    CHECK((co_await c.admin->create(
        {"rbac.authorization.k8s.io", "v1", "rolebindings"}, {"default", ""},
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"b"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"bob"}]})")));
    CHECK((co_await eventually_allowed(bob, pods, "default")));
    CHECK(!(co_await bob->list(pods, "kube-system", {})));
    CHECK(!(co_await bob->list(secrets, "default", {})));
    CHECK(!(co_await bob->create(configmaps, {"default", ""}, configmap("a"))));
  });
}

TEST_CASE("a user grants nothing he lacks") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(
        {"rbac.authorization.k8s.io", "v1", "rolebindings"}, {"default", ""},
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"b"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"admin"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"bob"}]})")));
    auto bob = c.api.client(user("bob"));
    REQUIRE((co_await eventually_allowed(bob, pods, "default")));
    auto role = [](const std::string& name, const std::string& verb, const std::string& group, const std::string& resource) {
      return R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":")" + name + R"("},"rules":[{"verbs":[")" +
             verb + R"("],"apiGroups":[")" + group + R"("],"resources":[")" + resource + R"("]}]})";
    };
    api::Resource roles{"rbac.authorization.k8s.io", "v1", "roles"};
    CHECK((co_await bob->create(roles, {"default", ""}, role("ok", "get", "", "pods"))));
    auto more = co_await bob->create(roles, {"default", ""}, role("more", "get", "node.k8s.io", "runtimeclasses"));
    REQUIRE(!more);
    CHECK(more.error().code == 403);
    CHECK(more.error().message.find("is attempting to grant RBAC permissions not currently held") != std::string::npos);
    auto bind = co_await bob->create(
        {"rbac.authorization.k8s.io", "v1", "rolebindings"}, {"default", ""},
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"x"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"bob"}]})");
    CHECK((!bind && bind.error().code == 403));
  });
}

TEST_CASE("a node reads the secrets of its pods and changes itself, no more") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    for (const char* name : {"used", "other"}) {
      std::string body = std::string(R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":")") + name + R"("}})";
      CHECK((co_await c.admin->create(secrets, {"default", ""}, body)));
    }
    CHECK((co_await c.admin->create(pods, {"default", ""},
                                    pod("p", R"(,"nodeName":"n1","volumes":[{"name":"v","secret":{"secretName":"used"}}])"))));
    auto n1 = c.api.client(server::UserInfo::node("n1")), n2 = c.api.client(server::UserInfo::node("n2"));
    CHECK((co_await n1->get(secrets, {"default", "used"})));
    CHECK(!(co_await n1->get(secrets, {"default", "other"})));
    CHECK(!(co_await n2->get(secrets, {"default", "used"})));
    CHECK(!(co_await n1->list(secrets, "default", {})));
    CHECK((co_await n1->create(nodes, {}, R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}})")));
    CHECK(!(co_await n1->create(nodes, {}, R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n2"}})")));
    api::WriteOptions status;
    status.subresource = "status";
    CHECK((co_await n1->patch(pods, {"default", "p"}, api::PatchType::merge, R"({"status":{"phase":"Running"}})", status)));
    CHECK(!(co_await n2->patch(pods, {"default", "p"}, api::PatchType::merge, R"({"status":{"phase":"Failed"}})", status)));
    auto tainted =
        co_await n1->patch(nodes, {"", "n1"}, api::PatchType::merge, R"({"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]}})");
    CHECK((!tainted && tainted.error().code == 403));
    api::WriteOptions token;
    token.subresource = "token";
    CHECK(!(co_await n1->create(serviceaccounts, {"default", "default"}, R"({"spec":{}})", token)));
    CHECK((co_await n1->create(serviceaccounts, {"default", "default"},
                               R"({"spec":{"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"p"}}})", token)));
    CHECK(!(co_await n2->create(serviceaccounts, {"default", "default"},
                                R"({"spec":{"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"p"}}})", token)));
  });
}
