// Controllers of credentials against the real API server.
#include "api/types/certificates_v1.h"
#include "api/types/core_v1.h"
#include "api/types/rbac_v1.h"
#include "base/time.h"
#include "server/apiserver/join/limited_token.h"
#include "server/controllers/all.h"
#include "tests/unit/server/apiserver/fixture.h"

using namespace std::chrono_literals;
using namespace test;
namespace core = api::core;

namespace {

void with_controllers(std::function<Task<>(Cluster)> f) {
  with_cluster([f](Cluster c) -> Task<> {
    server::ControllerOptions options;
    options.root_ca_pem = c.api.ca_pem();
    options.secret_token = [&](const std::string& ns, const std::string& account, const std::string& uid, const std::string& secret) {
      return c.api.secret_token(ns, account, uid, secret);
    };
    server::Controllers controllers(
        c.runtime, [&](std::string account) { return c.api.controller_client(std::move(account)); }, std::move(options));
    controllers.start();
    co_await f(c);
    co_await controllers.stop();
  });
}

Task<> until(std::function<Task<bool>()> f) {
  auto end = base::Clock::now() + 10s;
  while (!(co_await f())) {
    if (base::Clock::now() > end) FAIL("the condition did not come true");
    co_await base::sleep_for(5ms);
  }
}

}  // namespace

TEST_CASE("a Secret for a ServiceAccount's token is filled, and goes with the account") {
  with_controllers([](Cluster c) -> Task<> {
    core::ServiceAccount account;
    account.metadata.namespace_ = "default";
    account.metadata.name = "robot";
    CHECK((co_await api::create(*c.admin, account)));
    core::Secret secret;
    secret.metadata.namespace_ = "default";
    secret.metadata.name = "robot-token";
    secret.metadata.annotations["kubernetes.io/service-account.name"] = "robot";
    secret.type = "kubernetes.io/service-account-token";
    CHECK((co_await api::create(*c.admin, secret)));
    core::Secret filled;
    co_await until([&]() -> Task<bool> {
      auto r = co_await api::get<core::Secret>(*c.admin, {"default", "robot-token"});
      REQUIRE(r);
      filled = *r;
      co_return filled.data.contains("token");
    });
    CHECK(filled.data["namespace"] == "default");
    CHECK(filled.data["ca.crt"] == c.api.ca_pem());
    CHECK(filled.metadata.annotations["kubernetes.io/service-account.uid"] != "");
    auto review = co_await c.admin->create(
        {"authentication.k8s.io", "v1", "tokenreviews"}, {},
        R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":")" + filled.data["token"] + "\"}}");
    REQUIRE(review);
    CHECK(text(parse(*review), "status.user.username") == "system:serviceaccount:default:robot");
    CHECK((co_await api::remove<core::ServiceAccount>(*c.admin, {"default", "robot"})));
    co_await until([&]() -> Task<bool> { co_return !(co_await api::get<core::Secret>(*c.admin, {"default", "robot-token"})); });
  });
}

TEST_CASE("tokens go when they expire, others stay") {
  with_controllers([](Cluster c) -> Task<> {
    const std::string soon = server::make_limited_token(), later = server::make_limited_token(), never = server::make_limited_token();
    auto now = base::WallClock::now();
    CHECK((co_await c.admin->create(secrets, {"kube-system", ""}, base::to_text(server::limited_token_secret(soon, now + 1s, "")))));
    CHECK((co_await c.admin->create(secrets, {"kube-system", ""}, base::to_text(server::limited_token_secret(later, now + 1h, "")))));
    CHECK((co_await c.admin->create(secrets, {"kube-system", ""}, base::to_text(server::limited_token_secret(never, std::nullopt, "")))));
    CHECK((co_await c.admin->create(
        secrets, {"kube-system", ""},
        R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"bootstrap-token-aaaaaa"},"type":"bootstrap.kubernetes.io/token","stringData":{"expiration":"2020-01-01T00:00:00Z"}})")));
    auto there = [&](std::string name) -> Task<bool> { co_return (co_await c.admin->get(secrets, {"kube-system", name})).has_value(); };
    co_await until([&]() -> Task<bool> { co_return !(co_await there("bootstrap-token-aaaaaa")); });
    co_await until([&]() -> Task<bool> { co_return !(co_await there("join-token-" + soon.substr(0, 6))); });
    CHECK((co_await there("join-token-" + later.substr(0, 6))));
    CHECK((co_await there("join-token-" + never.substr(0, 6))));
  });
}

TEST_CASE("the rules of view are written into it") {
  with_controllers([](Cluster c) -> Task<> {
    co_await until([&]() -> Task<bool> {
      auto view = co_await api::get<api::rbac::ClusterRole>(*c.admin, {"", "view"});
      REQUIRE(view);
      co_return view->rules.size() > 5;
    });
  });
}
