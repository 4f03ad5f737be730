// What is particular to the SQLite backend: the file.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <sqlite3.h>

#include "tests/unit/datastore/fixture.h"

using namespace datastore;
using namespace datastore::testing;
using namespace std::chrono_literals;

namespace {

SqliteOptions options_in(const Directory& directory) {
  SqliteOptions options;
  options.path = directory.path + "/store.db";
  return options;
}

off_t size_of(const std::string& path) {
  struct stat s{};
  return ::stat(path.c_str(), &s) == 0 ? s.st_size : 0;
}

// Opens, runs, stops.
void session(SqliteOptions options, const std::function<Task<>(SqliteStore&)>& body) {
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    auto store = must(open_sqlite(runtime, options));
    co_await body(*store);
    co_await store->stop();
  });
}

base::Error open_fails(SqliteOptions options) {
  base::Runtime runtime(1);
  auto store = open_sqlite(runtime, std::move(options));
  REQUIRE_FALSE(store);
  return store.error();
}

// Statements on a closed file, by a connection of its own.
void with_database(const std::string& path, const char* sql) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  char* error = nullptr;
  sqlite3_exec(db, sql, nullptr, nullptr, &error);
  INFO((error ? error : ""));
  CHECK(error == nullptr);
  sqlite3_close(db);
}

Task<> fill(Store& store, int n, size_t size) {
  std::vector<Write> writes;
  for (int i = 0; i < n; ++i) writes.push_back(put(fmt::format("/a/{:05}", i), std::string(size, 'v')));
  (void)must(co_await store.write(std::move(writes)));
}

}  // namespace

TEST_CASE("the file is private and leaves nothing beside it when closed") {
  Directory directory;
  session(options_in(directory), [&](SqliteStore& store) -> Task<> {
    co_await fill(store, 10, 100);
    struct stat s{};
    REQUIRE(::stat((directory.path + "/store.db").c_str(), &s) == 0);
    CHECK((s.st_mode & 0777) == 0600);
    REQUIRE(::stat((directory.path + "/store.db-wal").c_str(), &s) == 0);
    CHECK((s.st_mode & 0777) == 0600);
    CHECK_FALSE(base::exists(directory.path + "/store.db-shm"));
  });
  CHECK_FALSE(base::exists(directory.path + "/store.db-wal"));
}

TEST_CASE("the indexer sees each record that is loaded") {
  Directory directory;
  session(options_in(directory), [](SqliteStore& store) -> Task<> { co_await fill(store, 3, 5); });
  auto options = options_in(directory);
  options.indexer = [](std::string_view key, std::string_view value) {
    return std::make_shared<const std::string>(fmt::format("{}={}", key, value));
  };
  session(options, [](SqliteStore& store) -> Task<> {
    auto record = store.get("/a/00001");
    REQUIRE(record);
    CHECK(*std::static_pointer_cast<const std::string>(record->attributes) == "/a/00001=vvvvv");
    co_return;
  });
}

TEST_CASE("the file stays within three times the live data while everything is rewritten again and again") {
  Directory directory;
  auto options = options_in(directory);
  options.history_events = 200;
  session(options, [&](SqliteStore& store) -> Task<> {
    co_await fill(store, 4000, 1000);
    for (int round = 0; round < 6; ++round) {
      for (int from = 0; from < 4000; from += 100) {
        std::vector<Write> writes;
        // A permutation, so that neighbours in the file die at different times.
        for (int i = from; i < from + 100; ++i)
          writes.push_back(put(fmt::format("/a/{:05}", i * 1237 % 4000), std::string(900 + (i % 7) * 40, 'w')));
        (void)must(co_await store.write(std::move(writes)));
      }
    }
    co_await base::sleep_for(300ms);
    auto stats = store.stats();
    INFO(stats.file_bytes << " for " << stats.live_bytes);
    CHECK(stats.file_bytes <= 3 * stats.live_bytes);
    CHECK(stats.compacted_rows >= 20'000);
    CHECK(size_of(directory.path + "/store.db-wal") <= 32 << 20);
    // Most is deleted: the space is given back.
    for (int from = 100; from < 4000; from += 100) {
      std::vector<Write> writes;
      for (int i = from; i < from + 100; ++i) writes.push_back(erase(fmt::format("/a/{:05}", i)));
      (void)must(co_await store.write(std::move(writes)));
    }
    store.compact(store.revision());
    co_await base::sleep_for(500ms);
    CHECK(store.stats().file_bytes <= 3 * store.stats().live_bytes + (2 << 20));
  });
}

TEST_CASE("volatile writes and an idle store do not touch the disk") {
  Directory directory;
  auto options = options_in(directory);
  options.volatile_prefixes = {"/leases/"};
  options.history_window = 150ms;
  session(options, [&](SqliteStore& store) -> Task<> {
    co_await fill(store, 10, 100);
    co_await base::sleep_for(400ms);  // the window passes: what it held is compacted once
    auto before = store.stats();
    struct stat db{}, wal{};
    ::stat((directory.path + "/store.db").c_str(), &db);
    ::stat((directory.path + "/store.db-wal").c_str(), &wal);
    for (int i = 0; i < 50; ++i) {
      (void)must(co_await write_one(store, put("/leases/n", std::to_string(i))));
      co_await base::sleep_for(10ms);
    }
    CHECK(store.stats().transactions == before.transactions);
    struct stat db2{}, wal2{};
    ::stat((directory.path + "/store.db").c_str(), &db2);
    ::stat((directory.path + "/store.db-wal").c_str(), &wal2);
    CHECK(db.st_mtim.tv_nsec == db2.st_mtim.tv_nsec);
    CHECK(wal.st_mtim.tv_nsec == wal2.st_mtim.tv_nsec);
    CHECK(store.stats().history_events < 40);
  });
}

TEST_CASE("a second process is told who is in the way") {
  Directory directory;
  session(options_in(directory), [&](SqliteStore&) -> Task<> {
    // POSIX locks are per process: the second opener has to be one.
    pid_t child = ::fork();
    if (child == 0) {
      sqlite3* db = nullptr;
      sqlite3_open((directory.path + "/store.db").c_str(), &db);
      int rc = sqlite3_exec(db, "SELECT * FROM log", nullptr, nullptr, nullptr);
      ::_exit(rc == SQLITE_BUSY ? 7 : 8);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(WEXITSTATUS(status) == 7);
    co_return;
  });
}

TEST_CASE("a file that is not ours, is newer, or is damaged is refused with a reason") {
  Directory directory;
  auto options = options_in(directory);
  session(options, [](SqliteStore& store) -> Task<> { co_await fill(store, 50, 500); });

  SECTION("not a database") {
    REQUIRE(base::write_file_atomic(options.path, std::string(8192, 'x')));
    CHECK_THAT(open_fails(options).message, Catch::Contains("store.db") && Catch::Contains("not a database"));
  }
  SECTION("of another program") {
    ::unlink(options.path.c_str());
    with_database(options.path, "CREATE TABLE t(x)");
    CHECK_THAT(open_fails(options).message, Catch::Contains("another program"));
  }
  SECTION("a newer format") {
    with_database(options.path, "PRAGMA user_version=99");
    CHECK_THAT(open_fails(options).message, Catch::Contains("newer version"));
  }
  SECTION("a changed value") {
    with_database(options.path, "UPDATE log SET value=x'00' WHERE key='/a/00007'");
    CHECK_THAT(open_fails(options).message, Catch::Contains("checksum") && Catch::Contains("/a/00007"));
  }
  SECTION("a changed key") {
    with_database(options.path, "UPDATE log SET key='/a/other' WHERE key='/a/00007'");
    CHECK_THAT(open_fails(options).message, Catch::Contains("checksum"));
  }
  SECTION("a torn page after an unclean stop") {
    with_database(options.path, "UPDATE numbers SET value=0 WHERE name='clean'");
    int fd = ::open(options.path.c_str(), O_WRONLY);
    REQUIRE(::pwrite(fd, std::string(2048, '\xa5').data(), 2048, 5 * 4096) == 2048);
    ::close(fd);
    CHECK_THAT(open_fails(options).message, Catch::Contains("corrupt"));
  }
}

TEST_CASE("a backup is a complete, private, working store") {
  Directory directory;
  auto options = options_in(directory);
  std::string copy = directory.path + "/copy.db";
  static Revision last;
  session(options, [&](SqliteStore& store) -> Task<> {
    co_await fill(store, 500, 500);
    (void)must(co_await write_one(store, put("/b/x", "kept")));
    last = store.revision();
    auto done = co_await store.backup(copy);
    INFO((done ? "" : done.error().message));
    REQUIRE(done);
    (void)must(co_await write_one(store, put("/b/y", "too late")));
    auto again = co_await store.backup(copy);
    REQUIRE_FALSE(again);
    CHECK(again.error().reason == "AlreadyExists");
    auto nowhere = co_await store.backup(directory.path + "/none/copy.db");
    CHECK_FALSE(nowhere);
    (void)must(co_await write_one(store, put("/b/z", "and goes on")));
  });
  struct stat s{};
  REQUIRE(::stat(copy.c_str(), &s) == 0);
  CHECK((s.st_mode & 0777) == 0600);
  options.path = copy;
  session(options, [&](SqliteStore& store) -> Task<> {
    CHECK(store.count("/") == 501);
    CHECK(*store.get("/b/x")->value == "kept");
    CHECK(store.get("/b/y") == nullptr);
    CHECK(store.revision() >= last);
    co_return;
  });
}

TEST_CASE("10,000 objects load fast") {
  Directory directory;
  session(options_in(directory), [](SqliteStore& store) -> Task<> {
    for (int part = 0; part < 5; ++part) {
      std::vector<Write> writes;
      for (int i = 0; i < 2000; ++i) writes.push_back(put(fmt::format("/pods/ns{}/{:05}", part, i), std::string(1500, 'v')));
      (void)must(co_await store.write(std::move(writes)));
    }
  });
  auto begun = base::Clock::now();
  base::Runtime runtime(1);
  auto store = must(open_sqlite(runtime, options_in(directory)));
  auto took = base::Clock::now() - begun;
  CHECK(store->count("/pods/") == 10'000);
  CHECK(took < 1s);
}
