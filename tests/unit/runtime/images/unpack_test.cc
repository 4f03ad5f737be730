// Good layers, unpacked by the confined process.
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/bytes.h"
#include "runtime/images/digest.h"
#include "tests/unit/runtime/images/fixture.h"

using namespace runtime;
using namespace runtime::testing;

TEST_CASE("files, directories, links, owners, modes, times and attributes arrive as they are in the layer") {
  Place place;
  Tar tar;
  tar.directory("./", 0751);
  tar.directory("etc/", 0700);
  Tar::Options o;
  o.mode = 04755;
  o.uid = 1000;
  o.gid = 2000;
  o.pax["SCHILY.xattr.user.color"] = "blue";
  o.pax["SCHILY.xattr.trusted.overlay.redirect"] = "/evil";
  tar.file("etc/passwd", "root:x:0:0", o);
  tar.file("deep/below/missing/file", std::string(300'000, 'z'));
  tar.symlink("link", "/etc/passwd");
  tar.hardlink("hard", "etc/passwd");
  tar.device("null", 1, 3);
  tar.device("pipe", 0, 0, '6');
  tar.file("n\xc3\xa4me \xe2\x9c\x93 " + std::string(120, 'n'), "utf-8");
  for (auto& [name, data] :
       std::map<std::string, std::string>{{"plain", tar.bytes()},
                                          {"gzip", gzip(tar.bytes())},
                                          {"zstd", zstd(tar.bytes())},
                                          {"two members", gzip(tar.bytes().substr(0, 700)) + gzip(tar.bytes().substr(700))}}) {
    INFO(name);
    Place p;
    auto layer = must(unpack_bytes(p, data, [&](UnpackJob& j) {
      j.digest = digest_of(data);
      j.size = data.size();
      j.diff_id = digest_of(tar.bytes());
    }));
    CHECK(layer.bytes == 10 + 300'000 + 5);
    struct stat s = p.stat_of("etc/passwd");
    CHECK((s.st_mode & 07777) == 04755);
    CHECK(s.st_uid == 1000);
    CHECK(s.st_gid == 2000);
    CHECK(s.st_nlink == 2);
    CHECK(s.st_mtim.tv_sec == 1'700'000'000);
    CHECK((p.stat_of("etc").st_mode & 07777) == 0700);
    CHECK(p.stat_of("etc").st_mtim.tv_sec == 1'700'000'000);
    CHECK((p.stat_of("").st_mode & 07777) == 0751);
    CHECK(p.stat_of("deep/below/missing/file").st_size == 300'000);
    CHECK(S_ISLNK(p.stat_of("link").st_mode));
    CHECK(p.stat_of("null").st_rdev == makedev(1, 3));
    CHECK(S_ISFIFO(p.stat_of("pipe").st_mode));
    CHECK(p.has("n\xc3\xa4me \xe2\x9c\x93 " + std::string(120, 'n')));
    char value[16];
    std::string file = p.target + "/etc/passwd";
    CHECK(::getxattr(file.c_str(), "user.color", value, sizeof value) == 4);
    CHECK(::getxattr(file.c_str(), "trusted.overlay.redirect", value, sizeof value) < 0);
    p.check_canary();
  }
}

TEST_CASE("whiteouts and opaque directories take overlayfs' form") {
  Place place;
  Tar tar;
  tar.file("a/.wh.gone");
  tar.directory("b/");
  tar.file("b/.wh..wh..opq");
  tar.file("b/new", "new");
  tar.file("c/.wh.dir");
  tar.directory("c/dir/");  // replaced: hides the old content
  tar.file("c/.wh..wh.plnk");
  tar.file("d/own", "stays");
  tar.file("d/.wh.own");  // hides what is below, not this layer's own
  must(unpack_bytes(place, gzip(tar.bytes())));
  struct stat s = place.stat_of("a/gone");
  CHECK(S_ISCHR(s.st_mode));
  CHECK(s.st_rdev == 0);
  char value[8];
  CHECK(::getxattr((place.target + "/b").c_str(), "trusted.overlay.opaque", value, sizeof value) == 1);
  CHECK(::getxattr((place.target + "/c/dir").c_str(), "trusted.overlay.opaque", value, sizeof value) == 1);
  CHECK(::getxattr((place.target + "/a").c_str(), "trusted.overlay.opaque", value, sizeof value) < 0);
  CHECK(S_ISDIR(place.stat_of("c/dir").st_mode));
  CHECK_FALSE(place.has("c/.wh..wh.plnk"));
  CHECK(place.stat_of("d/own").st_size == 5);
}

TEST_CASE("a later entry replaces an earlier one of the same name") {
  Place place;
  Tar tar;
  tar.file("x", "first").file("x", "second!");
  tar.file("dir/sub/file", "1").file("dir", "now a file");
  tar.symlink("l", "nowhere").directory("l/");
  tar.directory("keep/").file("keep/a", "1").directory("keep/", 0700);
  must(unpack_bytes(place, tar.bytes()));
  CHECK(place.stat_of("x").st_size == 7);
  CHECK(S_ISREG(place.stat_of("dir").st_mode));
  CHECK(S_ISDIR(place.stat_of("l").st_mode));
  CHECK(place.has("keep/a"));
  CHECK((place.stat_of("keep").st_mode & 07777) == 0700);
}

TEST_CASE("empty layers and odd chunkings are fine") {
  for (const std::string& data :
       std::vector<std::string>{std::string(1024, '\0'), std::string(10240, '\0'), gzip(std::string(1024, '\0')), std::string()}) {
    Place place;
    auto layer = must(unpack_bytes(place, data));
    CHECK(layer.bytes == 0);
  }
  Place place;
  Tar tar;
  for (int i = 0; i < 200; ++i) tar.file(fmt::format("f{}", i), std::string(static_cast<size_t>(i) * 11, 'x'));
  auto layer = must(unpack_bytes(place, gzip(tar.bytes()), {}, 7));
  CHECK(layer.entries == 200);
  CHECK(layer.diff_id == digest_of(tar.bytes()));
}
