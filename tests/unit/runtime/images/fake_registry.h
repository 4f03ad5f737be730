// A registry in memory, with the habits of real ones, and images made for it.
#pragma once

#include <atomic>
#include <mutex>

#include "base/bytes.h"
#include "base/http/server.h"
#include "base/json.h"
#include "runtime/images/digest.h"
#include "runtime/images/images.h"
#include "tests/unit/runtime/images/fixture.h"

namespace runtime::testing {

struct Built {
  std::map<std::string, std::string> blobs;  // by digest
  std::string config, config_digest, manifest, manifest_digest;
  std::vector<std::string> diff_ids, layer_digests;
};

inline std::string docker_type(const char* what) { return std::string("application/vnd.docker.") + what; }

// layers: uncompressed tars; compress: by position "gzip", "zstd" or "".
inline Built build_image(const std::vector<std::string>& layers, std::vector<std::string> compress = {},
                         const std::string& architecture = "amd64") {
  using namespace boost;
  Built b;
  json::array diff_ids, descriptors;
  for (size_t i = 0; i < layers.size(); ++i) {
    std::string how = i < compress.size() ? compress[i] : "gzip";
    std::string blob = how == "gzip" ? gzip(layers[i]) : how == "zstd" ? zstd(layers[i]) : layers[i];
    b.diff_ids.push_back(digest_of(layers[i]));
    b.layer_digests.push_back(digest_of(blob));
    diff_ids.emplace_back(b.diff_ids.back());
    descriptors.push_back(json::object{{"mediaType", "application/vnd.oci.image.layer.v1.tar" + (how.empty() ? "" : "+" + how)},
                                       {"digest", b.layer_digests.back()},
                                       {"size", blob.size()}});
    b.blobs[b.layer_digests.back()] = blob;
  }
  json::object config{{"Entrypoint", {"/bin/app"}}, {"Cmd", {"serve"}},      {"Env", {"PATH=/bin", "A=b"}},        {"WorkingDir", "/srv"},
                      {"User", "1000:2000"},        {"StopSignal", "SIGINT"}, {"ExposedPorts", {{"80/tcp", json::object()}}},
                      {"Volumes", {{"/data", json::object()}}}, {"Labels", {{"who", "test"}}}};
  b.config = base::to_text(json::object{
      {"architecture", architecture}, {"os", "linux"}, {"config", config}, {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}});
  b.config_digest = digest_of(b.config);
  b.blobs[b.config_digest] = b.config;
  b.manifest = base::to_text(json::object{
      {"schemaVersion", 2},
      {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
      {"config", {{"mediaType", "application/vnd.oci.image.config.v1+json"}, {"digest", b.config_digest}, {"size", b.config.size()}}},
      {"layers", descriptors}});
  b.manifest_digest = digest_of(b.manifest);
  return b;
}

class FakeRegistry {
 public:
  explicit FakeRegistry(base::Runtime& runtime, base::http::TlsContextPtr tls = nullptr) {
    base::http::ServerOptions options;
    options.tls = std::move(tls);
    options.address = "127.0.0.1";
    server_ = std::make_unique<base::http::Server>(runtime, options,
                                                   [this](base::http::Request& q, base::http::Response& r) { return serve(q, r); });
    auto started = server_->start();
    REQUIRE(started);
  }
  std::string host() const { return fmt::format("127.0.0.1:{}", server_->port()); }
  Task<> stop() { return server_->stop(base::Duration(0)); }

  void add(const std::string& repository, const std::string& tag, const Built& image) {
    for (auto& [digest, data] : image.blobs) blobs[repository + "/blobs/" + digest] = data;
    add_manifest(repository, tag, image.manifest, "application/vnd.oci.image.manifest.v1+json");
  }
  void add_manifest(const std::string& repository, const std::string& tag, const std::string& text, const std::string& type) {
    for (const std::string& name : {tag, digest_of(text)}) manifests[repository + "/manifests/" + name] = {type, text};
  }

  std::map<std::string, std::pair<std::string, std::string>> manifests;
  std::map<std::string, std::string> blobs;
  std::string scheme;            // "", "basic", "bearer"
  std::string user = "user", password = "secret";
  std::string redirect_blobs_to; // host of another server
  bool leak = false;             // an Authorization header arrived where it must not
  bool expect_no_authorization = false;
  std::atomic<int> blob_requests = 0, break_blobs = 0, token_requests = 0, requests = 0;
  std::string last_ns;

 private:
  std::string basic() const { return "Basic " + base::base64_encode(user + ":" + password); }

  Task<> serve(base::http::Request& q, base::http::Response& r) {
    ++requests;
    std::string authorization(q.headers.get("Authorization"));
    if (expect_no_authorization && !authorization.empty()) leak = true;
    std::string path = base::percent_decode(q.path);
    if (q.query.has("ns")) last_ns = q.query.get("ns");
    if (path == "/token") {
      ++token_requests;
      bool anonymous = authorization.empty() && user.empty();
      if (!anonymous && authorization != basic())
        co_return co_await answer(r, 401, R"({"errors":[{"code":"UNAUTHORIZED","message":"bad credentials"}]})");
      co_return co_await answer(r, 200, R"({"token":"tok"})");
    }
    bool allowed =
        scheme.empty() || (scheme == "basic" && authorization == basic()) || (scheme == "bearer" && authorization == "Bearer tok");
    if (!allowed) {
      r.headers.set("WWW-Authenticate",
                    scheme == "basic" ? "Basic realm=\"x\"" : fmt::format("Bearer realm=\"http://{}/token\",service=\"fake\"", host()));
      co_return co_await answer(r, 401, R"({"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]})");
    }
    if (path.starts_with("/v2/")) path.erase(0, 4);
    if (auto it = manifests.find(path); it != manifests.end()) {
      r.headers.set("Content-Type", it->second.first);
      co_return co_await answer(r, 200, it->second.second);
    }
    if (auto it = blobs.find(path); it != blobs.end()) {
      if (!redirect_blobs_to.empty()) {
        r.headers.set("Location", "http://" + redirect_blobs_to + "/v2/" + path + "?signed=1");
        co_return co_await answer(r, 307, "");
      }
      ++blob_requests;
      if (break_blobs > 0 && it->second.size() > 1000) {
        --break_blobs;
        r.headers.set("Content-Length", std::to_string(it->second.size()));
        (void)co_await r.begin();
        (void)co_await r.write(std::string_view(it->second).substr(0, 500));
        q.stream().close();
        co_return;
      }
      co_return co_await answer(r, 200, it->second);
    }
    co_await answer(r, 404, R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]})");
  }

  static Task<> answer(base::http::Response& r, int status, std::string_view body) {
    r.status = status;
    (void)co_await r.send(body);
  }

  std::unique_ptr<base::http::Server> server_;
};

}  // namespace runtime::testing
