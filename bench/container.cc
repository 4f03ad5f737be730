// Starts /bin/busybox true in a container, again and again: how long until it runs, and until its end is known. Prints JSON, milliseconds.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/io.h"
#include "runtime/container/cgroups.h"
#include "runtime/sandbox/sandbox.h"

namespace {

using base::Clock;
using base::Task;

std::string summary(std::vector<double> t) {
  std::sort(t.begin(), t.end());
  return fmt::format(R"({{"min":{:.3f},"p50":{:.3f},"p99":{:.3f}}})", t.front(), t[t.size() / 2], t[t.size() * 99 / 100]);
}

Task<base::Result<>> measure(base::Runtime& runtime, std::string dir) {
  std::filesystem::create_directories(dir + "/layer/bin");
  std::filesystem::copy_file("/bin/busybox", dir + "/layer/bin/busybox");
  runtime::SandboxesOptions options;
  options.data_dir = dir + "/data";
  options.run_dir = dir + "/run";
  options.cgroup_root = "/bench-" + std::to_string(::getpid());
  runtime::Sandboxes sandboxes(runtime, options);
  CO_CHECK_OK(co_await sandboxes.recover());
  std::vector<double> create, start, cycle;
  auto since = [](base::TimePoint t) { return std::chrono::duration<double, std::milli>(Clock::now() - t).count(); };
  for (int round = 0; round < 5; ++round) {
    runtime::SandboxSpec spec;
    spec.id = fmt::format("bench{}", round);
    spec.hostname = "bench";
    spec.cgroup_parent = "/" + spec.id;
    auto t0 = Clock::now();
    CO_TRY(auto sandbox, co_await sandboxes.create(spec));
    create.push_back(since(t0));
    for (int i = 0; i < 20; ++i) {
      runtime::ContainerSpec c;
      c.id = fmt::format("c{}-{}", round, i);
      c.name = "c";
      c.layers = {dir + "/layer"};
      c.argv = {"/bin/busybox", "true"};
      c.resources.memory_bytes = 64 << 20;
      auto t1 = Clock::now();
      CO_TRY(auto started, co_await sandbox->start(c));
      start.push_back(since(t1));
      CO_TRY(auto ended, co_await sandbox->wait(c.id));
      cycle.push_back(since(t1));
      if (ended.exit_code != 0) co_return base::internal("the container failed: " + ended.message);
      CO_CHECK_OK(co_await sandbox->remove(c.id));
    }
    CO_CHECK_OK(co_await sandbox->destroy());
  }
  co_await sandboxes.stop();
  CO_TRY(auto groups, runtime::Cgroups::detect("/"));
  CO_CHECK_OK(groups.remove(options.cgroup_root));
  fmt::print(R"({{"sandbox":{},"start":{},"cycle":{}}})" "\n", summary(create), summary(start), summary(cycle));
  co_return base::Result<>{};
}

}  // namespace

int main() {
  signal(SIGPIPE, SIG_IGN);
  std::string dir = (std::filesystem::current_path() / ("bench-container-" + base::random_suffix(6))).string();
  base::Runtime runtime(1);
  base::Result<> result;
  base::run_to_end(
      runtime, [](base::Runtime& r, std::string d, base::Result<>& out) -> Task<> { out = co_await measure(r, d); }(runtime, dir, result));
  std::error_code ec;
  std::filesystem::remove_all(dir, ec);
  if (!result) fmt::print(stderr, "bench_container: {}\n", result.error().message);
  return result ? 0 : 1;
}
