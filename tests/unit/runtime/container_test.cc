#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/files.h"
#include "node.h"

using namespace runtime;
using namespace runtime::test;
using namespace std::chrono_literals;

namespace {

bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

// Runs one script in a fresh pod.
Node::Outcome once(const std::string& script, std::function<void(Node&, ContainerSpec&)> change = {}, SandboxSpec sandbox = {}) {
  Node node;
  Node::Outcome out;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox(sandbox);
    ContainerSpec spec = node.shell("c1", script);
    if (change) change(node, spec);
    out = co_await node.script(pod, spec);
  });
  INFO(out.out);
  INFO(out.err);
  return out;
}

// The error of a start that fails.
base::Error failing(std::function<void(Node&, ContainerSpec&)> change, ContainerStatus* status = nullptr) {
  Node node;
  base::Error error;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    ContainerSpec spec = node.shell("c1", "exit 0");
    change(node, spec);
    auto started = co_await pod->start(spec);
    if (started) throw std::runtime_error("the container started");
    error = started.error();
    if (status != nullptr && pod->container("c1")) *status = *pod->container("c1");
  });
  return error;
}

}  // namespace

TEST_CASE("a container runs, writes its log in CRI's form and returns its exit code") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    auto r = co_await node.script(pod, node.shell("c1", "echo hello; echo oops >&2; exit 7"));
    CHECK(r.out == "hello\n");
    CHECK(r.err == "oops\n");
    CHECK(r.status.exit_code == 7);
    CHECK(r.status.phase == ContainerPhase::exited);
    CHECK(r.status.started > r.status.created);
    CHECK(r.status.finished >= r.status.started);
    CHECK_FALSE(r.status.oom_killed);
    auto events = node.events();
    REQUIRE(events.size() == 2);
    CHECK(events[0].status.phase == ContainerPhase::running);
    CHECK(events[0].status.pid > 0);
    CHECK(events[1].status.phase == ContainerPhase::exited);
  });
}

TEST_CASE("long lines are split, an unfinished last line is kept, the log rotates") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    auto r = co_await node.script(pod, node.shell("c1", "head -c 40000 /dev/zero | tr '\\0' x; echo; printf rest"));
    CHECK(r.out == std::string(40000, 'x') + "\nrest");
    auto spec = node.shell("c2", "seq 1 20000");
    spec.log.max_bytes = 100000;
    spec.log.max_files = 3;
    auto rotated = co_await node.script(pod, spec);
    CHECK(rotated.status.exit_code == 0);
    CHECK(has(rotated.out, "20000\n"));
    struct stat s;
    REQUIRE(::stat(spec.log.path.c_str(), &s) == 0);
    CHECK(s.st_size <= 100000);
    CHECK(::system(("test $(ls " + node.dir + "/logs/c2 | wc -l) = 3").c_str()) == 0);
  });
}

TEST_CASE("environment, working directory and host name are as the spec says") {
  auto r = once("env; pwd; hostname", [](Node&, ContainerSpec& s) {
    s.env = {"A=1", "A=2", "B=with space", "EMPTY="};
    s.cwd = "/made/here";
  });
  CHECK(has(r.out, "A=2\n"));
  CHECK_FALSE(has(r.out, "A=1\n"));
  CHECK(has(r.out, "B=with space\n"));
  CHECK(has(r.out, "EMPTY=\n"));
  CHECK(has(r.out, "PATH=/usr/local/sbin:"));
  CHECK(has(r.out, "HOME=/root\n"));
  CHECK(has(r.out, "HOSTNAME=the-host\n"));
  CHECK(has(r.out, "/made/here\nthe-host\n"));
}

TEST_CASE("users come from the image's files, numbers and overrides") {
  CHECK(once("id", [](Node&, ContainerSpec& s) { s.user.image_user = "app"; }).out ==
        "uid=1001(app) gid=1002(apps) groups=1002(apps),1003(extra)\n");
  CHECK(has(once("id; echo $HOME; echo x > /dev/stdout",
                 [](Node&, ContainerSpec& s) {
                   s.user.image_user = "app";
                   s.user.uid = 2000;
                   s.user.gid = 3000;
                   s.user.supplementary_gids = {4000};
                 }).out,
            "uid=2000 gid=3000 groups=3000,4000\n/\nx\n"));
  CHECK(has(once("id", [](Node&, ContainerSpec& s) { s.user.image_user = "1001:0"; }).out, "uid=1001(app) gid=0(root)"));
  CHECK(failing([](Node&, ContainerSpec& s) { s.user.image_user = "nobody-knows"; }).reason == "InvalidContainerSpec");
  CHECK(failing([](Node&, ContainerSpec& s) { s.user.image_user = "1x"; }).reason == "InvalidContainerSpec");
  CHECK(failing([](Node&, ContainerSpec& s) { s.user.require_non_root = true; }).message ==
        "container has runAsNonRoot and image will run as root");
}

TEST_CASE("capabilities: the default set, none for users, none inherited") {
  auto r = once("grep ^Cap /proc/self/status");
  CHECK(has(r.out, "CapInh:\t0000000000000000"));
  CHECK(has(r.out, "CapPrm:\t00000000a80425fb"));
  CHECK(has(r.out, "CapEff:\t00000000a80425fb"));
  CHECK(has(r.out, "CapBnd:\t00000000a80425fb"));
  CHECK(has(r.out, "CapAmb:\t0000000000000000"));
  auto none = once("grep ^Cap /proc/self/status", [](Node&, ContainerSpec& s) {
    s.drop_capabilities = {"ALL"};
    s.add_capabilities = {"NET_BIND_SERVICE"};
  });
  CHECK(has(none.out, "CapBnd:\t0000000000000400"));
  auto user = once("grep ^Cap /proc/self/status", [](Node&, ContainerSpec& s) { s.user.uid = 5; });
  CHECK(has(user.out, "CapPrm:\t0000000000000000"));
  CHECK(failing([](Node&, ContainerSpec& s) { s.add_capabilities = {"FLY"}; }).message == "unknown capability \"FLY\"");
}

TEST_CASE("seccomp is on by default and refuses what it should") {
  auto r =
      once("grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; unshare -U true; mount -t tmpfs x /tmp; chroot / true && echo chrooted");
  CHECK(has(r.out, "Seccomp:\t2"));
  CHECK(has(r.out, "NoNewPrivs:\t0"));
  CHECK(has(r.out, "chrooted"));
  CHECK(has(r.err, "unshare"));
  CHECK(has(r.err, "mount: permission denied"));
  auto user = once("grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status", [](Node&, ContainerSpec& s) {
    s.user.uid = 1001;
    s.no_new_privileges = true;
  });
  CHECK(has(user.out, "Seccomp:\t2"));
  CHECK(has(user.out, "NoNewPrivs:\t1"));
  auto off = once("grep ^Seccomp: /proc/self/status", [](Node&, ContainerSpec& s) { s.seccomp.kind = Seccomp::Kind::unconfined; });
  CHECK(has(off.out, "Seccomp:\t0"));
  auto own = once("mkdir /tmp/x", [](Node&, ContainerSpec& s) {
    s.seccomp.kind = Seccomp::Kind::profile;
    s.seccomp.profile_json =
        R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]})";
  });
  CHECK(has(own.err, "No space left"));
  CHECK(failing([](Node&, ContainerSpec& s) { s.seccomp.kind = Seccomp::Kind::profile; }).reason == "InvalidContainerSpec");
  CHECK(failing([](Node&, ContainerSpec& s) {
          s.seccomp = {Seccomp::Kind::profile, "{}"};
        }).reason == "InvalidContainerSpec");
}

TEST_CASE("the container sees nothing of the host") {
  auto r = once(
      "ls /proc/self/fd | wc -l; cat /proc/self/cgroup | grep -v ':/$' ; echo pid $$; cat /proc/self/mountinfo | wc -l;"
      "cat /proc/kcore | wc -c; cat /proc/timer_list | wc -c; echo x > /proc/sysrq-trigger; echo x > /proc/sys/kernel/domainname; echo 1 > "
      "/sys/x;"
      "ls /sys/firmware | wc -l; ls /dev; stat -c %t:%T /dev/null; mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; ls /sys/fs/cgroup");
  INFO(r.out + "--\n" + r.err);
  CHECK(has(r.out, "4\npid 1\n"));  // 0, 1, 2 and the one of ls itself; every cgroup is the root of its namespace
  CHECK(has(r.out, "\n0\n0\n"));
  CHECK(has(r.out, "console") == false);
  CHECK(has(r.out, "1:3"));
  CHECK((has(r.err, "/proc/sysrq-trigger: Read-only") || has(r.err, "/proc/sysrq-trigger: nonexistent")));  // not all kernels have it
  CHECK(has(r.err, "/proc/sys/kernel/domainname: Read-only"));
  CHECK(has(r.err, "/sys/x"));
  CHECK(has(r.err, "kmsg: Operation not permitted"));
  for (const char* d : {"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "tty", "urandom", "zero"})
    CHECK(has(r.out, std::string(d) + "\n"));
}

TEST_CASE("signals are neither blocked nor ignored, nobody of the host is there to be traced") {
  auto r = once("grep -E '^(SigBlk|SigIgn|SigCgt):' /proc/self/status; cat /proc/1/oom_score_adj; ls /proc | grep -c '^[0-9]'",
                [](Node&, ContainerSpec& s) { s.oom_score_adj = 500; });
  CHECK(has(r.out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000"));
  CHECK(has(r.out, "500\n"));
}

TEST_CASE("a privileged container has all capabilities, devices and no masks") {
  auto r = once(
      "grep -E '^(CapEff|Seccomp):' /proc/self/status; mount -t tmpfs x /tmp && echo mounted; test -w /sys && ls /dev | wc -l; mount | "
      "grep ' /sys '",
      [](Node&, ContainerSpec& s) { s.privileged = true; });
  CHECK(has(r.out, "Seccomp:\t0"));
  CHECK(has(r.out, "mounted"));
  CHECK(has(r.out, "sysfs (rw"));
}

TEST_CASE("the writable layer is the container's own and the root can be read-only") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    auto w = co_await node.script(pod, node.shell("w", "echo mine > /bin/new; rm /etc/group; ls /bin/new"));
    CHECK(w.out == "/bin/new\n");
    CHECK_FALSE(base::exists(node.image + "/bin/new"));
    CHECK(base::exists(node.image + "/etc/group"));
    CHECK(base::exists(pod->writable_layer("w") + "/bin/new"));
    auto ro = node.shell("ro", "touch /bin/new; touch /tmp/ok && echo ok; touch /dev/shm/ok && echo ok");
    ro.read_only_root = true;
    ro.mounts.push_back({.kind = Mount::Kind::tmpfs, .target = "/tmp", .size_bytes = 1 << 20, .mode = 01777});
    auto r = co_await node.script(pod, ro);
    CHECK(has(r.err, "Read-only file system"));
    CHECK(r.out == "ok\nok\n");
    CHECK(co_await pod->remove("w"));
    CHECK_FALSE(base::exists(pod->writable_layer("w")));
    CHECK_FALSE(pod->container("w"));
  });
}

TEST_CASE("mounts: files, directories, read-only, nested, missing mountpoints, sub paths") {
  Node node;
  node.run([&]() -> base::Task<> {
    (void)base::make_dirs(node.dir + "/vol/sub/deep", 0755);
    std::ofstream(node.dir + "/vol/file") << "content";
    std::ofstream(node.dir + "/vol/sub/inner") << "inner";
    (void)!::symlink("sub", (node.dir + "/vol/link").c_str());
    auto pod = co_await node.sandbox();
    auto spec = node.shell("c1",
                           "cat /data/file; cat /etc/hosts; touch /data/sub/w && echo w; touch /ro/x; cat /s/inner; cat /l/inner;"
                           "touch /made/a && echo made; df /t >/dev/null; cat /data/nested/inner; mount | grep -c /data/nested");
    spec.mounts = {
        {.source = node.dir + "/vol/sub", .target = "/data/nested"},
        {.source = node.dir + "/vol", .target = "/data"},
        {.source = node.dir + "/vol/file", .target = "/etc/hosts", .read_only = true},
        {.source = node.dir + "/vol", .target = "/ro", .read_only = true, .recursive_read_only = true},
        {.source = node.dir + "/vol", .sub_path = "sub", .target = "/s"},
        {.source = node.dir + "/vol", .sub_path = "link", .target = "/l"},
        {.source = node.dir + "/vol", .sub_path = "new/dir", .target = "/made"},
    };
    auto r = co_await node.script(pod, spec);
    CHECK(has(r.out, "contentcontentw\ninnerinnermade\n"));
    CHECK(has(r.out, "inner1\n"));
    CHECK(has(r.err, "/ro/x: Read-only"));
    CHECK(base::exists(node.dir + "/vol/new/dir/a"));
  });
}

TEST_CASE("a sub path cannot lead out of its volume") {
  for (std::string evil : {"escape", "abs", "../..", "escape/new"}) {
    auto error = failing([&](Node& node, ContainerSpec& s) {
      (void)base::make_dirs(node.dir + "/vol", 0755);
      (void)base::make_dirs(node.dir + "/secret", 0755);
      (void)!::symlink("../secret", (node.dir + "/vol/escape").c_str());
      (void)!::symlink("/etc", (node.dir + "/vol/abs").c_str());
      s.mounts = {{.source = node.dir + "/vol", .sub_path = evil, .target = "/s"}};
    });
    INFO(evil);
    CHECK(error.reason == "StartError");
    CHECK((has(error.message, "leads out of the volume") || has(error.message, "cross-device")));
  }
}

TEST_CASE("an image cannot turn mounts to the host with links") {
  Node node;
  node.run([&]() -> base::Task<> {
    std::string evil = node.dir + "/evil", host = node.dir + "/host";
    (void)base::make_dirs(evil, 0755);
    (void)base::make_dirs(host, 0755);
    (void)!::system(
        ("cp -a " + node.image + "/. " + evil + " && ln -s " + host + " " + evil + "/data && ln -s / " + evil + "/root2").c_str());
    auto pod = co_await node.sandbox();
    auto spec = node.shell("c1", "ls -d " + host + "/x; echo done");
    spec.layers = {evil};
    (void)base::make_dirs(node.dir + "/vol", 0755);
    spec.mounts = {{.source = node.dir + "/vol", .target = "/data/x"}};
    auto r = co_await node.script(pod, spec);
    CHECK(has(r.out, host + "/x"));  // inside the container's root
    CHECK_FALSE(base::exists(host + "/x"));
    // /dev and /proc of the image as links: refused, nothing is touched outside.
    for (const char* name : {"dev", "proc", "sys"}) {
      std::string image = node.dir + "/link-" + name;
      (void)base::make_dirs(image, 0755);
      (void)!::system(("cp -a " + node.image + "/. " + image + " && ln -s " + host + " " + image + "/" + name).c_str());
      auto bad = node.shell(std::string("bad-") + name, "true");
      bad.layers = {image};
      auto started = co_await pod->start(bad);
      REQUIRE_FALSE(started);
      CHECK(started.error().reason == "StartError");
      CHECK(::system(("test -z \"$(ls " + host + ")\"").c_str()) == 0);
    }
  });
}

TEST_CASE("failed starts say why in Docker's words and are kept as exited") {
  ContainerStatus status;
  CHECK(failing([](Node&, ContainerSpec& s) { s.argv = {"nope"}; }, &status).message ==
        "exec: \"nope\": executable file not found in $PATH");
  CHECK(status.phase == ContainerPhase::exited);
  CHECK(status.exit_code == 127);
  CHECK(status.message == "exec: \"nope\": executable file not found in $PATH");
  CHECK(failing([](Node&, ContainerSpec& s) { s.argv = {"/nope"}; }).message == "exec: \"/nope\": stat /nope: no such file or directory");
  CHECK(failing([](Node&, ContainerSpec& s) { s.argv = {"/etc/passwd"}; }, &status).message == "exec: \"/etc/passwd\": permission denied");
  CHECK(status.exit_code == 126);
  CHECK(failing([](Node&, ContainerSpec& s) { s.argv = {"/etc"}; }).message == "exec: \"/etc\": is a directory");
  CHECK(failing([](Node& n, ContainerSpec& s) { s.mounts = {{.source = n.dir + "/absent", .target = "/x"}}; }).reason == "StartError");
  CHECK(failing([](Node&, ContainerSpec& s) { s.cwd = "/etc/passwd"; }).message ==
        "chdir to cwd (\"/etc/passwd\") failed: not a directory");
  CHECK(failing([](Node&, ContainerSpec& s) { s.argv.clear(); }).reason == "InvalidContainerSpec");
  CHECK(failing([](Node& n, ContainerSpec& s) { s.mounts = {{.source = n.dir, .target = "/proc/self/attr"}}; }).reason == "StartError");
}

TEST_CASE("limits are enforced and memory kills reported") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    auto hog = node.shell("hog", "x=$(yes | head -c 200000000); echo survived");
    hog.resources.memory_bytes = 20 << 20;
    hog.resources.memory_swap_bytes = 20 << 20;
    auto r = co_await node.script(pod, hog);
    CHECK_FALSE(has(r.out, "survived"));
    CHECK(r.status.oom_killed);
    CHECK(r.status.exit_code != 0);

    auto bomb = node.shell("bomb", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo end");
    bomb.resources.pids = 6;
    auto b = co_await node.script(pod, bomb);
    CHECK(has(b.err, "can't fork"));

    auto shares = node.shell("shares", "sleep 60");
    shares.resources.cpu_shares = 512;
    shares.resources.cpu_quota_us = 50000;
    shares.rlimits = {{"nofile", 123, 456}};
    CHECK(co_await pod->start(shares));
    auto stats = pod->stats("shares");
    REQUIRE(stats);
    CHECK(stats->pids == 1);
    CHECK(stats->memory_usage_bytes > 0);
    Resources more;
    more.memory_bytes = 64 << 20;
    CHECK(co_await pod->update("shares", more));
    CHECK(pod->stats("shares")->memory_limit_bytes == 64u << 20);
    CHECK(pod->pod_stats());
    auto pid = pod->container("shares")->pid;
    auto limits = base::read_file("/proc/" + std::to_string(pid) + "/limits");
    CHECK(has(*limits, "123                  456"));
  });
}

TEST_CASE("a container without the memory to start says so") {
  auto error = failing([](Node&, ContainerSpec& s) {
    s.resources.memory_bytes = 64 << 10;
    s.resources.memory_swap_bytes = 64 << 10;
  });
  CHECK(error.reason == "StartError");
}

TEST_CASE("devices of the spec appear and can be used") {
  auto r = once("stat -c %t:%T /dev/my-null; echo x > /dev/my-null && echo written",
                [](Node&, ContainerSpec& s) { s.devices = {{"/dev/null", "/dev/my-null", "rwm"}}; });
  CHECK(r.out == "1:3\nwritten\n");
  CHECK(failing([](Node&, ContainerSpec& s) { s.devices = {{"/dev/none", "", "rwm"}}; }).reason == "StartError");
}
