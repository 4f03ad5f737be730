#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/files.h"
#include "runtime/container/launch.h"
#include "runtime/container/paths.h"
#include "runtime/container/users.h"
#include "runtime/sandbox/protocol.h"

using namespace runtime;

TEST_CASE("ids are whole decimal numbers of 32 bits") {
  CHECK(parse_id("0") == 0u);
  CHECK(parse_id("4294967294") == 4294967294u);
  for (const char* bad : {"", "-1", "+1", " 1", "1 ", "1x", "0x1", "4294967295", "4294967296", "99999999999999999999"}) {
    INFO(bad);
    CHECK_FALSE(parse_id(bad));
  }
}

TEST_CASE("users resolve strictly") {
  const std::string passwd =
      "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nfoo:x:nan:1:::\napp:x:100:200:a:/home/app:/bin/sh\n12:x:500:501::/n:/bin/sh\n";
  const std::string group = "root:x:0:\nteam:x:300:app\nbad:x:y:app\nmore:x:301:other,app,third\n";
  auto ok = [&](const char* user) { return *resolve_user({.image_user = user}, passwd, group); };
  CHECK(ok("").uid == 0);
  CHECK(ok("app").uid == 100);
  CHECK(ok("app").gid == 200);
  CHECK(ok("app").groups == std::vector<uint32_t>{200, 300, 301});
  CHECK(ok("app").home == "/home/app");
  CHECK(ok("100").name == "app");
  CHECK(ok("12").uid == 12);  // a number is a number, whatever the file calls itself
  CHECK(ok("app:team").gid == 300);
  CHECK(ok("app:team").groups == std::vector<uint32_t>{300});
  CHECK(ok("7:8").gid == 8);
  CHECK(ok("7").gid == 0);
  for (const char* bad : {"who", "app:", "app:who", "a:b:c", "-1", "1:-1", "1:2:3", "foo", "4294967295"}) {
    INFO(bad);
    CHECK_FALSE(resolve_user({.image_user = bad}, passwd, group));
  }
  User strict{.require_non_root = true};
  CHECK_FALSE(resolve_user(strict, passwd, group));
  strict.uid = 1;
  CHECK(resolve_user(strict, passwd, group));
  strict.uid = 0;
  CHECK_FALSE(resolve_user(strict, passwd, group));
  User apart{.image_user = "app", .supplementary_gids = {9}, .merge_image_groups = false};
  CHECK(resolve_user(apart, passwd, group)->groups == std::vector<uint32_t>{9, 200});
}

TEST_CASE("signals and capabilities by name") {
  CHECK(parse_signal("SIGTERM") == 15);
  CHECK(parse_signal("term") == 15);
  CHECK(parse_signal("9") == 9);
  CHECK(parse_signal("SIGRTMIN+3") == 37);
  CHECK(parse_signal("SIGRTMAX-1") == 63);
  for (const char* bad : {"", "0", "65", "SIGFOO", "RTMIN+", "RTMIN+99", "-9"}) CHECK_FALSE(parse_signal(bad));
  CHECK(parse_capability("CAP_NET_ADMIN") == 12);
  CHECK(parse_capability("net_admin") == 12);
  CHECK_FALSE(parse_capability("CAP_"));
}

TEST_CASE("the environment is completed, later entries win") {
  auto env = complete_environment({"A=1", "B=2", "A=3", "junk", "=x", "PATH="}, "/home/x", "host", true);
  CHECK(env == std::vector<std::string>{"A=3", "B=2", "PATH=", "HOME=/home/x", "HOSTNAME=host", "TERM=xterm"});
}

TEST_CASE("messages survive the wire, unknown fields are skipped, garbage is refused") {
  ContainerSpec spec;
  spec.id = "x";
  spec.argv = {"a", "", "c"};
  spec.user.uid = 0;
  spec.user.supplementary_gids = {1, 2};
  spec.mounts = {{.source = "/a", .target = "/b", .read_only = true, .propagation = Propagation::bidirectional}};
  spec.resources.cpu_quota_us = -1;
  spec.resources.hugepage_bytes = {{"2MB", 4}};
  spec.labels = {{"k", "v"}, {"empty", ""}};
  spec.oom_score_adj = -998;
  ContainerSpec back;
  REQUIRE(wire::decode(wire::encode(spec), back));
  CHECK(back.argv == spec.argv);
  CHECK(back.user.uid == 0u);
  CHECK_FALSE(back.user.gid);
  CHECK(back.user.supplementary_gids == spec.user.supplementary_gids);
  REQUIRE(back.mounts.size() == 1);
  CHECK(back.mounts[0].propagation == Propagation::bidirectional);
  CHECK(back.resources.cpu_quota_us == -1);
  CHECK(back.resources.hugepage_bytes == spec.resources.hugepage_bytes);
  CHECK(back.labels == spec.labels);
  CHECK(back.oom_score_adj == -998);
  CHECK(wire::encode(back) == wire::encode(spec));

  std::string extended = wire::encode(spec);
  wire::Encoder future;
  future(99, std::string("from a later release"));
  extended += future.take();
  CHECK(wire::decode(extended, back));
  for (size_t n = 1; n < extended.size(); n += 7) {
    ContainerSpec partial;
    (void)wire::decode(std::string_view(extended).substr(0, n), partial);
  }
  CHECK_FALSE(wire::decode(std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11), back));
}

TEST_CASE("reports of children are read even when cut short") {
  auto r = parse_report(std::string("R7 8 2 8 9\n/home\0E422 127 StartError\nno \"x\"\0", 44));
  REQUIRE(r.identity);
  CHECK(r.identity->uid == 7);
  CHECK(r.identity->groups == std::vector<uint32_t>{8, 9});
  CHECK(r.identity->home == "/home");
  REQUIRE(r.failure);
  CHECK(r.exit_code == 127);
  CHECK(r.failure->message == "no \"x\"");
  for (const char* text : {"", "R", "E", "E1\n", "R1\n"}) CHECK_FALSE(parse_report(text).failure);
}

TEST_CASE("paths below a root never lead out of it") {
  std::string dir = "/var/tmp/runtime-paths-" + base::random_suffix(6), root = dir + "/root";
  REQUIRE(base::make_dirs(root + "/a/b", 0755));
  REQUIRE(base::make_dirs(dir + "/outside", 0755));
  struct Remove {
    std::string dir;
    ~Remove() { (void)base::remove_all(dir); }
  } remove{dir};
  (void)!::symlink("../../outside", (root + "/up").c_str());
  (void)!::symlink((dir + "/outside").c_str(), (root + "/abs").c_str());
  (void)!::symlink("/not/yet", (root + "/dangling").c_str());
  (void)!::symlink("loop", (root + "/loop").c_str());
  (void)!::symlink("a/b", (root + "/fine").c_str());
  (void)!::symlink("/proc/self/root", (root + "/magic").c_str());
  base::Fd fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  auto outside_empty = [&] { return ::rmdir((dir + "/outside").c_str()) == 0 && ::mkdir((dir + "/outside").c_str(), 0755) == 0; };

  CHECK(make_directory_below(fd.get(), "/x/y/z", 0755));
  CHECK(base::exists(root + "/x/y/z"));
  CHECK(make_directory_below(fd.get(), "fine/c", 0755));
  CHECK(base::exists(root + "/a/b/c"));
  CHECK(make_directory_below(fd.get(), "dangling/here", 0755));
  CHECK(base::exists(root + "/not/yet/here"));
  for (const char* path : {"up/x", "abs/x", "../x", "../../x", "a/../../x", "up/../../x"}) {
    INFO(path);
    (void)make_directory_below(fd.get(), path, 0755);
    (void)make_file_below(fd.get(), std::string(path) + "f");
    CHECK(outside_empty());
    CHECK_FALSE(base::exists(dir + "/x"));
    CHECK_FALSE(make_directory_below(fd.get(), path, 0755, Resolve::beneath));
  }
  CHECK_FALSE(make_directory_below(fd.get(), "loop/x", 0755));
  CHECK_FALSE(make_file_below(fd.get(), "loop"));
  CHECK(make_file_below(fd.get(), "new/file"));
  CHECK(base::exists(root + "/new/file"));
  CHECK_FALSE(open_below(fd.get(), "up", O_PATH, Resolve::beneath));
  CHECK(open_below(fd.get(), "fine", O_PATH, Resolve::beneath));
}
