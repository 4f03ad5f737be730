// Every write, sync and truncation of the file system fails once, at each place, in each way; what was acknowledged is there afterwards.
#include <sqlite3.h>

#include <cstring>
#include <map>
#include <optional>
#include <random>

#include <fmt/format.h>

#include "tests/unit/datastore/fixture.h"

using namespace datastore;
using namespace datastore::testing;
using namespace std::chrono_literals;

namespace {

enum class Fault { io_error, torn_write, disk_full };

// A VFS over the default one that counts what changes the disk and fails one call, or all from it on.
struct FaultyDisk {
  sqlite3_vfs vfs{};
  sqlite3_vfs* real = nullptr;
  long calls = 0, fail_at = -1;
  bool for_good = false;
  Fault fault = Fault::io_error;

  // What a power cut would leave: the content at the last sync of each file, and what was written since.
  struct Pending {
    sqlite3_int64 at;
    std::string data;
    bool truncate = false;  // to `at`
  };
  struct Platter {
    std::string synced;
    std::vector<Pending> pending;
  };
  bool track = false;
  std::map<std::string, Platter> platters;  // by path

  static void apply(std::string& content, const Pending& p, size_t bytes) {
    auto at = static_cast<size_t>(p.at);
    if (p.truncate) {
      content.resize(at);
      return;
    }
    if (content.size() < at + bytes) content.resize(at + bytes);
    content.replace(at, bytes, p.data, 0, bytes);
  }
  void written(const std::string& path, Pending p) {
    if (track) platters[path].pending.push_back(std::move(p));
  }
  void synced(const std::string& path) {
    if (!track) return;
    Platter& platter = platters[path];
    for (const Pending& p : platter.pending) apply(platter.synced, p, p.data.size());
    platter.pending.clear();
  }
  // Each unsynced write is kept, lost, or torn at a sector.
  void cut_power(unsigned seed) {
    std::minstd_rand random(seed);
    for (auto& [path, platter] : platters) {
      if (!base::exists(path)) continue;
      for (const Pending& p : platter.pending) {
        unsigned fate = random() % 4;
        if (fate == 0) continue;
        apply(platter.synced, p, fate == 1 ? random() % (p.data.size() / 512 + 1) * 512 : p.data.size());
      }
      REQUIRE(base::write_file_atomic(path, platter.synced, 0600, false));
    }
    platters.clear();
    track = false;
  }

  bool hit() {
    long n = calls++;
    return fail_at >= 0 && (n == fail_at || (for_good && n > fail_at));
  }
  void arm(long at, Fault kind, bool sticky) {
    calls = 0;
    fail_at = at;
    fault = kind;
    for_good = sticky;
  }
};
FaultyDisk disk;

struct File {
  sqlite3_file base;
  sqlite3_file* real;
  char path[256];
};
sqlite3_file* real(sqlite3_file* f) { return reinterpret_cast<File*>(f)->real; }

int write_file(sqlite3_file* f, const void* data, int n, sqlite3_int64 at) {
  if (!disk.hit()) {
    disk.written(reinterpret_cast<File*>(f)->path, {at, std::string(static_cast<const char*>(data), static_cast<size_t>(n))});
    return real(f)->pMethods->xWrite(real(f), data, n, at);
  }
  if (disk.fault == Fault::torn_write) real(f)->pMethods->xWrite(real(f), data, n / 2, at);
  return disk.fault == Fault::disk_full ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}
// A full disk still syncs and truncates.
bool hit_other() { return disk.fault != Fault::disk_full && disk.hit(); }
int truncate_file(sqlite3_file* f, sqlite3_int64 n) {
  if (hit_other()) return SQLITE_IOERR_TRUNCATE;
  disk.written(reinterpret_cast<File*>(f)->path, {n, "", true});
  return real(f)->pMethods->xTruncate(real(f), n);
}
int sync_file(sqlite3_file* f, int) {
  if (hit_other()) return SQLITE_IOERR_FSYNC;
  disk.synced(reinterpret_cast<File*>(f)->path);
  return SQLITE_OK;  // the machine does not really lose power
}

sqlite3_io_methods methods = {
    1,
    [](sqlite3_file* f) { return real(f)->pMethods->xClose(real(f)); },
    [](sqlite3_file* f, void* p, int n, sqlite3_int64 at) { return real(f)->pMethods->xRead(real(f), p, n, at); },
    write_file,
    truncate_file,
    sync_file,
    [](sqlite3_file* f, sqlite3_int64* n) { return real(f)->pMethods->xFileSize(real(f), n); },
    [](sqlite3_file* f, int l) { return real(f)->pMethods->xLock(real(f), l); },
    [](sqlite3_file* f, int l) { return real(f)->pMethods->xUnlock(real(f), l); },
    [](sqlite3_file* f, int* r) { return real(f)->pMethods->xCheckReservedLock(real(f), r); },
    [](sqlite3_file* f, int op, void* p) { return real(f)->pMethods->xFileControl(real(f), op, p); },
    [](sqlite3_file* f) { return real(f)->pMethods->xSectorSize(real(f)); },
    [](sqlite3_file* f) { return real(f)->pMethods->xDeviceCharacteristics(real(f)); },
    nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};

int open_file(sqlite3_vfs*, const char* name, sqlite3_file* f, int flags, int* out) {
  auto* file = reinterpret_cast<File*>(f);
  file->base.pMethods = nullptr;
  file->real = reinterpret_cast<sqlite3_file*>(file + 1);
  std::snprintf(file->path, sizeof file->path, "%s", name ? name : "");
  if (disk.track && name) {
    auto& platter = disk.platters[name];
    if (auto content = base::read_file(name)) platter.synced = *content;
    platter.pending.clear();
  }
  int rc = disk.real->xOpen(disk.real, name, file->real, flags, out);
  if (file->real->pMethods) file->base.pMethods = &methods;
  return rc;
}

void install() {
  if (disk.real) return;
  disk.real = sqlite3_vfs_find(nullptr);
  disk.vfs = *disk.real;
  disk.vfs.zName = "faulty";
  disk.vfs.pNext = nullptr;
  disk.vfs.szOsFile = static_cast<int>(sizeof(File)) + disk.real->szOsFile;
  disk.vfs.xOpen = open_file;
  sqlite3_vfs_register(&disk.vfs, 0);
}

struct Outcome {
  std::map<std::string, std::optional<std::string>> acknowledged;  // newest acknowledged value; nullopt: deleted
  std::map<std::string, std::vector<std::optional<std::string>>> uncertain;  // values of refused writes after it
  Revision last = 0;
  int fatal = 0, full = 0, refused = 0;
  bool opened = false;
};

SqliteOptions options_in(const Directory& directory) {
  SqliteOptions options;
  options.path = directory.path + "/store.db";
  options.history_events = 20;
  options.volatile_prefixes = {"/leases/"};
  return options;
}

// Some creates, updates, deletes and volatile writes, with compaction in between.
Task<> script(Store& store, Outcome& outcome) {
  for (int i = 0; i < 60; ++i) {
    std::string key = fmt::format("/k/{}", i % 9);
    std::optional<std::string> value = fmt::format("{}-{}", i, std::string(static_cast<size_t>(i) * 37, 'x'));
    bool remove = i % 11 == 10 && store.get(key);
    if (remove) value.reset();
    auto written = co_await write_one(store, remove ? erase(key) : put(key, *value));
    if (written) {
      outcome.acknowledged[key] = value;
      outcome.uncertain.erase(key);
      CHECK((*written)->revision > outcome.last);
      outcome.last = (*written)->revision;
    } else {
      ++outcome.refused;
      CHECK(written.error().code == 500);
      outcome.full += written.error().reason == "InsufficientStorage";
      outcome.uncertain[key].push_back(value);
    }
    auto lease = co_await write_one(store, put("/leases/n", "beat"));
    if (lease) outcome.last = (*lease)->revision;
  }
}

void run_script(const Directory& directory, Outcome& outcome) {
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    auto options = options_in(directory);
    options.vfs = "faulty";
    options.fatal = [&](const base::Error&) { ++outcome.fatal; };
    auto store = open_sqlite(runtime, options);
    if (!store) co_return;
    outcome.opened = true;
    co_await script(**store, outcome);
    co_await (*store)->stop();
  });
}

void check_survivors(const Directory& directory, const Outcome& outcome) {
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    auto store = must(open_sqlite(runtime, options_in(directory)));
    CHECK(store->revision() >= outcome.last);
    for (int i = 0; i < 9; ++i) {
      std::string key = fmt::format("/k/{}", i);
      auto record = store->get(key);
      std::optional<std::string> found;
      if (record) found = *record->value;
      auto expected = outcome.acknowledged.find(key);
      bool good = found == (expected == outcome.acknowledged.end() ? std::nullopt : expected->second);
      if (auto it = outcome.uncertain.find(key); it != outcome.uncertain.end()) good = good || std::ranges::count(it->second, found);
      CHECK(good);
    }
    co_await store->stop();
  });
}

}  // namespace

TEST_CASE("no acknowledged write is lost wherever the disk fails") {
  install();
  long total = 0;
  {
    Directory directory;
    Outcome outcome;
    disk.arm(-1, Fault::io_error, false);
    run_script(directory, outcome);
    total = disk.calls;
    REQUIRE(outcome.opened);
    CHECK(outcome.refused == 0);
    check_survivors(directory, outcome);
  }
  REQUIRE(total > 100);
  for (Fault fault : {Fault::io_error, Fault::torn_write, Fault::disk_full}) {
    for (bool sticky : {false, true}) {
      for (long at = 0; at < total; at += 1 + (total / 60)) {
        INFO("fault " << static_cast<int>(fault) << " at " << at << (sticky ? " for good" : " once"));
        Directory directory;
        Outcome outcome;
        disk.arm(at, fault, sticky);
        run_script(directory, outcome);
        disk.arm(-1, fault, false);
        CHECK(outcome.fatal <= 1);
        check_survivors(directory, outcome);
      }
    }
  }
}

TEST_CASE("no acknowledged write is lost when power fails and unsynced writes are lost or torn") {
  install();
  long total = 0;
  for (long at = -1; at < total; at += at < 0 ? 1 : 1 + total / 250) {
    INFO("power fails at call " << at);
    Directory directory;
    Outcome outcome;
    disk.track = true;
    disk.arm(at, at % 2 ? Fault::io_error : Fault::torn_write, true);
    run_script(directory, outcome);
    if (at < 0) total = disk.calls;
    disk.arm(-1, Fault::io_error, false);
    disk.cut_power(static_cast<unsigned>(at + 2));
    check_survivors(directory, outcome);
  }
  REQUIRE(total > 100);
}

TEST_CASE("a full disk refuses writes, keeps serving, and recovers by itself") {
  install();
  Directory directory;
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    disk.arm(-1, Fault::disk_full, false);
    auto options = options_in(directory);
    options.vfs = "faulty";
    bool fatal = false;
    options.fatal = [&](const base::Error&) { fatal = true; };
    auto store = must(open_sqlite(runtime, options));
    (void)must(co_await write_one(*store, put("/a/x", "one")));
    disk.arm(0, Fault::disk_full, true);
    for (int i = 0; i < 5; ++i) {
      auto refused = co_await write_one(*store, put("/a/x", "two"));
      REQUIRE_FALSE(refused);
      CHECK(refused.error().code == 500);
      CHECK(refused.error().reason == "InsufficientStorage");
      CHECK_THAT(refused.error().message, Catch::Contains("full"));
      CHECK(*store->get("/a/x")->value == "one");
    }
    CHECK((co_await write_one(*store, put("/leases/n", "beat"))).has_value());
    disk.arm(-1, Fault::disk_full, false);
    auto written = must(co_await write_one(*store, put("/a/x", "three")));
    CHECK(*store->get("/a/x")->value == "three");
    CHECK_FALSE(fatal);
    co_await store->stop();
  });
}

TEST_CASE("after a failed sync nothing is acknowledged any more") {
  install();
  Directory directory;
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    disk.arm(-1, Fault::io_error, false);
    auto options = options_in(directory);
    options.vfs = "faulty";
    int fatal = 0;
    options.fatal = [&](const base::Error& e) {
      ++fatal;
      CHECK_THAT(e.message, Catch::Contains("store.db"));
    };
    auto store = must(open_sqlite(runtime, options));
    auto before = must(co_await write_one(*store, put("/a/x", "one")));
    disk.arm(0, Fault::io_error, false);  // once; the disk would work again
    for (int i = 0; i < 3; ++i) {
      auto refused = co_await write_one(*store, put("/a/x", "two"));
      REQUIRE_FALSE(refused);
      CHECK(refused.error().code == 500);
    }
    CHECK(fatal == 1);
    CHECK(store->revision() == before->revision);
    co_await store->stop();
  });
}
