// How fast, beside what the disk can do. Hidden: run with "[speed]".
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>

#include <fmt/format.h>

#include "tests/unit/datastore/fixture.h"

using namespace datastore;
using namespace datastore::testing;
using namespace std::chrono_literals;

namespace {

double seconds(base::Duration d) { return std::chrono::duration<double>(d).count(); }

double cpu_seconds() {
  rusage u{};
  ::getrusage(RUSAGE_SELF, &u);
  return double(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * double(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

// Serial overwrites of 8 KiB with fdatasync, per second.
double disk_syncs(const std::string& directory) {
  base::Fd fd(::open((directory + "/sync").c_str(), O_RDWR | O_CREAT, 0600));
  std::string block(8192, 'x');
  for (int i = 0; i < 64; ++i) (void)!::pwrite(fd.get(), block.data(), block.size(), i * 8192);
  ::fdatasync(fd.get());
  auto begun = base::Clock::now();
  int n = 0;
  for (; base::Clock::now() - begun < 500ms; ++n) {
    (void)!::pwrite(fd.get(), block.data(), block.size(), n % 64 * 8192);
    ::fdatasync(fd.get());
  }
  return n / seconds(base::Clock::now() - begun);
}

struct Shared {
  std::atomic<int> left = 0, running = 0;
  base::Event done;
};

Task<> client(Store& store, std::shared_ptr<Shared> shared, int id) {
  for (int i = 0; shared->left-- > 0; ++i) {
    auto written = co_await write_one(store, put(fmt::format("/k/{}/{}", id, i % 100), std::string(1024, 'v')));
    if (!written) break;
  }
  --shared->running;
  shared->done.notify();
}

Task<> measure(base::Runtime& runtime, Store& store, int clients, int writes) {
  auto shared = std::make_shared<Shared>();
  shared->left = writes;
  shared->running = clients;
  base::Tasks tasks(runtime);
  auto begun = base::Clock::now();
  double cpu = cpu_seconds();
  for (int i = 0; i < clients; ++i) tasks.spawn("client", client(store, shared, i));
  for (;;) {
    uint64_t seen = shared->done.version();
    if (shared->running == 0) break;
    co_await shared->done.wait(seen);
  }
  double took = seconds(base::Clock::now() - begun);
  WARN(fmt::format("{} clients: {:.0f} durable 1 KiB writes/s, {:.1f} us CPU each", clients, writes / took,
                   (cpu_seconds() - cpu) / writes * 1e6));
  co_await tasks.stop();
}

}  // namespace

TEST_CASE("durable writes per second", "[.speed]") {
  Directory directory;
  WARN(fmt::format("{:.0f} fdatasync/s of 8 KiB", disk_syncs(directory.path)));
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    SqliteOptions options;
    options.path = directory.path + "/store.db";
    auto store = must(open_sqlite(runtime, options));
    co_await measure(runtime, *store, 1, 2'000);
    co_await measure(runtime, *store, 64, 60'000);
    co_await measure(runtime, *store, 64, 60'000);
    co_await measure(runtime, *store, 512, 60'000);
    auto stats = store->stats();
    WARN(fmt::format("{} transactions for {} writes, {} checkpoints", stats.transactions, stats.writes, stats.checkpoints));
    co_await store->stop();
  });
}

TEST_CASE("reads per second", "[.speed]") {
  Directory directory;
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    SqliteOptions options;
    options.path = directory.path + "/store.db";
    auto store = must(open_sqlite(runtime, options));
    for (int part = 0; part < 10; ++part) {
      std::vector<Write> writes;
      for (int i = 0; i < 1000; ++i) writes.push_back(put(fmt::format("/pods/ns{}/{:05}", part, i), std::string(1500, 'v')));
      (void)must(co_await store->write(std::move(writes)));
    }
    auto begun = base::Clock::now();
    for (int i = 0; i < 100; ++i) (void)must(co_await store->list("/pods/"));
    WARN(fmt::format("list of 10,000: {:.0f} us", seconds(base::Clock::now() - begun) * 1e4));
    begun = base::Clock::now();
    for (int i = 0; i < 100'000; ++i) (void)store->get("/pods/ns5/00500");
    WARN(fmt::format("get: {:.2f} us", seconds(base::Clock::now() - begun) * 10));
    co_await store->stop();
  });
}
