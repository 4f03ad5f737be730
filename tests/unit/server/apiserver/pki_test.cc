#include <catch2/catch.hpp>

#include "base/bytes.h"
#include "base/files.h"
#include "server/apiserver/auth/jwt.h"
#include "server/apiserver/join/token.h"
#include "server/apiserver/pki/cluster_pki.h"

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
  JwtKeys keys(key, {*pki::public_key_of(key)}), others(other, {*pki::public_key_of(other)});
  std::string token = *keys.sign({{"sub", "me"}});
  auto claims = keys.verify(token);
  REQUIRE(claims);
  CHECK(claims->at("sub") == "me");
  CHECK_FALSE(others.verify(token));
  std::string forged = token;
  forged[token.find('.') + 3] ^= 1;
  CHECK_FALSE(keys.verify(forged));
  std::string none = base::base64url_encode(R"({"alg":"none"})") + token.substr(token.find('.'));
  CHECK_FALSE(keys.verify(none));
  for (const char* bad : {"", ".", "..", "a.b", "a.b.c.d"}) CHECK_FALSE(keys.verify(bad));
}

TEST_CASE("the cluster's keys are made once, kept, and renewed when names change") {
  std::string dir = "/tmp/appliance-unit-" + base::hex_encode(base::random_bytes(8));
  auto first = pki::load_or_make(dir, {{"localhost"}, {"127.0.0.1"}});
  REQUIRE(first);
  auto again = pki::load_or_make(dir, {{"localhost"}, {"127.0.0.1"}});
  REQUIRE(again);
  CHECK(again->ca.certificate_pem == first->ca.certificate_pem);
  CHECK(again->server.certificate_pem == first->server.certificate_pem);
  CHECK(again->service_account_key == first->service_account_key);
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
