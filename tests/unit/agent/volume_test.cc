#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "agent/node/local_storage.h"
#include "agent/volumes/atomic_directory.h"
#include "agent/volumes/host_path.h"
#include "agent/volumes/payload.h"
#include "base/files.h"

using namespace agent;

namespace {

struct Directory {
  std::string path;
  Directory() {
    char name[] = "/tmp/unit_agent_vol_XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Directory() { (void)base::remove_all(path); }
};

std::string link(const std::string& p) {
  char b[256];
  ssize_t n = ::readlink(p.c_str(), b, sizeof b);
  return n > 0 ? std::string(b, static_cast<size_t>(n)) : "";
}
mode_t mode(const std::string& p) {
  struct stat s{};
  ::stat(p.c_str(), &s);
  return s.st_mode & 07777;
}

}  // namespace

TEST_CASE("paths in volumes") {
  for (const char* good : {"a", "a/b", "a..b", ".hidden"}) CHECK(is_volume_path(good));
  for (const char* bad : {"", "/a", "..", "../a", "a/../b", "..a", "a//b", "a/", "./a"}) CHECK_FALSE(is_volume_path(bad));
}

TEST_CASE("keys become files") {
  Payload p;
  std::map<std::string, std::string> data{{"a", "1"}, {"b", "2"}};
  REQUIRE(add_keys(p, data, {}, 0644, false, "configmap m"));
  CHECK(p.size() == 2);
  Payload chosen;
  api::core::KeyToPath item;
  item.key = "a";
  item.path = "x/y";
  item.mode = 0400;
  REQUIRE(add_keys(chosen, data, {item}, 0644, false, "configmap m"));
  CHECK(chosen.at("x/y") == VolumeFile{"1", 0400, {}});
  item.key = "none";
  CHECK(add_keys(chosen, data, {item}, 0644, false, "configmap m").error().message == "configmap m references non-existent key: none");
  CHECK(add_keys(chosen, data, {item}, 0644, true, "configmap m"));
  item = {"a", "../escape", {}};
  CHECK_FALSE(add_keys(chosen, data, {item}, 0644, false, "configmap m"));
}

TEST_CASE("an atomic directory publishes a set of files through one link") {
  Directory d;
  std::string v = d.path + "/v";
  Payload first{{"key", {"one", 0644, {}}}, {"dir/file", {"two", 0400, {}}}};
  auto r = write_atomic_directory(v, first);
  REQUIRE(r);
  CHECK(*r);
  CHECK(link(v + "/key") == "..data/key");
  CHECK(link(v + "/dir") == "..data/dir");
  CHECK(*base::read_file(v + "/key") == "one");
  CHECK(*base::read_file(v + "/dir/file") == "two");
  CHECK(mode(v + "/dir/file") == 0400);
  std::string set = link(v + "/..data");

  SECTION("the same again changes nothing") {
    CHECK_FALSE(*write_atomic_directory(v, first));
    CHECK(link(v + "/..data") == set);
  }
  SECTION("a change replaces all, what is gone disappears, the old set is removed") {
    Payload second{{"key", {"new", 0644, {}}}, {"more", {"", 0644, {}}}};
    CHECK(*write_atomic_directory(v, second));
    CHECK(link(v + "/..data") != set);
    CHECK(*base::read_file(v + "/key") == "new");
    CHECK(base::exists(v + "/more"));
    CHECK(link(v + "/dir").empty());
    CHECK_FALSE(base::exists(v + "/" + set));
  }
  SECTION("a vanished file and a changed mode are noticed") {
    Payload fewer{{"key", {"one", 0644, {}}}};
    CHECK(*write_atomic_directory(v, fewer));
    fewer["key"].mode = 0600;
    CHECK(*write_atomic_directory(v, fewer));
    CHECK(mode(v + "/key") == 0600);
  }
  SECTION("the leftovers of a crash are cleaned up") {
    ::mkdir((v + "/..2020_01_01_00_00_00.abc").c_str(), 0755);
    REQUIRE(::symlink("nowhere", (v + "/..data_tmp").c_str()) == 0);
    Payload second{{"key", {"new", 0644, {}}}};
    CHECK(*write_atomic_directory(v, second));
    CHECK_FALSE(base::exists(v + "/..2020_01_01_00_00_00.abc"));
    CHECK(*base::read_file(v + "/key") == "new");
  }
}

TEST_CASE("an atomic directory belongs to the fsGroup") {
  if (::geteuid() != 0) return;
  Directory d;
  std::string v = d.path + "/v";
  REQUIRE(write_atomic_directory(v, {{"key", {"x", 0600, {}}}}, 1234));
  struct stat s{};
  ::stat((v + "/key").c_str(), &s);
  CHECK(s.st_gid == 1234);
  CHECK((s.st_mode & 07777) == 0640);
}

TEST_CASE("hostPath types") {
  Directory d;
  CHECK(check_host_path(d.path + "/made", "DirectoryOrCreate"));
  CHECK(check_host_path(d.path + "/made", "Directory"));
  CHECK_FALSE(check_host_path(d.path + "/made", "File"));
  CHECK_FALSE(check_host_path(d.path + "/absent", "Directory"));
  CHECK(check_host_path(d.path + "/file", "FileOrCreate"));
  CHECK(check_host_path(d.path + "/file", "File"));
  CHECK_FALSE(check_host_path(d.path + "/file", "Socket"));
  CHECK_FALSE(check_host_path("relative", ""));
  CHECK_FALSE(check_host_path(d.path, "Nonsense"));
  CHECK(check_host_path("/dev/null", "CharDevice"));
}

TEST_CASE("giving to a group does not follow links") {
  if (::geteuid() != 0) return;
  Directory d, outside;
  std::ofstream(outside.path + "/secret") << "x";
  REQUIRE(::symlink(outside.path.c_str(), (d.path + "/link").c_str()) == 0);
  std::ofstream(d.path + "/own") << "x";
  REQUIRE(give_to_group(d.path, 4321));
  struct stat s{};
  ::stat((d.path + "/own").c_str(), &s);
  CHECK(s.st_gid == 4321);
  ::stat((outside.path + "/secret").c_str(), &s);
  CHECK(s.st_gid != 4321);
}

TEST_CASE("what a pod takes of the disk is counted without following its links") {
  Directory d;
  auto volume = d.path + "/u/volumes/empty-dir~v";
  CHECK(base::make_dirs(volume + "/deep/er", 0755));
  std::ofstream(volume + "/deep/er/file") << std::string(300'000, 'x');
  CHECK(::link((volume + "/deep/er/file").c_str(), (volume + "/again").c_str()) == 0);
  CHECK(::symlink("/usr", (volume + "/elsewhere").c_str()) == 0);
  CHECK(disk_usage(volume) >= 300'000);
  CHECK(disk_usage(volume) < 400'000);
  CHECK(disk_usage(volume + "/elsewhere") == 0);
  CHECK(disk_usage(d.path + "/none") == 0);

  auto pod = std::make_shared<api::core::Pod>();
  pod->metadata.uid = "u";
  auto& v = pod->spec.volumes.emplace_back();
  v.name = "v";
  v.emptyDir.emplace();
  CHECK_FALSE(limits_storage(*pod));
  v.emptyDir->sizeLimit = "200Ki";
  CHECK(limits_storage(*pod));
  PodView view;
  view.pod = pod;
  CHECK(exceeded_storage(view, d.path) == "Usage of EmptyDir volume \"v\" exceeds the limit \"200Ki\".");
  v.emptyDir->sizeLimit = "1Mi";
  CHECK_FALSE(exceeded_storage(view, d.path));
  auto& c = pod->spec.containers.emplace_back();
  c.name = "c";
  c.resources.emplace().limits = {{"ephemeral-storage", "250Ki"}};
  view.containers.emplace_back().name = "c";
  view.containers[0].log_path = d.path + "/logs/0.log";
  CHECK(exceeded_storage(view, d.path) == "Pod ephemeral local storage usage exceeds the total limit of containers 256000.");
  v.emptyDir->sizeLimit.clear();
  CHECK(base::remove_all(volume));
  CHECK_FALSE(exceeded_storage(view, d.path));
  std::ofstream(d.path + "/u/etc-hosts") << std::string(300'000, 'x');
  CHECK(exceeded_storage(view, d.path) == "Pod ephemeral local storage usage exceeds the total limit of containers 256000.");
  CHECK(base::make_dirs(d.path + "/logs", 0755));
  std::ofstream(view.containers[0].log_path) << std::string(300'000, 'x');
  CHECK(exceeded_storage(view, d.path) == "Container c exceeded its local ephemeral storage limit \"250Ki\".");
}
