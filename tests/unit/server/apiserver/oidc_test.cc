#include "http_client.h"

#include <thread>

#include "base/http/server.h"
#include "base/time.h"
#include "server/apiserver/auth/oidc.h"
#include "signing_keys.h"

using namespace test;
using base::json::array;
using base::json::object;

namespace {

int64_t now() { return std::chrono::duration_cast<std::chrono::seconds>(base::WallClock::now().time_since_epoch()).count(); }

object claims(const std::string& issuer) {
  return {
      {"iss", issuer}, {"aud", "kube"}, {"sub", "42"}, {"email", "jo@example.com"}, {"exp", now() + 600}, {"groups", array{"devs", "ops"}},
      {"tenant", "a"}};
}

// A provider that publishes one key at a time.
struct Provider {
  base::http::KeyPair ca = *server::pki::make_authority("provider", std::chrono::hours(1));
  server::pki::JwsKey key = *server::pki::read_private_pem(rsa_key);
  std::string url;
  std::unique_ptr<base::http::Server> http;
  base::Event done;

  void start(base::Runtime& runtime) {
    server::pki::Profile profile;
    profile.subject.common_name = "provider";
    profile.ip_addresses = {"127.0.0.1"};
    profile.server = true;
    base::http::TlsServerOptions tls;
    tls.identity = *server::pki::issue_pair(ca, profile);
    base::http::ServerOptions options;
    options.address = "127.0.0.1";
    options.tls = *base::http::make_server_context(tls);
    http = std::make_unique<base::http::Server>(
        runtime, options, [this](base::http::Request& request, base::http::Response& response) -> Task<> {
          std::string body = request.path == "/keys"
                                 ? base::to_text(object{{"keys", array{value(*server::pki::jwk_of(key)), value(object{{"kty", "oct"}})}}})
                                 : base::to_text(object{{"issuer", url}, {"jwks_uri", url + "/keys"}});
          co_await response.send(body);
        });
    REQUIRE(http->start());
    url = "https://127.0.0.1:" + std::to_string(http->port());
  }
  std::string sign(const object& c) const {
    std::string text = base::base64url_encode(base::to_text(object{{"alg", key.algorithm}, {"kid", key.id}})) + "." +
                       base::base64url_encode(base::to_text(c));
    return text + "." + base::base64url_encode(*server::pki::sign_jws(key, text));
  }
};

}  // namespace

TEST_CASE("claims of a provider become a user as the options say") {
  server::OidcOptions o;
  o.issuer_url = "https://id.example";
  o.client_id = "kube";
  auto with = [&](std::string_view name, value v) {
    object c = claims(o.issuer_url);
    c[name] = std::move(v);
    return server::oidc_user(o, value(c), now());
  };
  auto plain = with("x", 1);
  REQUIRE(plain);
  CHECK(plain->name == "42");
  CHECK(plain->groups == std::vector<std::string>{"system:authenticated"});
  CHECK(with("aud", array{"other", "kube"}));
  CHECK_FALSE(with("aud", "other"));
  CHECK_FALSE(with("iss", "https://id.example/"));
  CHECK_FALSE(with("exp", now()));
  CHECK_FALSE(with("exp", nullptr));
  CHECK_FALSE(with("nbf", now() + 3600));
  CHECK_FALSE(with("sub", ""));
  o.username_claim = "email";
  o.groups_claim = "groups";
  o.groups_prefix = "oidc:";
  o.username_prefix = "oidc:";
  auto mapped = with("jti", "7");
  REQUIRE(mapped);
  CHECK(mapped->name == "oidc:jo@example.com");
  CHECK(mapped->groups == std::vector<std::string>{"oidc:devs", "oidc:ops", "system:authenticated"});
  CHECK(mapped->extra.at("authentication.kubernetes.io/credential-id") == std::vector<std::string>{"JTI=7"});
  CHECK(with("groups", "one")->groups.front() == "oidc:one");
  CHECK_FALSE(with("groups", 5));
  CHECK(with("email_verified", true));
  CHECK_FALSE(with("email_verified", false));
  o.required_claims = {"tenant=a"};
  CHECK(with("x", 1));
  CHECK_FALSE(with("tenant", "b"));
}

TEST_CASE("options of a provider that make no sense are refused") {
  server::OidcOptions o;
  o.issuer_url = "https://id.example";
  o.client_id = "kube";
  CHECK(server::OidcProvider::make(o));
  auto bad = [&](auto change) {
    server::OidcOptions changed = o;
    change(changed);
    return !server::OidcProvider::make(changed);
  };
  CHECK(bad([](auto& c) { c.issuer_url = "http://id.example"; }));
  CHECK(bad([](auto& c) { c.client_id.clear(); }));
  CHECK(bad([](auto& c) { c.signing_algs = {"HS256"}; }));
  CHECK(bad([](auto& c) { c.required_claims = {"tenant"}; }));
  CHECK(bad([](auto& c) { c.ca_file = "/does/not/exist"; }));
}

TEST_CASE("users of a provider sign in, also with a key it has changed to") {
  base::Runtime side(1);
  Provider provider;
  provider.start(side);
  const std::string ca = "/tmp/appliance-unit-" + base::hex_encode(base::random_bytes(8)) + ".crt";
  REQUIRE(base::write_file_atomic(ca, provider.ca.certificate_pem, 0600, false));
  const uint64_t seen = provider.done.version();
  std::thread thread([&] {
    base::run_to_end(side, [](base::http::Server& s, base::Event& done, uint64_t version) -> Task<> {
      co_await done.wait(version);
      co_await s.stop(std::chrono::seconds(1));
    }(*provider.http, provider.done, seen));
  });
  with_cluster([&](Cluster c) -> Task<> {
    Http http(c);
    const std::string review = R"({"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"})",
                      path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    auto ask = [&](std::string token) { return http.send("POST", path, review, {{"Authorization", "Bearer " + token}}); };
    auto who = co_await ask(provider.sign(claims(provider.url)));
    CHECK(who.status == 201);
    CHECK(text(who.json(), "status.userInfo.username") == provider.url + "#42");
    // The next key is fetched when a token names it.
    provider.key = *server::pki::read_private_pem(p384_key);
    CHECK((co_await ask(provider.sign(claims(provider.url)))).status == 201);
    object expired = claims(provider.url);
    expired["exp"] = now() - 1;
    CHECK((co_await ask(provider.sign(expired))).status == 401);
    std::string forged = provider.sign(claims(provider.url));
    forged[forged.size() - 5] = forged[forged.size() - 5] == 'A' ? 'B' : 'A';
    CHECK((co_await ask(forged)).status == 401);
    CHECK((co_await ask(provider.sign(claims("https://elsewhere.example")))).status == 401);
    auto reviewed = co_await c.admin->create({"authentication.k8s.io", "v1", "tokenreviews"}, {},
                                             base::to_text(object{{"apiVersion", "authentication.k8s.io/v1"},
                                                                  {"kind", "TokenReview"},
                                                                  {"spec", object{{"token", provider.sign(claims(provider.url))}}}}));
    REQUIRE(reviewed);
    CHECK(text(parse(*reviewed), "status.user.username") == provider.url + "#42");
  }, true, Settings{[&](server::ApiServerOptions& o) {
    o.oidc.issuer_url = provider.url;
    o.oidc.client_id = "kube";
    o.oidc.ca_file = ca;
    o.oidc.signing_algs = {"RS256", "ES384"};
  }, {}});
  provider.done.notify();
  thread.join();
  CHECK(base::remove_all(ca));
}
