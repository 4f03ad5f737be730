// Pulling from registries of all habits.
#include <filesystem>

#include "tests/unit/runtime/images/fake_registry.h"

using namespace runtime;
using namespace runtime::testing;
using namespace std::chrono_literals;

namespace {

ImagesOptions options_in(const Place& place) {
  ImagesOptions options;
  options.root = place.path + "/images";
  return options;
}

std::string layer_tar(const std::string& name, size_t size = 2000) {
  std::string content;
  for (size_t i = 0; content.size() < size; ++i) content += fmt::format("{}-{} ", name, i * 7919);
  return Tar().file(name, content).bytes();
}

Task<Result<ImagePtr>> pull(Images& images, std::string reference, std::vector<RegistryCredentials> credentials = {}) {
  return images.pull(std::move(reference), std::move(credentials), {});
}

using Body = std::function<Task<>(base::Runtime&, FakeRegistry&, Images&, Place&)>;
void with_registry(Body body, std::function<void(ImagesOptions&, const std::string&)> change = {}) {
  Place place;
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    FakeRegistry registry(runtime);
    auto options = options_in(place);
    if (change) change(options, registry.host());
    Images images(runtime, options);
    must(co_await images.start());
    co_await body(runtime, registry, images, place);
    co_await images.stop();
    co_await registry.stop();
  });
  place.check_canary();
}

size_t entries_of(const std::string& directory) {
  std::error_code ec;
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory, ec), {}));
}

}  // namespace

TEST_CASE("an image is pulled, described, stacked, kept over a restart and removed") {
  with_registry([](base::Runtime& runtime, FakeRegistry& registry, Images& images, Place& place) -> Task<> {
    auto built = build_image({layer_tar("bottom"), layer_tar("middle"), layer_tar("top")}, {"gzip", "zstd", ""});
    registry.add("team/app", "v1", built);
    std::string reference = registry.host() + "/team/app:v1";
    PullProgress last;
    auto image = must(co_await images.pull(reference, {}, [&](const PullProgress& p) { last = p; }));
    CHECK(last.bytes == last.total);
    CHECK(last.total > 0);
    CHECK(image->id == built.config_digest);
    CHECK(image->reference == reference);
    CHECK(image->tags == std::vector<std::string>{reference});
    CHECK(image->repo_digests == std::vector<std::string>{registry.host() + "/team/app@" + built.manifest_digest});
    CHECK(image->config.entrypoint == std::vector<std::string>{"/bin/app"});
    CHECK(image->config.cmd == std::vector<std::string>{"serve"});
    CHECK(image->config.env.size() == 2);
    CHECK(image->config.user == "1000:2000");
    CHECK(image->config.working_dir == "/srv");
    CHECK(image->config.stop_signal == "SIGINT");
    CHECK(image->config.exposed_ports == std::vector<std::string>{"80/tcp"});
    CHECK(image->config.volumes == std::vector<std::string>{"/data"});
    CHECK(image->config.labels.at("who") == "test");
    CHECK(image->size > 6000);
    auto layers = must(images.layers(*image));
    REQUIRE(layers.size() == 3);
    CHECK(base::exists(layers[0] + "/top"));
    CHECK(base::exists(layers[2] + "/bottom"));
    CHECK(images.find(reference) != nullptr);
    CHECK(images.find(image->id) != nullptr);
    CHECK(images.find(image->id.substr(7)) != nullptr);
    CHECK(images.find(image->repo_digests[0]) != nullptr);
    CHECK(images.find(registry.host() + "/team/app:v2") == nullptr);
    CHECK(images.usage().images == 1);
    CHECK(images.usage().layers == 3);
    CHECK(entries_of(place.path + "/images/tmp") == 0);

    // Again: nothing is fetched twice.
    int before = registry.blob_requests;
    must(co_await pull(images, reference));
    CHECK(registry.blob_requests - before == 1);  // the configuration
    co_await images.stop();

    ::mkdir((place.path + "/images/l/99").c_str(), 0700);
    ::mkdir((place.path + "/images/tmp/left").c_str(), 0700);
    Images again(runtime, options_in(place));
    must(co_await again.start());
    auto found = again.find(reference);
    REQUIRE(found);
    CHECK(found->config.volumes == std::vector<std::string>{"/data"});
    CHECK(must(again.layers(*found)) == layers);
    CHECK(entries_of(place.path + "/images/l") == 3);
    CHECK(entries_of(place.path + "/images/tmp") == 0);
    must(co_await again.tag(reference, "local/name:1"));
    CHECK(again.find("local/name:1")->id == image->id);
    must(co_await again.remove(reference));
    CHECK(again.find(reference) == nullptr);
    CHECK(again.list().size() == 1);
    must(co_await again.remove("local/name:1"));
    CHECK(again.list().empty());
    CHECK(entries_of(place.path + "/images/l") == 0);
    CHECK_FALSE(co_await again.remove("local/name:1"));
    co_await again.stop();
  });
}

TEST_CASE("an index is followed to the node's platform, by tag and by digest") {
  with_registry([](base::Runtime&, FakeRegistry& registry, Images& images, Place&) -> Task<> {
    auto amd = build_image({layer_tar("amd")});
    auto arm = build_image({layer_tar("arm")}, {}, "arm64");
    registry.add("app", "a", amd);
    registry.add("app", "b", arm);
    auto entry = [](const Built& b, const char* arch) {
      return fmt::format(
          R"({{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"{}"}}}})",
          b.manifest_digest, b.manifest.size(), arch);
    };
    std::string index = fmt::format(R"({{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{},{}]}})",
                                    entry(arm, "arm64"), entry(amd, "amd64"));
    registry.add_manifest("app", "latest", index, "application/vnd.oci.image.index.v1+json");
    auto image = must(co_await pull(images, registry.host() + "/app"));
    CHECK(image->id == amd.config_digest);
    auto by_digest = must(co_await pull(images, registry.host() + "/app@" + digest_of(index)));
    CHECK(by_digest->id == amd.config_digest);
    CHECK(by_digest->tags.size() == 1);
    std::string foreign = fmt::format(R"({{"schemaVersion":2,"manifests":[{},{}]}})", entry(arm, "arm64"), entry(arm, "riscv64"));
    registry.add_manifest("app", "foreign", foreign, "application/vnd.oci.image.index.v1+json");
    auto none = co_await pull(images, registry.host() + "/app:foreign");
    REQUIRE_FALSE(none);
    CHECK_THAT(none.error().message, Catch::Contains("no match for platform linux/amd64"));
    auto single = co_await pull(images, registry.host() + "/app:b");
    REQUIRE_FALSE(single);
    CHECK_THAT(single.error().message, Catch::Contains("linux/arm64"));
  });
}

TEST_CASE("basic and token authentication, several credentials, and their refusal") {
  with_registry([](base::Runtime&, FakeRegistry& registry, Images& images, Place&) -> Task<> {
    registry.add("private/app", "v1", build_image({layer_tar("secret")}));
    std::string reference = registry.host() + "/private/app:v1";
    RegistryCredentials good, bad;
    good.username = "user";
    good.password = "secret";
    bad.username = "user";
    bad.password = "wrong";
    for (const std::string& scheme : std::vector<std::string>{"basic", "bearer"}) {
      INFO(scheme);
      registry.scheme = scheme;
      auto nobody = co_await pull(images, reference);
      REQUIRE_FALSE(nobody);
      CHECK(nobody.error().code == 401);
      CHECK_THAT(nobody.error().message, Catch::Contains("failed to pull and unpack image \"" + reference + "\""));
      auto wrong = co_await pull(images, reference, {bad});
      REQUIRE_FALSE(wrong);
      CHECK(wrong.error().code == 401);
      must(co_await pull(images, reference, {good}));
      must(co_await images.remove(reference));
      must(co_await pull(images, reference, {bad, good}));
      must(co_await images.remove(reference));
    }
  });
}

TEST_CASE("credentials, mirrors, rewrites come from registries.yaml") {
  with_registry(
      [](base::Runtime&, FakeRegistry& registry, Images& images, Place&) -> Task<> {
        registry.scheme = "bearer";
        registry.add("hub/library/nginx", "1.25", build_image({layer_tar("nginx")}));
        auto image = must(co_await pull(images, "nginx:1.25"));
        CHECK(image->reference == "docker.io/library/nginx:1.25");
        CHECK(registry.last_ns == "docker.io");
      },
      [](ImagesOptions& options, const std::string& host) {
        options.registries.mirrors["docker.io"] = {{"http://127.0.0.1:1", "http://" + host}, {{"^library/(.*)$", "hub/library/$1"}}};
        RegistryCredentials c;
        c.username = "user";
        c.password = "secret";
        options.registries.hosts[host].credentials = c;
      });
}

TEST_CASE("blobs are followed to another host without the credentials") {
  with_registry([](base::Runtime& runtime, FakeRegistry& registry, Images& images, Place&) -> Task<> {
    FakeRegistry storage(runtime);
    storage.expect_no_authorization = true;
    auto built = build_image({layer_tar("far")});
    registry.add("app", "v1", built);
    storage.add("app", "v1", built);
    registry.scheme = "basic";
    registry.redirect_blobs_to = storage.host();
    RegistryCredentials c;
    c.username = "user";
    c.password = "secret";
    must(co_await pull(images, registry.host() + "/app:v1", {c}));
    CHECK(storage.blob_requests == 2);
    CHECK_FALSE(storage.leak);
    // Round and round.
    registry.redirect_blobs_to = registry.host();
    must(co_await images.remove(registry.host() + "/app:v1"));
    auto loop = co_await pull(images, registry.host() + "/app:v1", {c});
    REQUIRE_FALSE(loop);
    CHECK_THAT(loop.error().message, Catch::Contains("redirect"));
    co_await storage.stop();
  });
}

TEST_CASE("what is wrong is said in words a user understands, and leaves nothing behind") {
  with_registry([](base::Runtime&, FakeRegistry& registry, Images& images, Place& place) -> Task<> {
    auto absent = co_await pull(images, registry.host() + "/nope:v9");
    REQUIRE_FALSE(absent);
    CHECK(absent.error().code == 404);
    CHECK_THAT(absent.error().message,
               Catch::Contains("failed to pull and unpack image") && Catch::Contains("/nope:v9\"") && Catch::Contains("not found"));
    auto name = co_await pull(images, "Bad Name");
    REQUIRE_FALSE(name);
    CHECK(name.error().reason == "InvalidImageName");
    auto dead = co_await pull(images, "127.0.0.1:1/app");
    REQUIRE_FALSE(dead);
    CHECK(dead.error().reason == "RegistryUnavailable");

    auto built = build_image({layer_tar("good"), layer_tar("bad")});
    registry.add("app", "v1", built);
    std::string reference = registry.host() + "/app:v1";
    std::string key = "app/blobs/" + built.layer_digests[1], original = registry.blobs[key];
    registry.blobs[key] = gzip(layer_tar("evil"));
    auto corrupt = co_await pull(images, reference);
    REQUIRE_FALSE(corrupt);
    CHECK(corrupt.error().code == 422);
    CHECK_THAT(corrupt.error().message, Catch::Contains(built.layer_digests[1]));
    registry.blobs[key] = original.substr(0, 300);
    CHECK_FALSE(co_await pull(images, reference));
    CHECK(images.find(reference) == nullptr);
    CHECK(entries_of(place.path + "/images/tmp") == 0);
    registry.blobs[key] = original;
    registry.blobs["app/blobs/" + built.config_digest] = "{}";
    auto config = co_await pull(images, reference);
    REQUIRE_FALSE(config);
    CHECK_THAT(config.error().message, Catch::Contains("digest"));
    registry.blobs["app/blobs/" + built.config_digest] = built.config;
    // A manifest that is not the one asked for.
    std::string asked = digest_of("something else");
    registry.manifests["app/manifests/" + asked] = {"application/vnd.oci.image.manifest.v1+json", built.manifest};
    auto forged = co_await pull(images, registry.host() + "/app@" + asked);
    REQUIRE_FALSE(forged);
    CHECK_THAT(forged.error().message, Catch::Contains("instead of"));
    // And all is well again.
    must(co_await pull(images, reference));
  });
}

TEST_CASE("a connection that breaks in the middle of a layer is tried again") {
  with_registry([](base::Runtime&, FakeRegistry& registry, Images& images, Place&) -> Task<> {
    registry.add("app", "v1", build_image({layer_tar("large", 200'000)}, {""}));
    registry.break_blobs = 1;
    must(co_await pull(images, registry.host() + "/app:v1"));
  });
}

TEST_CASE("concurrent pulls of one layer fetch it once") {
  with_registry([](base::Runtime& runtime, FakeRegistry& registry, Images& images, Place&) -> Task<> {
    std::string shared = layer_tar("shared", 300'000);
    registry.add("one", "v1", build_image({shared, layer_tar("one")}));
    registry.add("two", "v1", build_image({shared, layer_tar("two")}));
    base::Tasks tasks(runtime);
    auto done = std::make_shared<std::atomic<int>>(0);
    auto event = std::make_shared<base::Event>();
    auto one = [](Images& i, std::string reference, std::shared_ptr<std::atomic<int>> n, std::shared_ptr<base::Event> e) -> Task<> {
      auto image = co_await i.pull(std::move(reference), {}, {});
      if (image) ++*n;
      else fmt::print(stderr, "{}\n", image.error().message);
      e->notify();
    };
    for (int i = 0; i < 4; ++i) {
      tasks.spawn("pull", one(images, registry.host() + "/one:v1", done, event));
      tasks.spawn("pull", one(images, registry.host() + "/two:v1", done, event));
    }
    auto deadline = base::Clock::now() + 10s;
    while (*done < 8 && base::Clock::now() < deadline) co_await base::sleep_for(5ms);
    CHECK(*done == 8);
    co_await tasks.stop();
    CHECK(images.usage().layers == 3);
    CHECK(images.usage().images == 2);
    CHECK(registry.blob_requests == 3 + 8);  // layers, and each pull's configuration
  });
}

TEST_CASE("a tag that moves leaves the old image untagged; shared layers stay while needed") {
  with_registry([](base::Runtime&, FakeRegistry& registry, Images& images, Place& place) -> Task<> {
    std::string shared = layer_tar("shared");
    auto first = build_image({shared, layer_tar("first")});
    auto second = build_image({shared, layer_tar("second")});
    std::string reference = registry.host() + "/app:latest";
    registry.add("app", "latest", first);
    must(co_await pull(images, reference));
    registry.add("app", "latest", second);
    must(co_await pull(images, reference));
    CHECK(images.find(reference)->id == second.config_digest);
    REQUIRE(images.find(first.config_digest));
    CHECK(images.find(first.config_digest)->tags.empty());
    must(co_await images.remove(first.config_digest));
    CHECK(entries_of(place.path + "/images/l") == 2);
    CHECK(must(images.layers(*images.find(reference))).size() == 2);
  });
}

TEST_CASE("a registry with a private CA is trusted by its file, or not at all, or unseen") {
  if (!base::exists("/usr/bin/openssl")) {
    WARN("skipped: openssl is not installed");
    return;
  }
  Place place;
  std::string command = fmt::format(
      "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out ca.pem -days 2 -subj "
      "/CN=registry "
      "-addext subjectAltName=IP:127.0.0.1 >/dev/null 2>&1",
      place.path);
  REQUIRE(::system(command.c_str()) == 0);
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    base::http::TlsServerOptions server;
    server.identity = {must(base::read_file(place.path + "/ca.pem")), must(base::read_file(place.path + "/key.pem"))};
    FakeRegistry registry(runtime, must(base::http::make_server_context(server)));
    registry.add("app", "v1", build_image({layer_tar("tls")}));
    enum { none, ca, unseen };
    for (int how : {none, ca, unseen}) {
      INFO(how);
      auto options = options_in(place);
      options.root += std::to_string(how);
      auto& host = options.registries.hosts[registry.host()];
      if (how == ca) host.ca_file = place.path + "/ca.pem";
      host.insecure_skip_verify = how == unseen;
      Images images(runtime, options);
      must(co_await images.start());
      auto image = co_await pull(images, registry.host() + "/app:v1");
      CHECK(image.has_value() == (how != none));
      co_await images.stop();
    }
    co_await registry.stop();
  });
}
