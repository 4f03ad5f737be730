#include <catch2/catch.hpp>

#include "ingress/path.h"

using namespace ingress;

TEST_CASE("a path has one canonical form") {
  CHECK(canonical_path("/").value() == "/");
  CHECK(canonical_path("/a/%62%7e/%c3%a9").value() == "/a/b~/%C3%A9");
  CHECK(canonical_path("/a.b/...").value() == "/a.b/...");
}

TEST_CASE("paths that backends read differently are refused") {
  for (const char* bad :
       {"", "a", "/a%2fb", "/a%5cb", "/a\\b", "/a%00", "/%0a", "/a/../b", "/a/%2e%2e/b", "/./a", "/a/..", "/%", "/%2", "/%zz", "/a\tb"}) {
    INFO(bad);
    CHECK_FALSE(canonical_path(bad));
  }
}

TEST_CASE("prefixes match whole elements") {
  CHECK(path_has_prefix("/a/b", "/a"));
  CHECK(path_has_prefix("/a", "/a/"));
  CHECK(path_has_prefix("/a/", "/a"));
  CHECK(path_has_prefix("/anything", "/"));
  CHECK_FALSE(path_has_prefix("/ab", "/a"));
  CHECK_FALSE(path_has_prefix("/", "/a"));
}

TEST_CASE("hosts are compared without case, port and final dot") {
  CHECK(canonical_host("A.Example.com:8080").value() == "a.example.com");
  CHECK(canonical_host("a.").value() == "a");
  CHECK(canonical_host("[::1]:80").value() == "[::1]");
  for (const char* bad : {"a b", "a/b", "a:x", "a@b", "[::1", "..", ".a", "a.."}) CHECK_FALSE(canonical_host(bad));
}
