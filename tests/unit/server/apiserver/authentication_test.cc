#include "http_client.h"

using namespace test;

TEST_CASE("a service account's token works while what it is bound to lives, for its audience") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("p"))));
    api::WriteOptions token;
    token.subresource = "token";
    auto ask = [&](std::string spec) {
      return c.admin->create(serviceaccounts, {"default", "default"},
                             R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":)" + spec + "}", token);
    };
    auto bound = co_await ask(R"({"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"p"}})");
    auto foreign = co_await ask(R"({"audiences":["vault"]})");
    REQUIRE((bound && foreign));
    auto shorty = co_await ask(R"({"expirationSeconds":5})");
    CHECK((!shorty && shorty.error().code == 422));
    std::string jwt = text(parse(*bound), "status.token");
    Http http(c);
    std::vector<std::pair<std::string, std::string>> header = {{"Authorization", "Bearer " + jwt}};
    auto who = co_await http.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                                  R"({"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"})", header);
    CHECK(who.status == 201);
    CHECK(text(who.json(), "status.userInfo.username") == "system:serviceaccount:default:default");
    CHECK((co_await http.get("/api/v1/namespaces/default/pods", header)).status == 403);
    CHECK((co_await http.get("/api", {{"Authorization", "Bearer " + text(parse(*foreign), "status.token")}})).status == 401);
    auto review = co_await c.admin->create(
        {"authentication.k8s.io", "v1", "tokenreviews"}, {},
        R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"audiences":["vault"],"token":")" +
            text(parse(*foreign), "status.token") + "\"}}");
    REQUIRE(review);
    CHECK(base::get_bool(parse(*review), "status.authenticated"));
    CHECK((co_await c.admin->remove(pods, {"default", "p"})));
    CHECK((co_await http.get("/api", header)).status == 401);
    auto keys = co_await http.get("/openid/v1/jwks", {{"Authorization", "Bearer " + jwt}});
    CHECK(keys.status == 401);
  }, true);
}

TEST_CASE("a certificate of another CA is refused, nobody in particular is not") {
  with_cluster([](Cluster c) -> Task<> {
    auto other = *server::pki::make_authority("other", std::chrono::hours(1));
    auto foreign = *server::pki::client_pair(other, {"root", {"system:masters"}});
    Http stranger(c, foreign), nobody(c);
    CHECK((co_await stranger.get("/version")).status == 401);
    CHECK((co_await nobody.get("/version")).status == 200);
    CHECK((co_await nobody.get("/api")).status == 403);
    CHECK((co_await nobody.get("/openid/v1/jwks")).status == 403);
    // A token speaks for itself.
    co_await default_account(c);
    api::WriteOptions token;
    token.subresource = "token";
    auto made = co_await c.admin->create(serviceaccounts, {"default", "default"}, R"({"spec":{}})", token);
    REQUIRE(made);
    std::vector<std::pair<std::string, std::string>> header = {{"Authorization", "bearer " + text(parse(*made), "status.token")}};
    CHECK((co_await stranger.get("/version", header)).status == 200);
    auto keys = co_await nobody.get("/openid/v1/jwks", header);
    CHECK(keys.status == 200);
    CHECK(keys.headers.get("Content-Type") == "application/jwk-set+json");
    CHECK(text(keys.json(), "keys").empty());
    auto about = co_await nobody.get("/.well-known/openid-configuration", header);
    CHECK(text(about.json(), "issuer") == "https://kubernetes.default.svc.cluster.local");
    CHECK((co_await nobody.get("/version", {{"Authorization", "Bearer nonsense"}})).status == 401);
    CHECK((co_await nobody.get("/version", {{"Authorization", "Basic YTpi"}})).status == 200);
  }, true);
}

TEST_CASE("impersonation needs the right to it") {
  with_cluster([](Cluster c) -> Task<> {
    Http root(c, certificate(c, "root", {"system:masters"})), bob(c, certificate(c, "bob", {}));
    const std::string review = R"({"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"})",
                      path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    auto as = co_await root.send("POST", path, review, {{"Impersonate-User", "carol"}, {"Impersonate-Group", "devs"}});
    CHECK(text(as.json(), "status.userInfo.username") == "carol");
    auto refused = co_await bob.send("POST", path, review, {{"Impersonate-User", "carol"}});
    CHECK(refused.status == 403);
    CHECK((co_await root.send("POST", path, review, {{"Impersonate-Group", "devs"}})).status == 400);
    auto plain = co_await bob.send("POST", path, review);
    CHECK(text(plain.json(), "status.userInfo.username") == "bob");
    auto can = co_await root.send(
        "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        R"({"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"bob","resourceAttributes":{"verb":"get","resource":"pods","namespace":"default"}}})");
    CHECK_FALSE(base::get_bool(can.json(), "status.allowed"));
  }, true);
}

TEST_CASE("each part of an impersonated identity needs its own right") {
  with_cluster([](Cluster c) -> Task<> {
    const char* role = R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"actor"},"rules":[
      {"apiGroups":[""],"resources":["users"],"resourceNames":["carol"],"verbs":["impersonate"]},
      {"apiGroups":[""],"resources":["groups"],"resourceNames":["devs"],"verbs":["impersonate"]},
      {"apiGroups":[""],"resources":["serviceaccounts"],"verbs":["impersonate"]},
      {"apiGroups":["authentication.k8s.io"],"resources":["userextras/scopes"],"resourceNames":["view"],"verbs":["impersonate"]},
      {"apiGroups":["authentication.k8s.io"],"resources":["uids"],"resourceNames":["7"],"verbs":["impersonate"]}]})";
    CHECK((co_await c.admin->create({"rbac.authorization.k8s.io", "v1", "clusterroles"}, {}, role)));
    CHECK((co_await c.admin->create(
        {"rbac.authorization.k8s.io", "v1", "clusterrolebindings"}, {},
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"actor"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"actor"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"bob"}]})")));
    Http bob(c, certificate(c, "bob", {}));
    using Fields = std::vector<std::pair<std::string, std::string>>;
    auto as = [&](Fields headers) {
      return bob.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                      R"({"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"})", std::move(headers));
    };
    const Fields all = {
        {"Impersonate-User", "carol"}, {"Impersonate-Group", "devs"}, {"Impersonate-Uid", "7"}, {"Impersonate-Extra-Scopes", "view"}};
    Answer carol;
    for (int i = 0; i < 200 && carol.status != 201; ++i) {
      carol = co_await as(all);
      co_await base::sleep_for(std::chrono::milliseconds(5));
    }
    value who = carol.json();
    CHECK(text(who, "status.userInfo.uid") == "7");
    CHECK(base::to_text(*base::find(who, "status.userInfo.groups")) == R"(["devs","system:authenticated"])");
    CHECK(base::to_text(*base::find(who, "status.userInfo.extra")) == R"({"scopes":["view"]})");
    for (size_t i = 0; i < all.size(); ++i) {
      Fields wrong = all;
      wrong[i].second = "other";
      CHECK((co_await as(wrong)).status == 403);
    }
    auto robot = co_await as({{"Impersonate-User", "system:serviceaccount:team:robot"}});
    CHECK(base::to_text(*base::find(robot.json(), "status.userInfo.groups")) ==
          R"(["system:serviceaccounts","system:serviceaccounts:team","system:authenticated"])");
    // Not a ServiceAccount's name: the right over those does not reach it.
    for (const char* odd : {"system:serviceaccount:team", "system:serviceaccount:team:", "system:serviceaccount:a:b:c"})
      CHECK((co_await as({{"Impersonate-User", odd}})).status == 403);
  }, true);
}

TEST_CASE("a node joins with the token, keeps its name by its secret, and renews by its certificate") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c);
    auto key = *server::pki::make_key();
    auto csr = *server::pki::make_request(key, {"whatever", {"system:masters"}});
    auto body = [&](const std::string& node, const std::string& secret) {
      return base::to_text(base::json::object{{"nodeName", node}, {"nodeSecret", secret}, {"csr", csr}});
    };
    std::vector<std::pair<std::string, std::string>> header = {{"Authorization", "Bearer " + c.api.agent_token()}};
    const std::string secret(64, 'a');
    auto joined = co_await http.send("POST", "/v1-appliance/join", body("n7", secret), header);
    REQUIRE(joined.status == 200);
    auto facts = server::pki::read_certificate(text(joined.json(), "certificate"));
    REQUIRE(facts);
    CHECK(facts->subject.common_name == "system:node:n7");
    CHECK(facts->subject.organizations == std::vector<std::string>{"system:nodes"});
    CHECK((co_await http.send("POST", "/v1-appliance/join", body("n7", secret), header)).status == 200);
    CHECK((co_await http.send("POST", "/v1-appliance/join", body("n7", std::string(64, 'b')), header)).status == 403);
    CHECK((co_await http.send("POST", "/v1-appliance/join", body("n8", "short"), header)).status == 400);
    CHECK((co_await http.send("POST", "/v1-appliance/join", body("n1", secret), header)).status == 403);
    Http node(c, base::http::KeyPair{text(joined.json(), "certificate"), key});
    CHECK((co_await node.send("POST", "/v1-appliance/join", body("n7", ""))).status == 200);
    CHECK((co_await node.send("POST", "/v1-appliance/join", body("n1", ""))).status == 403);
    for (int i = 0; i < 10; ++i)
      CHECK((co_await http.send("POST", "/v1-appliance/join", body("n9", secret), {{"Authorization", "Bearer wrong"}})).status == 401);
    CHECK((co_await http.send("POST", "/v1-appliance/join", body("n9", secret), header)).status == 429);
  }, true);
}
