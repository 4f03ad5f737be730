#include <catch2/catch.hpp>

#include "node.h"

using namespace runtime;
using namespace runtime::test;
using namespace std::chrono_literals;

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
  });
}
