#include <catch2/catch.hpp>

#include "base/files.h"
#include "node.h"

using namespace runtime;
using namespace runtime::test;
using namespace std::chrono_literals;

namespace {

bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

base::Task<std::string> all(FdStreamPtr stream) {
  std::string out;
  for (;;) {
    auto chunk = co_await stream->read();
    if (!chunk) throw std::runtime_error(chunk.error().message);
    if (chunk->empty()) co_return out;
    out += *chunk;
  }
}

// Reads until the text has come.
base::Task<std::string> expect(FdStreamPtr stream, std::string what) {
  std::string out;
  while (out.find(what) == std::string::npos) {
    auto chunk = co_await stream->read();
    if (!chunk || chunk->empty()) throw std::runtime_error("\"" + what + "\" did not come, but: " + out);
    out += *chunk;
  }
  co_return out;
}

ExecSpec command(std::string script) { return {.argv = {"/bin/sh", "-c", std::move(script)}}; }

}  // namespace

TEST_CASE("exec runs inside the container, with its user, environment, limits and streams") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    auto spec = node.shell("c", "echo $$ > /tmp/pid; sleep 1000");
    spec.env = {"FROM=container"};
    spec.user.image_user = "app";
    spec.cwd = "/tmp";
    CHECK(co_await pod->start(spec));
    auto exec =
        command("id; echo $FROM $ADDED; pwd; cat; echo err >&2; grep -E '^(Cap|Sec)' /proc/self/status; ls /proc/self/fd | wc -l; exit 5");
    exec.add_env = {"ADDED=too"};
    exec.stdin_open = true;
    auto session = co_await pod->exec("c", exec);
    INFO((session ? "" : session.error().message));
    REQUIRE(session);
    CHECK(co_await (*session)->in()->write("through"));
    (*session)->in()->close();
    auto out = co_await all((*session)->out());
    CHECK(has(out, "uid=1001(app) gid=1002(apps)"));
    CHECK(has(out, "container too\n/tmp\nthrough"));
    CHECK(has(out, "CapEff:\t0000000000000000"));
    CHECK(has(out, "Seccomp:\t2"));
    CHECK(has(out, "\n4\n"));
    CHECK(co_await all((*session)->err()) == "err\n");
    auto code = co_await (*session)->wait();
    REQUIRE(code);
    CHECK(*code == 5);
    CHECK(pod->container("c")->phase == ContainerPhase::running);

    auto missing = co_await pod->exec("c", {.argv = {"nope"}});
    REQUIRE_FALSE(missing);
    CHECK(missing.error().message == "exec: \"nope\": executable file not found in $PATH");
    CHECK((co_await pod->exec("x", command("true"))).error().code == 404);

    auto killed = co_await pod->exec("c", command("sleep 100"));
    REQUIRE(killed);
    CHECK(co_await (*killed)->kill(9));
    CHECK(*(co_await (*killed)->wait()) == 137);
    auto quiet = co_await pod->exec("c", {.argv = {"true"}, .want_output = false});
    REQUIRE(quiet);
    CHECK_FALSE((*quiet)->out());
    CHECK(*(co_await (*quiet)->wait()) == 0);
  });
}

TEST_CASE("exec with a terminal: echo, size, job control, hang-up") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    CHECK(co_await pod->start(node.shell("c", "sleep 1000")));
    ExecSpec spec{.argv = {"/bin/sh"}, .tty = true, .stdin_open = true};
    auto session = co_await pod->exec("c", spec);
    INFO((session ? "" : session.error().message));
    REQUIRE(session);
    CHECK((*session)->resize(100, 40));
    CHECK(co_await (*session)->in()->write("tty; stty size; echo $TERM\n"));
    auto out = co_await expect((*session)->out(), "xterm\r\n");
    CHECK(has(out, "/dev/pts/"));
    CHECK(has(out, "40 100"));
    CHECK(co_await (*session)->in()->write("exit 3\n"));
    co_await all((*session)->out());
    CHECK(*(co_await (*session)->wait()) == 3);
    CHECK_FALSE((*session)->err());
  });
}

TEST_CASE("attach follows the output, feeds the input, and sees the end") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    auto spec = node.shell("c", "while read line; do echo got $line; echo e >&2; done; echo eof");
    spec.stdin_open = spec.stdin_once = true;
    CHECK(co_await pod->start(spec));
    auto watcher = co_await pod->attach("c", false);
    auto client = co_await pod->attach("c", true);
    REQUIRE(client);
    REQUIRE(watcher);
    CHECK_FALSE((*watcher)->in());
    CHECK(co_await (*client)->in()->write("one\n"));
    CHECK(co_await expect((*client)->out(), "got one\n") == "got one\n");
    (*client)->in()->close();
    CHECK(co_await all((*client)->out()) == "eof\n");
    CHECK(co_await all((*watcher)->out()) == "got one\neof\n");
    CHECK(co_await all((*watcher)->err()) == "e\n");
    auto ended = co_await pod->wait("c");
    CHECK(log_text(ended->log_path, "stdout") == "got one\neof\n");
    CHECK((co_await pod->attach("c", true)).error().code == 409);
  });
}

TEST_CASE("a container with a terminal: console, log, attach and resize") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    auto spec = node.shell("c", "tty; ls /dev/console; read x; stty size; echo you said $x");
    spec.tty = spec.stdin_open = true;
    CHECK(co_await pod->start(spec));
    auto client = co_await pod->attach("c", true);
    REQUIRE(client);
    CHECK_FALSE((*client)->err());
    CHECK(co_await (*client)->resize(90, 30));
    CHECK(co_await (*client)->in()->write("hi\n"));
    auto out = co_await all((*client)->out());
    CHECK(has(out, "30 90\r\nyou said hi"));
    auto ended = co_await pod->wait("c");
    CHECK(ended->exit_code == 0);
    CHECK(has(log_text(ended->log_path, "stdout"), "/dev/pts/0\r\n/dev/console"));
  });
}

TEST_CASE("a client that does not read neither stops the container nor grows without bound") {
  Node node;
  node.run([&]() -> base::Task<> {
    auto pod = co_await node.sandbox();
    auto spec = node.shell("c", "sleep 0.2; yes | head -c 12000000; echo done >&2");
    spec.log.path.clear();
    CHECK(co_await pod->start(spec));
    auto client = co_await pod->attach("c", false);
    REQUIRE(client);
    (void)co_await all((*client)->err());  // it may have been let go before the last line
    auto ended = co_await pod->wait("c");
    CHECK(ended->exit_code == 0);
  });
}
