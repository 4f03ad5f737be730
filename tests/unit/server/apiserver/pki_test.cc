#include <catch2/catch.hpp>

#include "base/bytes.h"
#include "base/files.h"
#include "server/apiserver/auth/jwt.h"
#include "server/apiserver/join/token.h"
#include "server/apiserver/pki/cluster_pki.h"
#include "signing_keys.h"

using namespace server;

TEST_CASE("certificates carry the names asked for and nothing the request smuggled in") {
  auto ca = *pki::make_authority("ca", std::chrono::hours(24));
  pki::Profile profile;
  profile.subject = {"system:node:a", {"system:nodes"}};
  profile.dns_names = {"x.example"};
  profile.ip_addresses = {"10.0.0.1", "::1"};
  profile.server = true;
  auto pair = pki::issue_pair(ca, profile);
  REQUIRE(pair);
  auto facts = pki::read_certificate(pair->certificate_pem);
  REQUIRE(facts);
  CHECK(facts->subject.common_name == "system:node:a");
  CHECK(facts->subject.organizations == std::vector<std::string>{"system:nodes"});
  CHECK(facts->dns_names == profile.dns_names);
  CHECK(facts->ip_addresses == profile.ip_addresses);
  auto request = pki::make_request(*pki::make_key(), {"evil", {"system:masters"}});
  auto read = pki::read_request(*request);
  REQUIRE(read);
  CHECK(read->subject.common_name == "evil");
  std::string broken = *request;
  broken[broken.size() / 2] = broken[broken.size() / 2] == 'A' ? 'B' : 'A';
  CHECK_FALSE(pki::read_request(broken));
}

TEST_CASE("a token of another key, algorithm or content is refused") {
  std::string key = *pki::make_key(), other = *pki::make_key();
  JwtKeys keys = *JwtKeys::of_pem(key, {}), others = *JwtKeys::of_pem(other, {}),
          both = *JwtKeys::of_pem(other, {*pki::public_key_of(key), "not a key"});
  std::string token = *keys.sign({{"sub", "me"}});
  auto accepted = [](const JwtKeys& k, const std::string& text) {
    auto parsed = parse_jwt(text);
    return parsed && k.verify(*parsed);
  };
  CHECK(accepted(keys, token));
  CHECK(base::get_string(parse_jwt(token)->claims, "sub") == "me");
  CHECK_FALSE(accepted(others, token));
  CHECK(accepted(both, token));
  std::string forged = token;
  forged[token.find('.') + 3] ^= 1;
  CHECK_FALSE(accepted(keys, forged));
  std::string rest = token.substr(token.find('.'));
  for (const char* header : {R"({"alg":"none"})", R"({"alg":"HS256"})", R"({"alg":"RS256"})", R"({"alg":"ES256","crit":["exp"]})"})
    CHECK_FALSE(accepted(keys, base::base64url_encode(header) + rest));
  for (const char* bad : {"", ".", "..", "a.b", "a.b.c.d"}) CHECK_FALSE(parse_jwt(bad));
}

TEST_CASE("keys keep their meaning as JSON Web Keys, and sign only with algorithms of their kind") {
  for (const char* pem : {test::rsa_key, test::p384_key, test::p521_key}) {
    auto key = pki::read_private_pem(pem);
    REQUIRE(key);
    auto jwk = pki::jwk_of(*key);
    REQUIRE(jwk);
    auto back = pki::read_jwk(*jwk);
    REQUIRE(back);
    CHECK(back->id == key->id);
    CHECK(back->algorithm == key->algorithm);
    auto signature = pki::sign_jws(*key, "text");
    REQUIRE(signature);
    CHECK(pki::verify_jws(*back, key->algorithm, "text", *signature));
    CHECK_FALSE(pki::verify_jws(*back, key->algorithm, "text!", *signature));
    for (const char* other : {"ES256", "PS256", "none", ""}) CHECK_FALSE(pki::verify_jws(*back, other, "text", *signature));
  }
  auto rsa = *pki::read_private_pem(test::rsa_key);
  rsa.algorithm = "PS384";
  CHECK(pki::verify_jws(rsa, "PS384", "text", *pki::sign_jws(rsa, "text")));
  for (const char* bad : {R"({"kty":"oct","k":"AAAA"})", R"({"kty":"RSA","n":"AQAB","e":"AQAB"})",
                          R"({"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"})", R"({})"})
    CHECK_FALSE(pki::read_jwk(*base::parse_json(bad)));
}

TEST_CASE("a rotated key leaves the public half of the one before") {
  std::string dir = "/tmp/appliance-unit-" + base::hex_encode(base::random_bytes(8));
  auto first = pki::load_or_make(dir, {{"localhost"}, {"127.0.0.1"}});
  REQUIRE(first);
  CHECK(first->service_account.public_keys.empty());
  REQUIRE(pki::rotate_service_account_key(dir));
  REQUIRE(pki::rotate_service_account_key(dir));
  auto now = pki::load_service_account_keys(dir);
  REQUIRE(now);
  CHECK(now->private_key != first->service_account.private_key);
  CHECK(now->public_keys.size() == 2);
  auto old = *JwtKeys::of_pem(first->service_account.private_key, {});
  CHECK(JwtKeys::of_pem(now->private_key, now->public_keys)->verify(*parse_jwt(*old.sign({{"sub", "me"}}))));
  CHECK(base::remove_all(dir));
}

TEST_CASE("the cluster's keys are made once, kept, and renewed when names change") {
  std::string dir = "/tmp/appliance-unit-" + base::hex_encode(base::random_bytes(8));
  auto first = pki::load_or_make(dir, {{"localhost"}, {"127.0.0.1"}});
  REQUIRE(first);
  auto again = pki::load_or_make(dir, {{"localhost"}, {"127.0.0.1"}});
  REQUIRE(again);
  CHECK(again->ca.certificate_pem == first->ca.certificate_pem);
  CHECK(again->server.certificate_pem == first->server.certificate_pem);
  CHECK(again->service_account == first->service_account);
  auto renamed = pki::load_or_make(dir, {{"localhost", "more"}, {"127.0.0.1"}});
  REQUIRE(renamed);
  CHECK(renamed->ca.certificate_pem == first->ca.certificate_pem);
  CHECK(renamed->server.certificate_pem != first->server.certificate_pem);
  CHECK(base::remove_all(dir));
}

TEST_CASE("join tokens carry the hash of the CA and keep their secret") {
  std::string full = full_token("PEM", "agent", "s3cret");
  CHECK(full == "A10" + base::sha256_hex("PEM") + "::agent:s3cret");
  CHECK(secret_in_token(full) == "s3cret");
  CHECK(secret_in_token("s3cret") == "s3cret");
  CHECK(secret_in_token(full_token("PEM", "abcdef.0123456789abcdef", "").substr(0, 0)) == "");
}
