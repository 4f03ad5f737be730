// Archives of images in <data-dir>/images.
#include <filesystem>

#include "tests/unit/runtime/images/fake_registry.h"

using namespace runtime;
using namespace runtime::testing;

namespace {

std::string docker_archive(const Built& image, const std::vector<std::string>& layers, const std::string& tag) {
  Tar tar;
  boost::json::array names;
  for (size_t i = 0; i < layers.size(); ++i) {
    tar.file(fmt::format("{}/layer.tar", i), layers[i]);
    names.emplace_back(fmt::format("{}/layer.tar", i));
  }
  tar.file("config.json", image.config);
  boost::json::array manifest{boost::json::object{{"Config", "config.json"}, {"RepoTags", {tag}}, {"Layers", names}}};
  tar.file("manifest.json", base::to_text(boost::json::value(manifest)));
  return tar.bytes();
}

std::string oci_archive(const Built& image, const std::string& name) {
  Tar tar;
  tar.file("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  for (auto& [digest, data] : image.blobs) tar.file("blobs/sha256/" + digest.substr(7), data);
  tar.file("blobs/sha256/" + image.manifest_digest.substr(7), image.manifest);
  tar.file(
      "index.json",
      fmt::format(R"({{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},)"
                  R"("annotations":{{"io.containerd.image.name":"{}"}}}}]}})",
                  image.manifest_digest, image.manifest.size(), name));
  return tar.bytes();
}

}  // namespace

TEST_CASE("archives in a directory are imported once, whatever their form and compression") {
  Place place;
  std::vector<std::string> one{Tar().file("a", "1").bytes(), Tar().file("b", "2").bytes()}, two{Tar().file("c", "3").bytes()};
  auto first = build_image(one), second = build_image(two);
  std::string directory = place.path + "/import";
  REQUIRE(base::make_dirs(directory));
  REQUIRE(base::write_file_atomic(directory + "/one.tar.zst", zstd(docker_archive(first, one, "app:1"))));
  REQUIRE(base::write_file_atomic(directory + "/two.tar.gz", gzip(oci_archive(second, "registry.local/two:2"))));
  REQUIRE(base::write_file_atomic(directory + "/bad.tar", "no archive at all, and of some length, so that it is looked at"));
  REQUIRE(base::write_file_atomic(directory + "/notes.txt", "not for us"));
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    ImagesOptions options;
    options.root = place.path + "/images";
    {
      Images images(runtime, options);
      must(co_await images.start());
      auto imported = must(co_await images.import_directory(directory));
      CHECK(imported.size() == 2);
      auto app = images.find("app:1");
      REQUIRE(app);
      CHECK(app->id == first.config_digest);
      CHECK(app->pinned);
      CHECK(must(images.layers(*app)).size() == 2);
      REQUIRE(images.find("registry.local/two:2"));
      CHECK(must(co_await images.import_directory(directory)).empty());
      co_await images.stop();
    }
    Images again(runtime, options);
    must(co_await again.start());
    CHECK(must(co_await again.import_directory(directory)).empty());
    CHECK(again.list().size() == 2);
    REQUIRE(base::write_file_atomic(directory + "/one.tar.zst", zstd(docker_archive(second, two, "app:1"))));
    CHECK(must(co_await again.import_directory(directory)).size() == 1);
    CHECK(again.find("app:1")->id == second.config_digest);
    co_await again.stop();
  });
  place.check_canary();
}

TEST_CASE("archives that lie or climb are refused") {
  Place place;
  std::vector<std::string> layers{Tar().file("a", "1").bytes()};
  auto image = build_image(layers);
  auto other = build_image({Tar().file("a", "2").bytes()});
  std::vector<std::string> archives;
  archives.push_back(docker_archive(image, {Tar().file("a", "2").bytes()}, "app:1"));  // layer is not the one of the configuration
  archives.push_back(docker_archive(image, {}, "app:1"));
  auto swapped = image;
  swapped.blobs[image.layer_digests[0]] = other.blobs[other.layer_digests[0]];
  archives.push_back(oci_archive(swapped, "x/y:1"));
  auto missing = image;
  missing.blobs.erase(image.layer_digests[0]);
  archives.push_back(oci_archive(missing, "x/y:1"));
  archives.push_back(
      Tar().symlink("config.json", "/etc/passwd").file("manifest.json", R"([{"Config":"config.json","Layers":[]}])").bytes());
  archives.push_back(Tar().symlink("l", "../canary").file("manifest.json", R"([{"Config":"l/file","Layers":[]}])").bytes());
  archives.push_back(Tar().file("manifest.json", R"([{"Config":"../canary/file","Layers":["/etc/passwd"]}])").bytes());
  archives.push_back(Tar().file("manifest.json", "nonsense").bytes());
  archives.push_back(Tar().file("../canary/file", "dead").bytes());
  archives.push_back(Tar().device("manifest.json", 1, 3).bytes());
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    ImagesOptions options;
    options.root = place.path + "/images";
    Images images(runtime, options);
    must(co_await images.start());
    for (size_t i = 0; i < archives.size(); ++i) {
      INFO("archive " << i);
      std::string path = place.path + "/x.tar";
      REQUIRE(base::write_file_atomic(path, archives[i]));
      auto imported = co_await images.import_archive(path);
      REQUIRE_FALSE(imported);
      CHECK(imported.error().code == 422);
      place.check_canary();
    }
    CHECK(images.list().empty());
    CHECK(images.usage().layers == 0);
    co_await images.stop();
  });
}
