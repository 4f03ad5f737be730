#include "http_client.h"

#include "base/time.h"
#include "server/apiserver/auth/bootstrap_tokens.h"
#include "server/apiserver/auth/jwt.h"
#include "server/apiserver/join/limited_token.h"

using namespace test;
using base::json::object;

namespace {

Task<base::Result<value>> request(Cluster c, std::string spec, std::shared_ptr<api::Client> who = nullptr) {
  api::WriteOptions token;
  token.subresource = "token";
  auto r = co_await (who ? who : c.admin)
               ->create(serviceaccounts, {"default", "default"},
                        R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":)" + spec + "}", token);
  if (!r) co_return std::unexpected(r.error());
  co_return parse(*r);
}

value claims_of(const value& issued) { return server::parse_jwt(text(issued, "status.token"))->claims; }

Task<value> review(Cluster c, std::string token, std::string audiences = "[]") {
  auto r = co_await c.admin->create({"authentication.k8s.io", "v1", "tokenreviews"}, {},
                                    R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":")" + token +
                                        R"(","audiences":)" + audiences + "}}");
  REQUIRE(r);
  co_return parse(*r);
}

std::string bootstrap_secret(const std::string& id, const std::string& more = "",
                             const std::string& type = "bootstrap.kubernetes.io/token") {
  return R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"bootstrap-token-)" + id + R"("},"type":")" + type +
         R"(","stringData":{"token-id":")" + id + R"(","token-secret":"0123456789abcdef","usage-bootstrap-authentication":"true")" + more +
         "}}";
}

}  // namespace

TEST_CASE("a pod's token names the pod and its node, and lives on after it should have been renewed") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    CHECK((co_await c.admin->create(nodes, {}, R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}})")));
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("p", R"(,"nodeName":"n1")"))));
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("elsewhere", R"(,"nodeName":"gone")"))));
    auto issued = co_await request(c, R"({"expirationSeconds":3607,"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"p"}})");
    REQUIRE(issued);
    value claims = claims_of(*issued);
    const int64_t issued_at = base::get_int(claims, "iat");
    CHECK(base::get_int(claims, "exp") - issued_at == 365 * 24 * 3600);
    const object& k8s = claims.as_object().at("kubernetes.io").as_object();
    CHECK(k8s.at("warnafter").as_int64() - issued_at == 3607);
    CHECK(base::get_int(*issued, "spec.expirationSeconds") == 3607);
    CHECK(k8s.at("node").as_object().at("name") == "n1");
    CHECK(k8s.at("node").as_object().contains("uid"));
    auto lost = co_await request(c, R"({"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"elsewhere"}})");
    REQUIRE(lost);
    CHECK_FALSE(claims_of(*lost).as_object().at("kubernetes.io").as_object().at("node").as_object().contains("uid"));
    value seen = co_await review(c, text(*issued, "status.token"));
    const object& extra = *base::find_object(seen, "status.user.extra");
    CHECK(extra.at("authentication.kubernetes.io/pod-name").as_array()[0] == "p");
    CHECK(extra.at("authentication.kubernetes.io/node-name").as_array()[0] == "n1");
    CHECK(extra.at("authentication.kubernetes.io/credential-id").as_array()[0].as_string() == "JTI=" + text(claims, "jti"));
    CHECK(text(seen, "status.user.uid") == text(parse(*(co_await c.admin->get(serviceaccounts, {"default", "default"}))), "metadata.uid"));
  });
}

TEST_CASE("a token request says what is wrong with it") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    CHECK((co_await c.admin->create(serviceaccounts, {"default", "other"},
                                    R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"other"}})")));
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("p", R"(,"nodeName":"n1","serviceAccountName":"other")"))));
    CHECK((co_await c.admin->create(
        pods, {"default", ""},
        pod("q",
            R"(,"nodeName":"n1","volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"audience":"vault","path":"t"}}]}}])"))));
    auto code = [&](std::string spec) -> Task<int> {
      auto r = co_await request(c, spec);
      co_return r ? 201 : r.error().code;
    };
    CHECK((co_await code(R"({"expirationSeconds":599})")) == 422);
    CHECK((co_await code(R"({"expirationSeconds":4294967297})")) == 422);
    CHECK((co_await code(R"({"expirationSeconds":4294967296})")) == 201);
    CHECK((co_await code(R"({"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"none"}})")) == 404);
    CHECK((co_await code(R"({"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"p"}})")) == 400);
    CHECK((co_await code(R"({"boundObjectRef":{"kind":"ConfigMap","apiVersion":"v1","name":"p"}})")) == 400);
    CHECK((co_await code(R"({"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"q","uid":"x"}})")) == 409);
    auto n1 = c.api.client(server::UserInfo::node("n1"));
    auto by_node = [&](std::string audiences) -> Task<int> {
      auto r =
          co_await request(c, R"({"audiences":)" + audiences + R"(,"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"q"}})", n1);
      co_return r ? 201 : r.error().code;
    };
    CHECK((co_await by_node("[]")) == 201);
    CHECK((co_await by_node(R"(["vault"])")) == 201);
    CHECK((co_await by_node(R"(["bank"])")) == 403);
    CHECK((co_await by_node(R"(["vault","bank"])")) == 403);
  });
}

TEST_CASE("a token ends with the Secret or Node it is bound to, and a new object of the name is another one") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    const std::string secret = R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"}})",
                      node = R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}})";
    CHECK((co_await c.admin->create(secrets, {"default", ""}, secret)));
    CHECK((co_await c.admin->create(nodes, {}, node)));
    auto by_secret = co_await request(c, R"({"boundObjectRef":{"kind":"Secret","apiVersion":"v1","name":"s"}})");
    auto by_node = co_await request(c, R"({"boundObjectRef":{"kind":"Node","apiVersion":"v1","name":"n"}})");
    REQUIRE((by_secret && by_node));
    auto holds = [&](const value& issued) -> Task<bool> {
      co_return base::get_bool(co_await review(c, text(issued, "status.token")), "status.authenticated");
    };
    CHECK((co_await holds(*by_secret)));
    CHECK((co_await holds(*by_node)));
    CHECK((co_await c.admin->remove(secrets, {"default", "s"})));
    CHECK((co_await c.admin->remove(nodes, {"", "n"})));
    CHECK((co_await c.admin->create(secrets, {"default", ""}, secret)));
    CHECK_FALSE((co_await holds(*by_secret)));
    CHECK_FALSE((co_await holds(*by_node)));
  });
}

TEST_CASE("a reviewed token is valid for the audiences asked for, or for none") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    auto issued = co_await request(c, R"({"audiences":["vault","bank"]})");
    REQUIRE(issued);
    const std::string token = text(*issued, "status.token");
    value good = co_await review(c, token, R"(["bank","other"])");
    CHECK(base::get_bool(good, "status.authenticated"));
    CHECK(*base::find_array(good, "status.audiences") == base::json::array{"bank"});
    value bad = co_await review(c, token);
    CHECK_FALSE(base::get_bool(bad, "status.authenticated"));
    CHECK(text(bad, "status.error") != "");
    auto empty = co_await c.admin->create({"authentication.k8s.io", "v1", "tokenreviews"}, {},
                                          R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{}})");
    CHECK((!empty && empty.error().code == 400));
  });
}

TEST_CASE("a token kept in a Secret is valid while the Secret holds it") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    auto unnamed = co_await c.admin->create(
        secrets, {"default", ""},
        R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"type":"kubernetes.io/service-account-token"})");
    CHECK((!unnamed && unnamed.error().code == 422));
    const std::string uid = text(parse(*(co_await c.admin->get(serviceaccounts, {"default", "default"}))), "metadata.uid");
    const std::string token = *c.api.secret_token("default", "default", uid, "s");
    CHECK_FALSE(base::get_bool(co_await review(c, token), "status.authenticated"));
    CHECK((co_await c.admin->create(
        secrets, {"default", ""},
        R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","annotations":{"kubernetes.io/service-account.name":"default"}},"type":"kubernetes.io/service-account-token","stringData":{"token":")" +
            token + "\"}}")));
    value seen = co_await review(c, token);
    CHECK(base::get_bool(seen, "status.authenticated"));
    CHECK(text(seen, "status.user.username") == "system:serviceaccount:default:default");
    CHECK_FALSE(base::get_bool(co_await review(c, token, R"(["vault"])"), "status.authenticated"));
    CHECK((co_await c.admin->patch(secrets, {"default", "s"}, api::PatchType::merge, R"({"stringData":{"token":"another"}})")));
    CHECK_FALSE(base::get_bool(co_await review(c, token), "status.authenticated"));
  });
}

TEST_CASE("bootstrap tokens authenticate with their groups until they expire") {
  with_cluster([](Cluster c) -> Task<> {
    auto who = [&](std::string id) { return review(c, id + ".0123456789abcdef"); };
    CHECK((co_await c.admin->create(
        secrets, {"kube-system", ""},
        bootstrap_secret("aaaaaa", R"(,"auth-extra-groups":"system:bootstrappers:kubeadm:default-node-token,system:bootstrappers:x")"))));
    value good = co_await who("aaaaaa");
    CHECK(text(good, "status.user.username") == "system:bootstrap:aaaaaa");
    CHECK(*base::find_array(good, "status.user.groups") == base::json::array{"system:bootstrappers",
                                                                             "system:bootstrappers:kubeadm:default-node-token",
                                                                             "system:bootstrappers:x", "system:authenticated"});
    CHECK((co_await c.admin->create(secrets, {"kube-system", ""}, bootstrap_secret("bbbbbb", R"(,"expiration":"2020-01-01T00:00:00Z")"))));
    CHECK((co_await c.admin->create(secrets, {"kube-system", ""},
                                    bootstrap_secret("cccccc", R"(,"usage-bootstrap-authentication":"false")"))));
    CHECK((co_await c.admin->create(secrets, {"kube-system", ""}, bootstrap_secret("dddddd", R"(,"auth-extra-groups":"system:masters")"))));
    CHECK((co_await c.admin->create(secrets, {"kube-system", ""}, bootstrap_secret("eeeeee", "", "Opaque"))));
    for (const char* id : {"bbbbbb", "cccccc", "dddddd", "eeeeee", "ffffff"})
      CHECK_FALSE(base::get_bool(co_await who(id), "status.authenticated"));
    CHECK_FALSE(base::get_bool(co_await review(c, "aaaaaa.0123456789abcdee"), "status.authenticated"));
  });
}

TEST_CASE("a join token of limited life joins agents until it expires, and nothing else") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c);
    const std::string token = server::make_limited_token(), old = server::make_limited_token();
    CHECK(server::is_bootstrap_token(token));
    auto kept = server::limited_token_secret(token, base::WallClock::now() + std::chrono::hours(1), "test");
    CHECK(base::to_text(kept).find(base::base64_encode(token.substr(7))) == std::string::npos);
    CHECK((co_await c.admin->create(secrets, {"kube-system", ""}, base::to_text(kept))));
    CHECK(
        (co_await c.admin->create(secrets, {"kube-system", ""},
                                  base::to_text(server::limited_token_secret(old, base::WallClock::now() - std::chrono::seconds(1), "")))));
    CHECK((co_await c.admin->create(secrets, {"kube-system", ""}, bootstrap_secret("aaaaaa"))));
    auto csr = *server::pki::make_request(*server::pki::make_key(), {"x", {}});
    auto join = [&](std::string with) -> Task<int> {
      auto r = co_await http.send("POST", "/v1-appliance/join",
                                  base::to_text(object{{"nodeName", "n7"}, {"nodeSecret", std::string(64, 'a')}, {"csr", csr}}),
                                  {{"Authorization", "Bearer " + with}});
      co_return r.status;
    };
    CHECK((co_await join(token)) == 200);
    CHECK((co_await join("A10" + base::sha256_hex(c.api.ca_pem()) + "::agent:" + token)) == 200);
    CHECK((co_await join(old)) == 401);
    CHECK((co_await join(token.substr(0, 7) + std::string(16, 'a'))) == 401);
    CHECK((co_await join("aaaaaa.0123456789abcdef")) == 401);
    CHECK((co_await http.get("/api", {{"Authorization", "Bearer " + token}})).status == 401);
    CHECK((co_await c.admin->remove(secrets, {"kube-system", "join-token-" + token.substr(0, 6)})));
    CHECK((co_await join(token)) == 401);
  }, true);
}

TEST_CASE("tokens of a key that was rotated away count while its public half is there") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    auto before = co_await request(c, "{}");
    REQUIRE(before);
    const std::string tls = c.directory + "/server/tls";
    auto kept = server::pki::rotate_service_account_key(tls);
    REQUIRE(kept);
    auto key_of = [](const value& issued) { return server::parse_jwt(text(issued, "status.token"))->key_id; };
    auto holds = [&](value issued) -> Task<bool> {
      co_return base::get_bool(co_await review(c, text(issued, "status.token")), "status.authenticated");
    };
    value after = *before;
    for (int i = 0; i < 500 && key_of(after) == key_of(*before); ++i) {
      co_await base::sleep_for(std::chrono::milliseconds(10));
      after = *(co_await request(c, "{}"));
    }
    CHECK(key_of(after) != key_of(*before));
    CHECK((co_await holds(after)));
    CHECK((co_await holds(*before)));
    CHECK(base::remove_all(tls + "/" + *kept));
    bool gone = false;
    for (int i = 0; i < 500 && !gone; ++i) {
      co_await base::sleep_for(std::chrono::milliseconds(10));
      gone = !(co_await holds(*before));
    }
    CHECK(gone);
    CHECK((co_await holds(after)));
  });
}
