#include <catch2/catch.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/bytes.h"
#include "base/files.h"
#include "node.h"
#include "runtime/container/cgroups.h"

using namespace runtime;
using namespace runtime::test;
using namespace std::chrono_literals;

namespace {

bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

// Ended; whether its new parent has already taken note of it depends on who is process 1 here.
bool gone(pid_t pid) {
  auto status = base::read_file("/proc/" + std::to_string(pid) + "/status");
  return !status || has(*status, "State:\tZ");
}

base::Task<> until(std::function<bool()> condition) {
  for (int i = 0; i < 500 && !condition(); ++i) co_await base::sleep_for(10ms);
  if (!condition()) throw std::runtime_error("the condition did not come true");
}

}  // namespace

TEST_CASE("the containers of a pod share network, host name, IPC and shared memory, not processes") {
  Node node;
  node.run([&]() -> base::Task<> {
    SandboxSpec spec;
    spec.hostname = "pod-host";
    spec.sysctls = {{"net.ipv4.ip_local_port_range", "20000 30000"}};
    auto pod = co_await node.sandbox(spec);
    CHECK(pod->netns_fd() >= 0);
    CHECK(base::exists(pod->netns_path()));
    CHECK(co_await pod->start(node.shell("a", "echo shared > /dev/shm/f; nc -l -p 8080 -e echo answer; sleep 30")));
    auto r = co_await node.script(pod, node.shell("b", "while ! nc 127.0.0.1 8080; do sleep 0.1; done; cat /dev/shm/f; hostname; cat /proc/sys/net/ipv4/ip_local_port_range; ps"));
    CHECK(has(r.out, "answer\nshared\npod-host\n20000\t30000\n"));
    CHECK_FALSE(has(r.out, "sleep 30"));
    SandboxSpec bad;
    bad.id = "bad";
    bad.cgroup_parent = "/kubepods/bad";
    bad.sysctls = {{"kernel.panic", "1"}};
    auto refused = co_await node.sandboxes().create(bad);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == 400);
    CHECK_FALSE(base::exists(node.dir + "/run/bad"));
  });
}

TEST_CASE("a pod may share one PID namespace, or the host's namespaces") {
  Node node;
  node.run([&]() -> base::Task<> {
    SandboxSpec shared;
    shared.share_pid = true;
    auto pod = co_await node.sandbox(shared);
    CHECK(co_await pod->start(node.shell("a", "sleep 77 & sleep 78")));
    auto r = co_await node.script(pod, node.shell("b", "ps; echo my $$"));
    CHECK(has(r.out, "sleep 78"));
    CHECK_FALSE(has(r.out, "my 1\n"));
    CHECK(co_await pod->stop("a", 0ms));
    auto after = co_await node.script(pod, node.shell("c", "ps"));
    CHECK_FALSE(has(after.out, "sleep 7"));

    SandboxSpec host;
    host.host_network = host.host_pid = host.host_ipc = true;
    auto hosted = co_await node.sandbox(host);
    CHECK(hosted->netns_fd() == -1);
    auto spec = node.shell("h", "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; sleep 1000 & echo");
    auto h = co_await node.script(hosted, spec);
    char net[64]{}, pid[64]{};
    (void)!::readlink("/proc/self/ns/net", net, sizeof net - 1);
    (void)!::readlink("/proc/self/ns/pid", pid, sizeof pid - 1);
    INFO(h.out + "--\n" + h.err + net + pid);
    CHECK(has(h.out, std::string(net) + "\n" + pid));
    // What it left running in the host's PID namespace went with it.
    co_await until([&] { return hosted->stats("h")->pids == 0; });
  });
}

TEST_CASE("the supervisor cannot be changed or reached by others") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    std::string exe = "/proc/" + std::to_string(pod->supervisor_pid()) + "/exe";
    base::Fd program(::open(exe.c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(program);
    int seals = ::fcntl(program.get(), F_GET_SEALS);
    CHECK((seals & (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)) ==
          (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL));
    CHECK_FALSE(base::Fd(::open(exe.c_str(), O_WRONLY | O_CLOEXEC)));
    int sockets = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(node.dir + "/run")) {
      if (!entry.is_socket()) continue;
      ++sockets;
      CHECK((entry.status().permissions() & std::filesystem::perms::all) ==
            (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
    }
    CHECK(sockets == 1);
    for (const char* d : {"/run", "/data"}) {
      CHECK((std::filesystem::status(node.dir + d).permissions() & std::filesystem::perms::all) == std::filesystem::perms::owner_all);
    }
  });
}

TEST_CASE("the supervisor is not dumpable") {
  // /proc belongs to root where a process is not dumpable, else to the process's own group.
  struct Group {
    explicit Group(gid_t g) { REQUIRE(::setresgid(g, g, 0) == 0); }
    ~Group() { (void)!::setresgid(0, 0, 0); }
  };
  auto group_of = [](pid_t pid) {
    struct stat s {};
    REQUIRE(::stat(("/proc/" + std::to_string(pid) + "/environ").c_str(), &s) == 0);
    return s.st_gid;
  };
  constexpr gid_t own = 54321;
  Node node;
  Group group(own);
  pid_t ordinary = ::fork();
  if (ordinary == 0) {
    ::execl("/bin/busybox", "sleep", "1000", nullptr);
    ::_exit(1);
  }
  while (group_of(ordinary) != own) std::this_thread::sleep_for(1ms);  // until it runs the program
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    CHECK(group_of(pod->supervisor_pid()) == 0);
  });
  ::kill(ordinary, SIGKILL);
  ::waitpid(ordinary, nullptr, 0);
}

TEST_CASE("the session keyring and the cgroup namespace of a container are its own, in exec too") {
  // A key that shows in /proc/keys only to those who hold its keyring: a process of our own and what inherits it. Threads that exist already,
  // one of which may start the supervisor, would not.
  static constexpr const char* name = "APPLIANCE_TEST_KEY";
  if (::getenv(name) == nullptr) {
    pid_t child = ::fork();
    if (child == 0) {
      constexpr long join_session = 1, set_permissions = 5, session = -3;
      const std::string made = "held-" + std::to_string(::getpid());
      if (::syscall(SYS_keyctl, join_session, "appliance-test") < 0) ::_exit(2);
      long key = ::syscall(SYS_add_key, "user", made.c_str(), "x", 1, session);
      if (key <= 0 || ::syscall(SYS_keyctl, set_permissions, key, 0x3f000000) != 0) ::_exit(3);
      ::setenv(name, made.c_str(), 1);
      ::execl("/proc/self/exe", "unit_runtime", "the session keyring and the cgroup namespace*", nullptr);
      ::_exit(4);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) WARN("skipped: this kernel has no session keyrings");
    else CHECK(status == 0);
    return;
  }
  const std::string host = ::getenv(name);
  std::ifstream file("/proc/keys");
  REQUIRE(has(std::string(std::istreambuf_iterator<char>(file), {}), host));
  char ours[64]{};
  REQUIRE(::readlink("/proc/self/ns/cgroup", ours, sizeof ours - 1) > 0);
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    const std::string look =
        "grep -c . /proc/keys; cat /proc/keys; readlink /proc/self/ns/cgroup; grep -v ':/$' /proc/self/cgroup || echo only roots";
    auto spec = node.shell("c", look + "; echo end; sleep 1000");
    spec.privileged = true;  // others do not see /proc/keys
    auto path = spec.log.path;
    CHECK(co_await pod->start(spec));
    co_await until([&] { return has(log_text(path, "stdout"), "end\n"); });
    auto exec = co_await pod->exec("c", {.argv = {"/bin/sh", "-c", look}});
    REQUIRE(exec);
    std::string in_exec;
    for (;;) {
      auto chunk = co_await (*exec)->out()->read();
      REQUIRE(chunk);
      if (chunk->empty()) break;
      in_exec += *chunk;
    }
    for (const std::string& text : {log_text(path, "stdout"), in_exec}) {
      INFO(text);
      CHECK_FALSE(text.starts_with("0\n"));
      CHECK(has(text, "appliance-"));
      CHECK_FALSE(has(text, host));
      CHECK(has(text, "cgroup:["));
      CHECK_FALSE(has(text, ours));
      CHECK(has(text, "only roots\n"));
    }
  });
}

TEST_CASE("a container may see the processes of another, and ends with it") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    CHECK(co_await pod->start(node.shell("target", "sleep 77 & sleep 78")));
    auto spec = node.shell("guest", "ps; echo my $$; sleep 79");
    spec.pid_of = "target";
    auto path = spec.log.path;
    CHECK(co_await pod->start(std::move(spec)));
    co_await until([&] { return has(log_text(path, "stdout"), "my "); });
    CHECK(has(log_text(path, "stdout"), "sleep 78"));
    CHECK_FALSE(has(log_text(path, "stdout"), "my 1\n"));
    CHECK(co_await pod->stop("target", 0ms));
    co_await until([&] { return pod->container("guest")->phase == ContainerPhase::exited; });
    auto late = node.shell("late", "true");
    late.pid_of = "target";
    auto refused = co_await pod->start(std::move(late));
    REQUIRE_FALSE(refused);
    CHECK(has(refused.error().message, "not running"));
  });
}

TEST_CASE("stop asks first and kills after the grace") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    CHECK(co_await pod->start(node.shell("polite", "trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done")));
    co_await base::sleep_for(100ms);
    auto t = base::Clock::now();
    CHECK(co_await pod->stop("polite", 10s));
    CHECK(base::Clock::now() - t < 3s);
    CHECK(pod->container("polite")->exit_code == 3);
    CHECK(log_text(pod->container("polite")->log_path, "stdout") == "bye\n");

    CHECK(co_await pod->start(node.shell("deaf", "trap '' TERM; while :; do sleep 0.05; done")));
    co_await base::sleep_for(100ms);
    t = base::Clock::now();
    CHECK(co_await pod->stop("deaf", 300ms));
    CHECK(base::Clock::now() - t >= 290ms);
    CHECK(pod->container("deaf")->exit_code == 137);
    CHECK(pod->container("deaf")->signal == 9);
    CHECK(co_await pod->stop("deaf", 10s));  // again: nothing to do

    auto quit = node.shell("quit", "trap 'exit 4' QUIT; while :; do sleep 0.05; done");
    quit.stop_signal = "SIGQUIT";
    CHECK(co_await pod->start(quit));
    co_await base::sleep_for(100ms);
    CHECK(co_await pod->stop("quit", 10s));
    CHECK(pod->container("quit")->exit_code == 4);
    CHECK((co_await pod->stop("absent", 0ms)).error().code == 404);
    CHECK((co_await pod->signal("quit", 15)).error().code == 409);
    CHECK((co_await pod->start(node.shell("quit", "true"))).error().code == 409);
  });
}

TEST_CASE("an agent that restarts finds its pods and what happened meanwhile") {
  Node node;
  node.run([&]() -> base::Task<> {
    SandboxSpec spec;
    spec.labels = {{"k", "v"}};
    auto pod = co_await node.sandbox(spec);
    std::string id = pod->spec().id;
    auto runs = node.shell("runs", "sleep 1000");
    runs.labels = {{"restart", "3"}};
    CHECK(co_await pod->start(runs));
    CHECK(co_await pod->start(node.shell("ends", "sleep 0.3; echo late; exit 9")));
    pid_t pid = pod->container("runs")->pid;
    pod.reset();
    co_await node.sandboxes().stop();
    co_await base::sleep_for(600ms);  // while nobody listens
    auto found = co_await node.restart();
    REQUIRE(found.size() == 1);
    pod = found[0];
    CHECK(pod->spec().id == id);
    CHECK(pod->spec().labels.at("k") == "v");
    CHECK(pod->netns_fd() >= 0);
    CHECK(pod->container("runs")->phase == ContainerPhase::running);
    CHECK(pod->container("runs")->pid == pid);
    CHECK(pod->container("runs")->labels.at("restart") == "3");
    auto ended = pod->container("ends");
    CHECK(ended->phase == ContainerPhase::exited);
    CHECK(ended->exit_code == 9);
    CHECK(log_text(ended->log_path, "stdout") == "late\n");
    auto r = co_await node.script(pod, node.shell("new", "echo again"));
    CHECK(r.out == "again\n");
    CHECK(node.sandboxes().find(id) == pod);
    CHECK(co_await pod->stop("runs", 0ms));
  });
}

TEST_CASE("when a supervisor dies its containers die, and what it left is removed") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    std::string id = pod->spec().id;
    CHECK(co_await pod->start(node.shell("a", "sleep 1000")));
    pid_t pid = pod->container("a")->pid;
    ::kill(pod->supervisor_pid(), SIGKILL);
    auto ended = co_await pod->wait("a");
    REQUIRE(ended);
    CHECK(ended->exit_code == 137);
    CHECK_FALSE(pod->alive());
    co_await until([&] { return gone(pid); });
    co_await until([&] { return node.events().back().container.empty(); });
    CHECK((co_await pod->start(node.shell("b", "true"))).error().reason == "SandboxGone");
    pod.reset();
    auto found = co_await node.restart();
    CHECK(found.empty());
    CHECK_FALSE(base::exists(node.dir + "/run/" + id));
    CHECK_FALSE(base::exists(node.dir + "/data/" + id));
  });
}

TEST_CASE("a supervisor that hangs is replaced by nothing after a restart") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    CHECK(co_await pod->start(node.shell("a", "sleep 1000")));
    pid_t supervisor = pod->supervisor_pid(), pid = pod->container("a")->pid;
    pod.reset();
    co_await node.sandboxes().stop();
    ::kill(supervisor, SIGSTOP);
    auto found = co_await node.restart();
    CHECK(found.empty());
    co_await until([&] { return gone(supervisor) && gone(pid); });
  });
}

TEST_CASE("after destroy nothing is left") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto before = base::read_file("/proc/self/mountinfo");
    auto pod = co_await node.sandbox();
    std::string id = pod->spec().id;
    pid_t supervisor = pod->supervisor_pid();
    CHECK(co_await pod->start(node.shell("a", "sleep 1000 & sleep 1000")));
    CHECK(co_await pod->start(node.shell("b", "mkdir /tmp/x; sleep 1000")));
    pid_t pid = pod->container("a")->pid;
    auto groups = *Cgroups::detect(node.cgroup_root);
    CHECK(groups.exists("/kubepods/" + id + "/a"));
    CHECK(co_await pod->destroy());
    CHECK_FALSE(groups.exists("/kubepods/" + id));
    CHECK_FALSE(base::exists(node.dir + "/run/" + id));
    CHECK_FALSE(base::exists(node.dir + "/data/" + id));
    CHECK(gone(pid));
    co_await until([&] { return gone(supervisor); });
    CHECK(*before == *base::read_file("/proc/self/mountinfo"));
    CHECK(node.sandboxes().list().empty());
    CHECK(co_await pod->destroy());
    auto again = co_await node.sandbox({.id = id});  // the id is free
    CHECK(again->alive());
    CHECK_FALSE((co_await node.sandboxes().create({.id = id, .cgroup_parent = "/kubepods/x"})));
  });
}

TEST_CASE("mounts of the host reach containers only when asked for") {
  Node node;
  std::string host = node.dir + "/prop";
  (void)base::make_dirs(host + "/m", 0755);
  REQUIRE(::mount(host.c_str(), host.c_str(), nullptr, MS_BIND, nullptr) == 0);
  REQUIRE(::mount(nullptr, host.c_str(), nullptr, MS_SHARED, nullptr) == 0);
  struct Unmount {
    std::string path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } unmount{host};
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    const char* script = "while ! test -e /v/go; do sleep 0.05; done; ls /v/m; test -e /v/m/x && echo seen";
    for (auto [name, p] : {std::pair("none", Propagation::none), std::pair("slave", Propagation::host_to_container)}) {
      auto spec = node.shell(name, script);
      spec.mounts = {{.source = host, .target = "/v", .propagation = p}};
      CHECK(co_await pod->start(spec));
    }
    auto both = node.shell("both", "mkdir /v/from; mount -t tmpfs x /v/from && touch /v/from/inside; sleep 30");
    both.privileged = true;
    both.mounts = {{.source = host, .target = "/v", .propagation = Propagation::bidirectional}};
    CHECK(co_await pod->start(both));
    co_await until([&] { return base::exists(host + "/from/inside"); });
    ::umount2((host + "/from").c_str(), MNT_DETACH);
    REQUIRE(::mount("x", (host + "/m").c_str(), "tmpfs", 0, nullptr) == 0);
    CHECK(base::write_file_atomic(host + "/m/x", "", 0644, false));
    CHECK(base::write_file_atomic(host + "/go", "", 0644, false));
    CHECK(node.read(*(co_await pod->wait("none"))).out == "");
    CHECK(has(node.read(*(co_await pod->wait("slave"))).out, "seen"));
    ::umount2((host + "/m").c_str(), MNT_DETACH);
  });
}

TEST_CASE("large specs travel, and many containers start at once") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    auto spec = node.shell("big", "env | wc -c");
    for (int i = 0; i < 2000; ++i) spec.env.push_back("VARIABLE_NUMBER_" + std::to_string(i) + "=" + std::string(100, 'x'));
    auto r = co_await node.script(pod, spec);
    CHECK(std::stoi(r.out) > 200000);
    for (int i = 0; i < 20; ++i) CHECK(co_await pod->start(node.shell("n" + std::to_string(i), "exit " + std::to_string(i))));
    for (int i = 0; i < 20; ++i) CHECK((co_await pod->wait("n" + std::to_string(i)))->exit_code == i);
  });
}
