#include <catch2/catch.hpp>

#include "server/apiserver/http/request_info.h"
#include "server/apiserver/registry/cidr.h"
#include "server/apiserver/registry/continue_token.h"
#include "server/apiserver/registry/json_text.h"
#include "server/apiserver/registry/metadata.h"

using namespace server;
namespace json = base::json;

TEST_CASE("canonical text has the revision right after the identity and says where") {
  auto v = *base::parse_json(
      R"({"metadata":{"labels":{"a":"b"},"resourceVersion":"7","uid":"u","name":"n"},"spec":{"x":[1,2.5,null,true,"q\"\n"]},"kind":"K","apiVersion":"v1"})");
  size_t offset = 0;
  std::string text = canonical_text(v.get_object(), offset);
  CHECK(
      text ==
      R"({"apiVersion":"v1","kind":"K","metadata":{"name":"n","uid":"u","resourceVersion":"","labels":{"a":"b"}},"spec":{"x":[1,2.5,null,true,"q\"\n"]}})");
  CHECK(text.substr(offset, 1) == "\"");

}

TEST_CASE("JSON text escapes what must be escaped and reads back the same") {
  json::value v{{"k\x01", std::string("\x1f\\/\t\b\f\r é")}, {"n", -5}, {"u", 18446744073709551615u}, {"d", 0.1}, {"e", json::object{}}, {"l", json::array{}}};
  std::string text;
  append_json(text, v);
  CHECK(*base::parse_json(text) == v);
}

TEST_CASE("names are checked by Kubernetes' rules") {
  for (const char* good : {"a", "a-b", "1a", "x9"}) CHECK(is_dns_label(good));
  for (const char* bad : {"", "-a", "a-", "A", "a.b", "a_b"}) CHECK_FALSE(is_dns_label(bad));
  CHECK(is_dns_subdomain("a.b-c.d"));
  CHECK_FALSE(is_dns_subdomain("a..b"));
  CHECK(is_qualified_name("example.com/Name_1.x"));
  CHECK_FALSE(is_qualified_name("Example.com/x"));
  CHECK_FALSE(is_qualified_name("a/"));
  CHECK(is_label_value(""));
  CHECK_FALSE(is_label_value(std::string(64, 'a')));
}

TEST_CASE("no finalizer is added to an object being deleted") {
  auto old = *base::parse_json(R"({"name":"a","deletionTimestamp":"x","finalizers":["a/b"]})");
  auto now = *base::parse_json(R"({"name":"a","deletionTimestamp":"x","finalizers":["a/b","c/d"]})");
  std::vector<base::Cause> causes;
  validate_metadata_update(now.get_object(), old.get_object(), causes);
  REQUIRE(causes.size() == 1);
  CHECK(causes[0].field == "metadata.finalizers");
  causes.clear();
  validate_metadata_update(old.get_object(), now.get_object(), causes);
  CHECK(causes.empty());
}

TEST_CASE("continue tokens come back as they went, others are refused") {
  auto t = decode_continue(encode_continue({42, "default/x"}));
  REQUIRE(t);
  CHECK(t->revision == 42);
  CHECK(t->start == "default/x");
  for (const char* bad : {"", "x", "!!!", "eyJ2IjoieCJ9"}) CHECK_FALSE(decode_continue(bad));
  CHECK_FALSE(decode_continue(encode_continue({1, "../secrets/x"})));
}

TEST_CASE("paths are read as Kubernetes reads them") {
  base::http::Query none, watching("watch=true");
  auto r = parse_request("GET", "/api/v1/namespaces/default/pods/a/log", none);
  CHECK((r.is_resource && r.verb == "get" && r.resource == "pods" && r.ns == "default" && r.name == "a" && r.subresource == "log"));
  r = parse_request("GET", "/api/v1/namespaces/default", none);
  CHECK((r.resource == "namespaces" && r.name == "default" && r.ns == "default" && r.verb == "get"));
  r = parse_request("PUT", "/api/v1/namespaces/x/finalize", none);
  CHECK((r.resource == "namespaces" && r.name == "x" && r.subresource == "finalize" && r.verb == "update"));
  r = parse_request("GET", "/apis/apps/v1/deployments", watching);
  CHECK((r.group == "apps" && r.resource == "deployments" && r.verb == "watch" && r.ns.empty()));
  for (const char* yes : {"watch", "watch=", "watch=1", "watch=True", "watch=t"}) CHECK(base::http::Query(yes).flag("watch"));
  for (const char* no : {"", "watch=0", "watch=false", "watch=False", "other=1"}) CHECK_FALSE(base::http::Query(no).flag("watch"));
  r = parse_request("DELETE", "/apis/apps/v1/namespaces/a/deployments", none);
  CHECK(r.verb == "deletecollection");
  r = parse_request("GET", "/api/v1/namespaces/d/services/http:web:80/proxy/a%20b/c", none);
  CHECK((r.name == "http:web:80" && r.subresource == "proxy" && r.rest == "/a%20b/c"));
  CHECK_FALSE(parse_request("GET", "/healthz", none).is_resource);
  CHECK_FALSE(parse_request("GET", "/apis/apps/v1", none).is_resource);
}

TEST_CASE("networks are numbers") {
  auto c = parse_cidr("10.43.7.9/16");
  REQUIRE(c);
  CHECK(ipv4_text(c->base) == "10.43.0.0");
  CHECK(c->contains(*parse_ipv4("10.43.255.1")));
  CHECK_FALSE(c->contains(*parse_ipv4("10.44.0.1")));
  CHECK_FALSE(parse_cidr("10.43.0.0"));
  CHECK_FALSE(parse_cidr("10.43.0.0/33"));
  CHECK_FALSE(parse_cidr("10.43.0.0/16x"));
  CHECK_FALSE(parse_ipv4(std::string_view("10.43.0.0\0x", 11)));
}
