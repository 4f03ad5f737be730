// Layers that want out, or want too much. Each must fail or stay inside, and the canary must live.
#include <fcntl.h>

#include "base/bytes.h"
#include "runtime/images/digest.h"
#include "tests/unit/runtime/images/fixture.h"

using namespace runtime;
using namespace runtime::testing;

namespace {

// The name of the canary as seen from the target, climbing and absolute.
std::string climbing(const char* suffix = "") { return std::string("../canary/file") + suffix; }

base::Error refused(const Place& place, const std::string& data, std::function<void(UnpackJob&)> change = {}) {
  auto result = unpack_bytes(place, data, std::move(change));
  place.check_canary();
  REQUIRE_FALSE(result);
  INFO(result.error().message);
  CHECK(result.error().code == 422);
  CHECK(result.error().reason == "ImageInvalid");
  return result.error();
}

// May succeed or not: nothing outside changes.
void contained(const Place& place, const Tar& tar) {
  (void)unpack_bytes(place, tar.bytes());
  place.check_canary();
}

}  // namespace

TEST_CASE("names that climb out are refused") {
  for (const std::string& name : std::vector<std::string>{"../canary/file", "a/../../canary/file", "a/b/../../../canary/file", "..",
                                                          "../../../../../../etc/passwd", "a/.."}) {
    INFO(name);
    Place place;
    refused(place, Tar().file(name, "dead").bytes());
  }
}

TEST_CASE("absolute names land inside") {
  Place place;
  Tar tar;
  tar.file(place.path + "/canary/file", "dead").file("//etc/x", "y");
  must(unpack_bytes(place, tar.bytes()));
  place.check_canary();
  CHECK(place.has("etc/x"));
  CHECK(place.has(place.path.substr(1) + "/canary/file"));
}

TEST_CASE("writing through a symbolic link stays inside") {
  for (const std::string& to : std::vector<std::string>{std::string("../canary"), std::string("../../../../../../../../../../../../tmp"),
                                                        std::string("/"), std::string("/proc/self/cwd")}) {
    INFO(to);
    Place place;
    Tar tar;
    tar.symlink("out", to)
        .file("out/file", "dead")
        .file("out/canary/file", "dead")
        .file("out" + place.path.substr(4) + "/canary/file", "dead");
    contained(place, tar);
  }
  Place place;
  Tar absolute;
  absolute.symlink("out", place.path + "/canary").file("out/file", "dead").file("out", "dead");
  contained(place, absolute);
  Place chain;
  Tar links;
  links.symlink("a", "b").symlink("b", "c").symlink("c", "../canary").file("a/file", "dead").directory("a/").symlink("c/file", "x");
  contained(chain, links);
  Place self;
  Tar loop;
  loop.symlink("l", "l").file("l/file", "dead");
  refused(self, loop.bytes());
}

TEST_CASE("a file over a symbolic link replaces the link") {
  Place place;
  Tar tar;
  tar.symlink("f", climbing()).file("f", "dead");
  must(unpack_bytes(place, tar.bytes()));
  place.check_canary();
  CHECK(S_ISREG(place.stat_of("f").st_mode));
}

TEST_CASE("hard links cannot name what is outside") {
  for (const std::string& to :
       std::vector<std::string>{std::string("../canary/file"), std::string("/etc/passwd"), std::string("a/../../canary/file")}) {
    INFO(to);
    Place place;
    refused(place, Tar().hardlink("h", to).bytes());
  }
  {
    Place place;
    Tar tar;
    tar.symlink("out", "../canary").hardlink("h", "out/file");
    refused(place, tar.bytes());
  }
  {
    // A link to a link: the link itself is linked, not what it points to.
    Place place;
    Tar tar;
    tar.symlink("out", place.path + "/canary/file").hardlink("h", "out").file("h", "dead");
    contained(place, tar);
  }
  {
    // Changing the mode through a hard link of a symbolic link.
    Place place;
    Tar tar;
    Tar::Options o;
    o.mode = 0777;
    o.link = place.path + "/canary/file";
    tar.symlink("s", place.path + "/canary/file").hardlink("s2", "s").add('1', "s3", "", o);
    contained(place, tar);
  }
  Place place;
  Tar tar;
  tar.directory("d/").hardlink("h", "d");
  refused(place, tar.bytes());
}

TEST_CASE("whiteouts cannot reach outside") {
  for (const std::string& name : std::vector<std::string>{".wh...", ".wh..", "a/.wh...", ".wh."}) {
    INFO(name);
    Place place;
    refused(place, Tar().file(name).bytes());
  }
  Place place;
  Tar tar;
  tar.symlink("out", "../canary").file("out/.wh.file").file("out/.wh..wh..opq");
  contained(place, tar);
  Place absolute;
  Tar tar2;
  tar2.symlink("out", absolute.path + "/canary").file("out/.wh.file").file("out/.wh..wh..opq");
  contained(absolute, tar2);
}

TEST_CASE("bombs are stopped at the limits") {
  auto small = [](UnpackJob& j) {
    j.limits.bytes = 1 << 20;
    j.limits.entries = 100;
  };
  {
    Place place;
    CHECK_THAT(refused(place, gzip(Tar().file("big", std::string(2 << 20, '\0')).bytes()), small).message, Catch::Contains("larger"));
  }
  {
    Place place;
    Tar tar;
    for (int i = 0; i < 40; ++i) tar.file(fmt::format("f{}", i), std::string(50'000, '\0'));
    refused(place, zstd(tar.bytes()), small);
  }
  {
    Place place;
    Tar tar;
    for (int i = 0; i < 200; ++i) tar.file(fmt::format("f{}", i));
    CHECK_THAT(refused(place, gzip(tar.bytes()), small).message, Catch::Contains("entries"));
  }
  {
    // Padding after the end of the archive.
    Place place;
    refused(place, gzip(Tar().file("f", "x").bytes() + std::string(8 << 20, '\0')), small);
  }
  {
    // A file of a petabyte of nothing.
    Place place;
    Tar::Options o;
    o.claimed_size = 0777777777777;
    refused(place, Tar().file("huge", "x", o).bytes(), small);
  }
  {
    Place place;
    Tar::Options o;
    for (int i = 0; i < 20; ++i) o.pax[fmt::format("SCHILY.xattr.user.x{}", i)] = std::string(4000, 'v');
    refused(place, Tar().file("f", "x", o).bytes());
  }
  {
    Place place;
    std::string deep;
    for (int i = 0; i < 600; ++i) deep += "d/";
    refused(place, Tar().file(deep + "f", "x").bytes());
    Place place2;
    refused(place2, Tar().file(std::string(300, 'n'), "x").bytes());
    Place place3;
    refused(place3, Tar().file(std::string(5000, 'n'), "x").bytes());
  }
}

TEST_CASE("damaged and wrong bytes are refused") {
  std::string good = gzip(Tar().file("f", std::string(100'000, 'q')).bytes());
  {
    Place place;
    refused(place, good.substr(0, good.size() / 2));
  }
  {
    Place place;
    std::string bad = good;
    bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 0x55);
    CHECK_THAT(refused(place, bad, [&](UnpackJob& j) { j.digest = digest_of(good); }).message,
               Catch::Contains("digest") || Catch::Contains("damaged"));
  }
  {
    Place place;
    CHECK_THAT(refused(place, good, [&](UnpackJob& j) { j.digest = digest_of("else"); }).message, Catch::Contains("digest of the layer"));
  }
  {
    Place place;
    CHECK_THAT(refused(place, good, [&](UnpackJob& j) { j.diff_id = digest_of("else"); }).message, Catch::Contains("uncompressed"));
  }
  {
    Place place;
    refused(place, good, [&](UnpackJob& j) { j.size = good.size() - 1; });
    Place place2;
    refused(place2, good, [&](UnpackJob& j) { j.size = good.size() + 1; });
  }
  for (const std::string& junk :
       std::vector<std::string>{std::string("hello, I am not an archive, but long enough to be looked at ").append(2000, 'x'),
                                std::string("\x1f\x8b\x08junkjunkjunk"), std::string("\x28\xb5\x2f\xfdjunkjunkjunk")}) {
    Place place;
    refused(place, junk);
  }
  {
    Place place;
    std::string cut = Tar().file("f", std::string(5000, 'x')).unfinished();
    refused(place, cut.substr(0, 2000));
  }
}

TEST_CASE("random bytes in archives never reach the canary") {
  Tar tar;
  tar.directory("d/").file("d/f", std::string(700, 'x')).symlink("s", "../canary").hardlink("h", "d/f").file("s/file", "dead").file(".wh.x");
  std::string good = tar.bytes();
  unsigned state = 12345;
  auto random = [&] { return state = state * 1664525u + 1013904223u, state >> 8; };
  for (int i = 0; i < 60; ++i) {
    Place place;
    std::string bad = good;
    for (int flips = 0; flips < 8; ++flips) bad[random() % bad.size()] = static_cast<char>(random());
    (void)unpack_bytes(place, i % 2 ? bad : gzip(bad));
    place.check_canary();
  }
}
