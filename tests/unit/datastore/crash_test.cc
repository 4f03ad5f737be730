// kill -9 in the middle of load, again and again: no acknowledged write is lost and no revision is given out twice.
// APPLIANCE_CRASHES sets how often (default 60).
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <fmt/format.h>

#include "tests/unit/datastore/fixture.h"

using namespace datastore;
using namespace datastore::testing;
using namespace std::chrono_literals;

namespace {

constexpr int kKeys = 40, kWriters = 12;

// One acknowledgement, written to the pipe in one piece. The value follows from key and revision alone.
struct Ack {
  uint64_t revision;
  uint32_t key;
  uint32_t kind;  // 0 put, 1 delete, 2 volatile
};

std::string key_name(uint32_t key) { return fmt::format("/load/{:03}", key); }

// Holds the key, then the revision: "017@<revision>" plus padding of a size that depends on the key.
Write load_write(uint32_t key) {
  std::string value = fmt::format("{:03}@", key);
  size_t offset = value.size();
  value += " " + std::string(key * 97 % 5000, 'p');
  Write w = put(key_name(key), std::move(value));
  w.revision_offset = offset;
  return w;
}

Task<> load(Store& store, int fd, unsigned seed) {
  std::mt19937 random(seed);
  for (;;) {
    uint32_t key = random() % kKeys;
    uint32_t kind = random() % 10 < 7 ? 0 : random() % 3;
    Write w = kind == 0 ? load_write(key) : kind == 1 ? erase(key_name(key)) : put("/leases/n", "beat");
    auto written = co_await write_one(store, std::move(w));
    if (!written) {
      if (base::is_conflict(written.error())) continue;  // a delete of what is not there
      ::_exit(3);
    }
    Ack ack{(*written)->revision, key, kind};
    if (::write(fd, &ack, sizeof ack) != sizeof ack) ::_exit(4);
  }
}

SqliteOptions options_at(const std::string& path) {
  SqliteOptions options;
  options.path = path;
  options.history_events = 300;
  options.volatile_prefixes = {"/leases/"};
  return options;
}

}  // namespace

TEST_CASE("a process under load, for the crash test", "[.load]") {
  const char* path = ::getenv("APPLIANCE_CRASH_STORE");
  REQUIRE(path);
  base::Runtime runtime(2);
  auto store = must(open_sqlite(runtime, options_at(path)));
  base::Tasks tasks(runtime);
  auto seed = static_cast<unsigned>(::getpid());
  for (int i = 0; i < kWriters; ++i) tasks.spawn("load", load(*store, 3, seed * 100 + static_cast<unsigned>(i)));
  runtime.run();
}

TEST_CASE("kill -9 under load loses no acknowledged write and reuses no revision") {
  const char* wanted = ::getenv("APPLIANCE_CRASHES");
  int crashes = wanted ? std::atoi(wanted) : 60;
  Directory directory;
  std::string path = directory.path + "/store.db";
  std::map<uint32_t, Ack> newest;  // by key
  std::set<uint64_t> seen;
  uint64_t highest = 0, acknowledged = 0;
  std::mt19937 random(4711);
  for (int crash = 0; crash < crashes; ++crash) {
    INFO("crash " << crash);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    std::string variable = "APPLIANCE_CRASH_STORE=" + path;
    pid_t child = ::fork();
    if (child == 0) {
      ::dup2(ends[1], 3);
      ::putenv(variable.data());
      ::execl("/proc/self/exe", "unit_datastore", "[.load]", static_cast<char*>(nullptr));
      ::_exit(5);
    }
    ::close(ends[1]);
    // The time counts from the first acknowledgement on; some are killed while still opening.
    auto patience = std::chrono::microseconds(random() % 120'000);
    std::jthread killer;
    bool early = crash % 10 == 9;
    if (early) {
      killer = std::jthread([child, patience] {
        std::this_thread::sleep_for(patience / 4);
        ::kill(child, SIGKILL);
      });
    }
    Ack ack;
    uint64_t floor = highest;
    while (::read(ends[0], &ack, sizeof ack) == sizeof ack) {
      if (!killer.joinable()) {
        killer = std::jthread([child, patience] {
          std::this_thread::sleep_for(patience);
          ::kill(child, SIGKILL);
        });
      }
      ++acknowledged;
      CHECK(ack.revision > floor);
      bool fresh = seen.insert(ack.revision).second;
      CHECK(fresh);
      highest = std::max(highest, ack.revision);
      if (ack.kind == 2) continue;
      Ack& best = newest[ack.key];
      if (ack.revision > best.revision) best = ack;
    }
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    killer.join();
    base::Runtime runtime(1);
    auto store = must(open_sqlite(runtime, options_at(path)));
    CHECK(store->revision() >= highest);
    for (auto& [key, best] : newest) {
      auto record = store->get(key_name(key));
      if (record) {
        CHECK(record->value->starts_with(fmt::format("{:03}@{} ", key, record->revision)));
        // An unacknowledged write may have been the last.
        CHECK((best.kind == 1 ? record->revision > best.revision : record->revision >= best.revision));
      } else if (best.kind == 0) {
        // Deleted by a write whose acknowledgement did not come through: its tombstone must be newer, hence in the history.
        auto watcher = store->watch("/load/", std::max(store->compacted(), best.revision));
        CHECK(watcher);
        INFO("key " << key << " at " << best.revision << ", compacted " << store->compacted());
        CHECK(store->revision() > best.revision);
      }
    }
    // Odd ones are closed in order, even ones as after a crash of the reader too.
    if (crash % 2) base::run_to_end(runtime, [](Store& s) -> Task<> { co_await s.stop(); }(*store));
  }
  WARN(acknowledged << " acknowledged writes over " << crashes << " kills");
}
