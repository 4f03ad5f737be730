// Watches and compaction: the cases in which other stores were found to lose or repeat something (etcd's robustness suite, kine's issues).
#include <fmt/format.h>

#include "tests/unit/datastore/fixture.h"

using namespace datastore;
using namespace datastore::testing;
using namespace std::chrono_literals;

namespace {

Result<std::unique_ptr<SqliteStore>> open(base::Runtime& runtime, const std::string& directory) {
  SqliteOptions options;
  options.path = directory + "/store.db";
  return open_sqlite(runtime, std::move(options));
}

void with_store(Task<> (*body)(Store&)) {
  Directory directory;
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    auto store = must(open(runtime, directory.path));
    co_await body(*store);
    co_await store->stop();
  });
}

Task<Revision> set(Store& store, std::string key, std::string value) {
  auto written = co_await write_one(store, put(std::move(key), std::move(value)));
  co_return must(std::move(written))->revision;
}
Task<Revision> drop(Store& store, std::string key) {
  auto written = co_await write_one(store, erase(std::move(key)));
  co_return must(std::move(written))->revision;
}

Task<> compacted_to(Store& store, Revision revision) {
  store.compact(revision);
  for (int i = 0; i < 400 && store.compacted() < revision; ++i) co_await base::sleep_for(5ms);
  REQUIRE(store.compacted() == revision);
}

Task<std::vector<Event>> take(Watcher& watcher, size_t n) {
  std::vector<Event> all;
  while (all.size() < n) {
    auto some = must(co_await watcher.next_until(base::Clock::now() + 5s));
    if (some.empty()) break;
    all.insert(all.end(), some.begin(), some.end());
  }
  co_return all;
}

}  // namespace

TEST_CASE("a watch from the compacted revision sees the deletion right after it") {
  with_store([](Store& store) -> Task<> {
    Revision made = co_await set(store, "/a/x", "1");
    Revision gone = co_await drop(store, "/a/x");
    (void)co_await set(store, "/a/y", "1");
    co_await compacted_to(store, made);
    auto watcher = must(store.watch("/a/", made));
    auto events = co_await take(*watcher, 2);
    REQUIRE(events.size() == 2);
    CHECK(events[0].record->revision == gone);
    CHECK(events[0].record->value == nullptr);
    REQUIRE(events[0].previous);
    CHECK(*events[0].previous->value == "1");
  });
}

TEST_CASE("compacting at a deletion takes nothing from a watch that is open or begins there") {
  with_store([](Store& store) -> Task<> {
    (void)co_await set(store, "/a/x", "1");
    Revision before = store.revision();
    auto open_watch = must(store.watch("/a/", before));
    Revision gone = co_await drop(store, "/a/x");
    Revision after = co_await set(store, "/a/x", "2");
    co_await compacted_to(store, gone);
    auto events = co_await take(*open_watch, 2);
    REQUIRE(events.size() == 2);
    CHECK(events[0].record->revision == gone);
    CHECK(events[1].record->revision == after);
    CHECK(events[1].previous == nullptr);
    auto late = must(store.watch("/a/", gone));
    events = co_await take(*late, 1);
    REQUIRE(events.size() == 1);
    CHECK(events[0].record->revision == after);
  });
}

TEST_CASE("a watch from a revision that is yet to come is silent until after it") {
  with_store([](Store& store) -> Task<> {
    (void)co_await set(store, "/a/x", "1");
    Revision future = store.revision() + 3;
    auto watcher = must(store.watch("/a/", future));
    for (int i = 0; i < 5; ++i) (void)co_await set(store, "/a/x", std::to_string(i));
    auto events = co_await take(*watcher, 2);
    REQUIRE(events.size() == 2);
    CHECK(events[0].record->revision == future + 1);
    CHECK(events[1].record->revision == future + 2);
  });
}

TEST_CASE("the revision never goes back, even when everything is deleted, compacted and started again") {
  Directory directory;
  Revision last = 0;
  for (int round = 0; round < 3; ++round) {
    with_runtime([&](base::Runtime& runtime) -> Task<> {
      auto store = must(open(runtime, directory.path));
      CHECK(store->revision() >= last);
      for (int i = 0; i < 10; ++i) (void)co_await set(*store, fmt::format("/a/{}", i), "1");
      for (int i = 0; i < 10; ++i) (void)co_await drop(*store, fmt::format("/a/{}", i));
      last = store->revision();
      co_await compacted_to(*store, last);
      co_await store->stop();
    });
  }
}

TEST_CASE("a store whose live keys are all older than the compaction starts, lists and watches") {
  Directory directory;
  Revision last = 0;
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    auto store = must(open(runtime, directory.path));
    for (int i = 0; i < 5; ++i) (void)co_await set(*store, fmt::format("/a/{}", i), "1");
    for (int i = 0; i < 5; ++i) (void)co_await drop(*store, fmt::format("/a/{}", i + 0));
    (void)co_await set(*store, "/a/kept", "1");
    (void)co_await set(*store, "/b/x", "1");
    (void)co_await drop(*store, "/b/x");
    last = store->revision();
    co_await compacted_to(*store, last);
    co_await store->stop();
  });
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    auto store = must(open(runtime, directory.path));
    CHECK(store->revision() >= last);
    auto listed = must(co_await store->list("/a/", {}));
    REQUIRE(listed.records.size() == 1);
    CHECK(listed.revision >= last);
    auto watcher = must(store->watch("/a/", listed.revision));
    (void)co_await set(*store, "/a/new", "1");
    CHECK((co_await take(*watcher, 1)).size() == 1);
    co_await store->stop();
  });
}

TEST_CASE("progress is never ahead of events that are still to be handed out") {
  with_store([](Store& store) -> Task<> {
    auto watcher = must(store.watch("/a/", store.revision()));
    for (int i = 0; i < 200; ++i) {
      Revision mine = co_await set(store, "/a/x", std::to_string(i));
      (void)co_await set(store, "/b/x", std::to_string(i));
      // Not yet taken: no bookmark may claim it.
      REQUIRE(watcher->progress() < mine);
      auto events = co_await take(*watcher, 1);
      REQUIRE(events.size() == 1);
      CHECK(watcher->progress() >= mine);
    }
  });
}

TEST_CASE("pages of a list show one state while it is written and compacted up to there") {
  with_store([](Store& store) -> Task<> {
    for (int i = 0; i < 300; ++i) (void)co_await set(store, fmt::format("/a/{:04}", i), "old");
    ListOptions options;
    options.limit = 50;
    auto page = must(co_await store.list("/a/", options));
    const Revision at = page.revision;
    size_t total = page.records.size();
    for (int round = 0; page.more; ++round) {
      for (int i = 0; i < 50; ++i) (void)co_await set(store, fmt::format("/a/{:04}", (i * 7 + round) % 300), "new");
      (void)co_await drop(store, fmt::format("/a/{:04}", 299 - round));
      co_await compacted_to(store, at);
      options.at = at;
      options.start_after = page.records.back()->key;
      page = must(co_await store.list("/a/", options));
      CHECK(page.revision == at);
      for (const RecordPtr& r : page.records) CHECK(*r->value == "old");
      total += page.records.size();
    }
    CHECK(total == 300);
  });
}
