#include "runtime/images/authorization.h"
#include "runtime/images/manifest.h"
#include "tests/unit/runtime/images/fixture.h"

using namespace runtime;
using namespace runtime::testing;

TEST_CASE("references are normalised as Docker does") {
  std::string hex(64, 'a');
  struct {
    std::string in, out, familiar;
  } table[] = {
      {"nginx", "docker.io/library/nginx:latest", "nginx:latest"},
      {"nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25"},
      {"bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest"},
      {"docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"},
      {"index.docker.io/library/nginx:1", "docker.io/library/nginx:1", "nginx:1"},
      {"localhost/app", "localhost/app:latest", "localhost/app:latest"},
      {"localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"},
      {"127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest", "127.0.0.1:5000/a/b/c:latest"},
      {"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"},
      {"registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"},
      {"ghcr.io/a/b@sha256:" + hex, "ghcr.io/a/b@sha256:" + hex, "ghcr.io/a/b@sha256:" + hex},
      {"nginx:1@sha256:" + hex, "docker.io/library/nginx@sha256:" + hex, "nginx@sha256:" + hex},
      {"a__b/c-d.e---f", "docker.io/a__b/c-d.e---f:latest", "a__b/c-d.e---f:latest"},
  };
  for (auto& row : table) {
    INFO(row.in);
    auto reference = must(parse_image_reference(row.in));
    CHECK(reference.text() == row.out);
    CHECK(reference.familiar() == row.familiar);
    CHECK(must(parse_image_reference(reference.text())).text() == row.out);
  }
}

TEST_CASE("what is no reference is refused as InvalidImageName") {
  for (const std::string& bad : std::vector<std::string>{"", ":", "nginx:", "Nginx", "a/B", "nginx@sha256:abc", "nginx:ta g", "a//b", "/a", "a/", "a..b", "-a", "a_", "host.io:99999999/x",
                          "../etc/passwd", "a/../b", "http://nginx", "nginx:" + std::string(129, 'x'), "a___b", "x@md5:123", "nginx\n"}) {
    INFO(bad);
    auto reference = parse_image_reference(bad);
    REQUIRE_FALSE(reference);
    CHECK(reference.error().reason == "InvalidImageName");
  }
}

TEST_CASE("challenges of registries are understood") {
  auto c = parse_challenge(R"(Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push")");
  REQUIRE(c);
  CHECK(c->scheme == "bearer");
  CHECK(c->parameters["realm"] == "https://auth.docker.io/token");
  CHECK(c->parameters["scope"] == "repository:a/b:pull,push");
  CHECK(parse_challenge("Basic realm=plain")->parameters["realm"] == "plain");
  CHECK(parse_challenge("BASIC")->scheme == "basic");
  CHECK_FALSE(parse_challenge("Negotiate abc"));
  CHECK_FALSE(parse_challenge(""));
  CHECK(parse_challenge(R"(Bearer realm="unterminated)")->parameters["realm"] == "unterminated");
}

TEST_CASE("URLs are taken apart") {
  auto u = split_url("HTTPS://Example.com:5000/v2/a?b=c#d");
  REQUIRE(u);
  CHECK(u->scheme == "https");
  CHECK(u->authority() == "example.com:5000");
  CHECK(u->path == "/v2/a?b=c");
  CHECK(split_url("http://[::1]:80")->host == "[::1]");
  CHECK(split_url("http://h")->path == "/");
  CHECK_FALSE(split_url("ftp://x/"));
  CHECK_FALSE(split_url("http://user@host/"));
  CHECK_FALSE(split_url("http:///x"));
}

TEST_CASE("documents that can be read in two ways are refused") {
  std::string d = R"({"digest":"sha256:)" + std::string(64, '0') + R"(","size":1})";
  std::string manifest = R"({"schemaVersion":2,"config":)" + d + R"(,"layers":[)" + d + "]}";
  std::string index = R"({"schemaVersion":2,"manifests":[)" + d + "]}";
  std::string both = R"({"schemaVersion":2,"manifests":[)" + d + R"(],"config":)" + d + R"(,"layers":[]})";
  CHECK_FALSE(must(parse_manifest(manifest, "")).index);
  CHECK(must(parse_manifest(index, "application/vnd.oci.image.index.v1+json")).index);
  CHECK_FALSE(parse_manifest(both, ""));
  CHECK_FALSE(parse_manifest(manifest, "application/vnd.oci.image.index.v1+json"));
  CHECK_FALSE(parse_manifest(index, "application/vnd.oci.image.manifest.v1+json"));
  CHECK_FALSE(parse_manifest(R"({"schemaVersion":1,"name":"x"})", ""));
  CHECK_FALSE(parse_manifest("{", ""));
  CHECK_FALSE(parse_manifest("[]", ""));
  CHECK_FALSE(parse_manifest(R"({"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1},"layers":[]})", ""));
}

TEST_CASE("registries.yaml is read in k3s' format") {
  Place place;
  std::string path = place.path + "/registries.yaml";
  REQUIRE(base::write_file_atomic(path, R"y(
mirrors:
  docker.io:
    endpoint: ["https://mirror.example.com:5000", "http://other"]
    rewrite:
      "^library/(.*)": "dockerhub/$1"
  "*":
configs:
  "mirror.example.com:5000":
    auth: {username: u, password: p}
    tls: {ca_file: /ca.pem, insecure_skip_verify: true}
  old.example.com:
    auth: {auth: dXNlcjpzZWNyZXQ=}
)y"));
  auto config = must(load_registries(path));
  CHECK(config.mirrors["docker.io"].endpoints.size() == 2);
  CHECK(config.mirrors["docker.io"].rewrites[0].second == "dockerhub/$1");
  CHECK(config.hosts["mirror.example.com:5000"].credentials->password == "p");
  CHECK(config.hosts["mirror.example.com:5000"].insecure_skip_verify);
  CHECK(config.hosts["old.example.com"].credentials->username == "user");
  CHECK(must(load_registries(place.path + "/absent")).mirrors.empty());
  REQUIRE(base::write_file_atomic(path, "mirrors: [a\n  b: {"));
  CHECK_THAT(load_registries(path).error().message, Catch::Contains("line"));
  REQUIRE(base::write_file_atomic(path, "mirors: {}"));
  CHECK_THAT(load_registries(path).error().message, Catch::Contains("mirors"));
}
