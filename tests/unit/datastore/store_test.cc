// What every backend must do. A backend is a function that opens a store in a directory.
#include <atomic>
#include <map>
#include <thread>

#include <fmt/format.h>

#include "tests/unit/datastore/fixture.h"

using namespace datastore;
using namespace datastore::testing;
using namespace std::chrono_literals;

namespace {

struct Settings {
  base::Duration window = 5min;
  size_t events = 10'000;
  size_t watch_queue = 4'096;
};
using Factory = std::function<Result<std::unique_ptr<Store>>(base::Runtime&, const std::string& directory, const Settings&)>;

Result<std::unique_ptr<Store>> sqlite(base::Runtime& runtime, const std::string& directory, const Settings& settings) {
  SqliteOptions options;
  options.path = directory + "/store.db";
  options.history_window = settings.window;
  options.history_events = settings.events;
  options.watch_queue = settings.watch_queue;
  options.volatile_prefixes = {"/leases/"};
  options.tag = [](const Record& r) { return r.value ? std::string_view(*r.value).substr(0, 1) : std::string_view(); };
  return open_sqlite(runtime, std::move(options));
}

const std::map<std::string, Factory> kBackends = {{"sqlite", sqlite}};

using Body = Task<> (*)(Store&);

// Runs the body on a fresh store of each backend.
void on_each(Body body, Settings settings = {}) {
  for (auto& [name, factory] : kBackends) {
    INFO(name);
    Directory directory;
    with_runtime([&](base::Runtime& runtime) -> Task<> {
      auto store = must(factory(runtime, directory.path, settings));
      co_await body(*store);
      co_await store->stop();
    });
  }
}

// The same with the store closed and opened again between the parts.
void across_restart(std::vector<Body> parts, Settings settings = {}) {
  for (auto& [name, factory] : kBackends) {
    INFO(name);
    Directory directory;
    for (Body part : parts) {
      with_runtime([&](base::Runtime& runtime) -> Task<> {
        auto store = must(factory(runtime, directory.path, settings));
        co_await part(*store);
        co_await store->stop();
      });
    }
  }
}

Task<Revision> put_all(Store& store, std::string prefix, int n) {
  Revision last = 0;
  for (int i = 0; i < n; ++i) {
    auto written = co_await write_one(store, put(fmt::format("{}{:04}", prefix, i), fmt::format("value {}", i)));
    last = must(std::move(written))->revision;
  }
  co_return last;
}

// Takes events until `n` have come.
Task<std::vector<Event>> take(Watcher& watcher, size_t n) {
  std::vector<Event> all;
  while (all.size() < n) {
    auto some = co_await watcher.next_until(base::Clock::now() + 5s);
    auto events = must(std::move(some));
    if (events.empty()) break;
    all.insert(all.end(), events.begin(), events.end());
  }
  co_return all;
}

}  // namespace

TEST_CASE("an empty store has a revision, no keys, and answers reads") {
  on_each([](Store& store) -> Task<> {
    CHECK(store.revision() >= 1);
    CHECK(store.get("/a/x") == nullptr);
    CHECK(store.count("/a/") == 0);
    auto listed = co_await store.list("/a/");
    auto list = must(std::move(listed));
    CHECK(list.records.empty());
    CHECK(list.revision == store.revision());
    CHECK_FALSE(list.more);
  });
}

TEST_CASE("a key is created, read, updated and deleted") {
  on_each([](Store& store) -> Task<> {
    auto created = must(co_await write_one(store, put("/a/x", "one", 0)));
    CHECK(created->created == created->revision);
    CHECK(store.revision() == created->revision);
    REQUIRE(store.get("/a/x"));
    CHECK(*store.get("/a/x")->value == "one");
    auto updated = must(co_await write_one(store, put("/a/x", "two", created->revision)));
    CHECK(updated->revision > created->revision);
    CHECK(updated->created == created->created);
    CHECK(*store.get("/a/x")->value == "two");
    CHECK(store.count("/a/") == 1);
    auto gone = must(co_await write_one(store, erase("/a/x", updated->revision)));
    CHECK(gone->revision > updated->revision);
    CHECK(gone->value == nullptr);
    CHECK(store.get("/a/x") == nullptr);
    CHECK(store.count("/a/") == 0);
    auto again = must(co_await write_one(store, put("/a/x", "", 0)));
    CHECK(again->created == again->revision);
    CHECK(store.get("/a/x")->value->empty());
  });
}

TEST_CASE("a write whose precondition fails changes nothing and names the key") {
  on_each([](Store& store) -> Task<> {
    auto created = must(co_await write_one(store, put("/a/x", "one", 0)));
    std::vector<Write> wrong;
    wrong.push_back(put("/a/x", "two", 0));
    wrong.push_back(put("/a/x", "two", created->revision + 1));
    wrong.push_back(put("/a/y", "two", created->revision));
    wrong.push_back(erase("/a/x", created->revision + 7));
    wrong.push_back(erase("/a/y"));
    wrong.push_back(erase("/a/y", 0));
    for (Write& w : wrong) {
      std::string key = w.key;
      auto result = co_await write_one(store, std::move(w));
      REQUIRE_FALSE(result);
      CHECK(base::is_conflict(result.error()));
      CHECK(result.error().name == key);
    }
    CHECK(store.revision() == created->revision);
    CHECK(*store.get("/a/x")->value == "one");
  });
}

TEST_CASE("a transaction is all or nothing and has one revision") {
  on_each([](Store& store) -> Task<> {
    (void)must(co_await write_one(store, put("/a/x", "one")));
    Revision before = store.revision();
    std::vector<Write> bad;
    bad.push_back(put("/a/y", "new"));
    bad.push_back(put("/a/x", "two", 0));
    auto refused = co_await store.write(std::move(bad));
    REQUIRE_FALSE(refused);
    CHECK(store.get("/a/y") == nullptr);
    CHECK(store.revision() == before);
    std::vector<Write> good;
    good.push_back(put("/a/y", "new", 0));
    good.push_back(erase("/a/x"));
    good.push_back(put("/b/z", "zed"));
    auto watcher = must(store.watch("/", before));
    auto done = co_await store.write(std::move(good));
    auto records = must(std::move(done));
    REQUIRE(records.size() == 3);
    for (auto& r : records) CHECK(r->revision == store.revision());
    auto events = must(co_await watcher->next());
    CHECK(events.size() == 3);
    std::vector<Write> twice;
    twice.push_back(put("/a/y", "1"));
    twice.push_back(put("/a/y", "2"));
    auto refused_twice = co_await store.write(std::move(twice));
    REQUIRE_FALSE(refused_twice);
    CHECK(refused_twice.error().code == 400);
  });
}

TEST_CASE("an object carries its own revision where the caller wants it") {
  on_each([](Store& store) -> Task<> {
    Write w = put("/a/x", "{\"resourceVersion\":\"\"}");
    w.revision_offset = 20;
    auto record = must(co_await write_one(store, std::move(w)));
    CHECK(*record->value == fmt::format("{{\"resourceVersion\":\"{}\"}}", record->revision));
    CHECK(*store.get("/a/x")->value == *record->value);
  });
}

TEST_CASE("of racing updates with one revision exactly one wins") {
  on_each([](Store& store) -> Task<> {
    auto created = must(co_await write_one(store, put("/a/x", "0")));
    struct Race {
      std::atomic<int> won = 0, lost = 0, ended = 0;
      base::Event done;
    };
    auto race = std::make_shared<Race>();
    base::Runtime others(2);
    std::jthread thread([&] { others.run(); });
    {
      base::Tasks tasks(others);
      auto one = [](Store& s, std::shared_ptr<Race> r, Revision at, int i) -> Task<> {
        auto result = co_await write_one(s, put("/a/x", std::to_string(i), at));
        ++(result ? r->won : r->lost);
        ++r->ended;
        r->done.notify();
      };
      for (int i = 0; i < 64; ++i) tasks.spawn("racer", one(store, race, created->revision, i));
      for (;;) {
        uint64_t seen = race->done.version();
        if (race->ended == 64) break;
        co_await race->done.wait(seen);
      }
      co_await tasks.stop();
    }
    // Answers are handed out one after the other: when this one comes, the store has let go of the other runtime.
    (void)co_await write_one(store, put("/last", "x"));
    others.stop();
    CHECK(race->won == 1);
    CHECK(race->lost == 63);
  });
}

TEST_CASE("lists are sorted, cut by limit, continued after a key, and exact at a revision") {
  on_each([](Store& store) -> Task<> {
    Revision at = co_await put_all(store, "/a/", 25);
    (void)co_await put_all(store, "/ab/", 3);
    auto all = must(co_await store.list("/a/"));
    REQUIRE(all.records.size() == 25);
    for (size_t i = 1; i < all.records.size(); ++i) CHECK(all.records[i - 1]->key < all.records[i]->key);
    CHECK(store.count("/a/") == 25);
    CHECK(store.count("/a") == 28);
    CHECK(store.count("") == 28);

    ListOptions page;
    page.limit = 10;
    auto first = must(co_await store.list("/a/", page));
    CHECK(first.records.size() == 10);
    CHECK(first.more);
    CHECK(first.remaining == 15);
    // What changes later is not seen by the pages of the same revision.
    (void)must(co_await write_one(store, erase("/a/0012")));
    (void)must(co_await write_one(store, put("/a/0013", "changed")));
    (void)must(co_await write_one(store, put("/a/0010x", "new")));
    (void)must(co_await write_one(store, erase("/a/0014")));
    (void)must(co_await write_one(store, put("/a/0014", "back")));
    page.at = first.revision;
    page.start_after = first.records.back()->key;
    auto second = must(co_await store.list("/a/", page));
    CHECK(second.records.size() == 10);
    CHECK(second.remaining == 5);
    CHECK(second.revision == first.revision);
    CHECK(*second.records[3]->value == "value 13");
    CHECK(*second.records[4]->value == "value 14");
    page.start_after = second.records.back()->key;
    auto third = must(co_await store.list("/a/", page));
    CHECK(third.records.size() == 5);
    CHECK_FALSE(third.more);
    ListOptions then;
    then.at = at;
    CHECK(must(co_await store.list("/a/", then)).records.size() == 25);
    auto now = must(co_await store.list("/a/"));
    CHECK(now.records.size() == 25);
    CHECK(now.revision == store.revision());
  });
}

TEST_CASE("long lists at a revision are exact while keys change underneath") {
  on_each([](Store& store) -> Task<> {
    std::vector<Write> writes;
    for (int i = 0; i < 4000; ++i) writes.push_back(put(fmt::format("/a/{:06}", i), "v"));
    (void)must(co_await store.write(std::move(writes)));
    writes.clear();
    for (int i = 4000; i < 8000; ++i) writes.push_back(put(fmt::format("/a/{:06}", i), "v"));
    (void)must(co_await store.write(std::move(writes)));
    std::atomic<bool> stop = false, torn = false;
    std::jthread reader([&] {
      // Every transaction below deletes one key and creates another: the number never changes.
      base::Runtime runtime(1);
      auto read = [](Store& s, std::atomic<bool>& end, std::atomic<bool>& bad) -> Task<> {
        while (!end) {
          auto listed = co_await s.list("/a/");
          if (!listed || listed->records.size() != 8000) bad = true;
        }
      };
      base::run_to_end(runtime, read(store, stop, torn));
    });
    for (int i = 0; i < 300; ++i) {
      std::vector<Write> swap;
      swap.push_back(erase(fmt::format("/a/{:06}", i * 20)));
      swap.push_back(put(fmt::format("/a/{:06}x", 8000 - i), "v"));
      (void)must(co_await store.write(std::move(swap)));
    }
    stop = true;
    reader.join();
    CHECK_FALSE(torn);
  });
}

TEST_CASE("a list in the future waits, then says so") {
  on_each([](Store& store) -> Task<> {
    ListOptions options;
    options.at = store.revision() + 1000;
    auto begun = base::Clock::now();
    auto late = co_await store.list("/a/", options);
    REQUIRE_FALSE(late);
    CHECK(late.error().code == 504);
    CHECK(base::Clock::now() - begun >= 2900ms);
    options.at = store.revision() + 1;
    (void)must(co_await write_one(store, put("/a/x", "1")));
    auto good = must(co_await store.list("/a/", options));
    CHECK(good.records.size() == 1);
  });
}

TEST_CASE("a watcher sees every change of its prefix once, in order, with what was before") {
  on_each([](Store& store) -> Task<> {
    auto watcher = must(store.watch("/a/", 0));
    auto one = must(co_await write_one(store, put("/a/x", "one")));
    (void)must(co_await write_one(store, put("/b/x", "other")));
    auto two = must(co_await write_one(store, put("/a/x", "two")));
    auto three = must(co_await write_one(store, erase("/a/x")));
    auto events = co_await take(*watcher, 3);
    REQUIRE(events.size() == 3);
    CHECK(events[0].record == one);
    CHECK(events[0].previous == nullptr);
    CHECK(events[1].record == two);
    CHECK(events[1].previous == one);
    CHECK(events[2].record == three);
    CHECK(events[2].record->value == nullptr);
    CHECK(events[2].previous == two);
    auto nothing = must(co_await watcher->next_until(base::Clock::now() + 20ms));
    CHECK(nothing.empty());
  });
}

TEST_CASE("a watcher of one key or of a tag sees what concerns it alone, now and replayed") {
  on_each([](Store& store) -> Task<> {
    const Revision begin = store.revision();
    auto key = must(store.watch("/a/", 0, {"/a/x", ""}));
    auto tag = must(store.watch("/a/", 0, {"", "t"}));
    auto other = must(store.watch("/a/", 0, {"", "u"}));
    auto wide = must(store.watch("/", 0, {"", "t"}));
    auto write = [&](Write w) -> Task<> { (void)must(co_await write_one(store, std::move(w))); };
    co_await write(put("/a/x", "t1"));
    co_await write(put("/a/xy", "v1"));
    co_await write(put("/b/x", "t1"));
    co_await write(put("/a/x", "u2"));  // out of one tag, into the other
    co_await write(put("/a/x", "u3"));
    co_await write(erase("/a/x"));
    auto check = [&](datastore::Watcher& w, std::vector<Revision> wanted) -> Task<> {
      std::vector<Revision> seen;
      for (const auto& e : co_await take(w, wanted.size())) seen.push_back(e.record->revision - begin);
      CHECK(seen == wanted);
      CHECK(must(co_await w.next_until(base::Clock::now() + 5ms)).empty());
      CHECK(w.progress() == store.revision());
    };
    co_await check(*key, {1, 4, 5, 6});
    co_await check(*tag, {1, 4});
    co_await check(*other, {4, 5, 6});
    co_await check(*wide, {1, 3, 4});
    auto replayed_key = must(store.watch("/a/", begin, {"/a/x", ""}));
    auto replayed_tag = must(store.watch("/a/", begin, {"", "t"}));
    co_await check(*replayed_key, {1, 4, 5, 6});
    co_await check(*replayed_tag, {1, 4});
    tag.reset(), key.reset();  // those that go leave the others
    co_await write(put("/a/x", "t4"));
    co_await check(*wide, {7});
    co_await check(*replayed_key, {7});
    co_await check(*replayed_tag, {7});
  });
}

TEST_CASE("watchers are ordered, unique and gapless under concurrent writers") {
  on_each([](Store& store) -> Task<> {
    constexpr int kWriters = 16, kEach = 60;
    Revision begin = store.revision();
    auto all = must(store.watch("/", 0));
    auto some = must(store.watch("/k/3/", 0));
    base::Runtime others(2);
    std::jthread thread([&] { others.run(); });
    {
      base::Tasks tasks(others);
      auto writer = [](Store& s, int id) -> Task<> {
        for (int i = 0; i < kEach; ++i) {
          (void)co_await write_one(s, put(fmt::format("/k/{}/{}", id, i % 7), std::to_string(i)));
        }
      };
      for (int i = 0; i < kWriters; ++i) tasks.spawn("writer", writer(store, i));
      auto events = co_await take(*all, kWriters * kEach);
      REQUIRE(events.size() == kWriters * kEach);
      for (size_t i = 0; i < events.size(); ++i) CHECK(events[i].record->revision == begin + 1 + i);
      auto few = co_await take(*some, kEach);
      REQUIRE(few.size() == kEach);
      for (size_t i = 0; i < few.size(); ++i) CHECK(*few[i].record->value == std::to_string(i));
      // The same from any revision on.
      for (Revision from : {begin, begin + 1, begin + 500, store.revision() - 1}) {
        auto resumed = must(store.watch("/", from));
        auto rest = co_await take(*resumed, kWriters * kEach - (from - begin));
        REQUIRE(rest.size() == kWriters * kEach - (from - begin));
        CHECK(rest.front().record->revision == from + 1);
      }
      co_await tasks.stop();
    }
    // Answers are handed out one after the other: when this one comes, the store has let go of the other runtime.
    (void)co_await write_one(store, put("/last", "x"));
    others.stop();
  });
}

TEST_CASE("a watcher that lags too far is closed with 410 and the others go on") {
  Settings settings;
  settings.watch_queue = 50;
  on_each(
      [](Store& store) -> Task<> {
        auto slow = must(store.watch("/a/", 0));
        auto other = must(store.watch("/b/", 0));
        (void)co_await put_all(store, "/a/", 60);
        (void)co_await put_all(store, "/b/", 40);
        auto result = co_await slow->next();
        REQUIRE_FALSE(result);
        CHECK(base::is_expired(result.error()));
        CHECK((co_await take(*other, 40)).size() == 40);
        // A backlog from history is not held against it.
        auto resumed = must(store.watch("/a/", 1));
        CHECK((co_await take(*resumed, 60)).size() == 60);
      },
      settings);
}

TEST_CASE("progress says up to where a watcher has seen everything, also when nothing matches") {
  on_each([](Store& store) -> Task<> {
    auto watcher = must(store.watch("/a/", 0));
    CHECK(watcher->progress() == store.revision());
    (void)co_await put_all(store, "/b/", 10);
    CHECK(watcher->progress() == store.revision());
    auto mine = must(co_await write_one(store, put("/a/x", "1")));
    (void)co_await put_all(store, "/b/", 10);
    CHECK(watcher->progress() == mine->revision - 1);
    (void)must(co_await watcher->next());
    CHECK(watcher->progress() == store.revision());
  });
}

TEST_CASE("compacted history is gone, the rest stays exact") {
  on_each([](Store& store) -> Task<> {
    (void)co_await put_all(store, "/a/", 10);
    Revision middle = co_await put_all(store, "/a/", 10);
    (void)must(co_await write_one(store, erase("/a/0003")));
    (void)must(co_await write_one(store, put("/a/0004", "late")));
    store.compact(middle);
    for (int i = 0; i < 200 && store.compacted() < middle; ++i) co_await base::sleep_for(5ms);
    REQUIRE(store.compacted() == middle);
    auto old = store.watch("/a/", middle - 1);
    REQUIRE_FALSE(old);
    CHECK(base::is_expired(old.error()));
    ListOptions options;
    options.at = middle - 1;
    auto listed = co_await store.list("/a/", options);
    REQUIRE_FALSE(listed);
    CHECK(base::is_expired(listed.error()));
    options.at = middle;
    auto exact = must(co_await store.list("/a/", options));
    CHECK(exact.records.size() == 10);
    auto resumed = must(store.watch("/a/", middle));
    CHECK((co_await take(*resumed, 2)).size() == 2);
    CHECK(store.count("/a/") == 9);
  });
}

TEST_CASE("history is bounded by count and by time") {
  Settings settings;
  settings.events = 100;
  on_each(
      [](Store& store) -> Task<> {
        Revision last = co_await put_all(store, "/a/", 500);
        CHECK(store.compacted() >= last - 130);
        CHECK(store.compacted() <= last - 100);
        CHECK(store.count("/a/") == 500);
      },
      settings);
  settings = {};
  settings.window = 100ms;
  on_each(
      [](Store& store) -> Task<> {
        Revision last = co_await put_all(store, "/a/", 50);
        for (int i = 0; i < 100 && store.compacted() < last; ++i) co_await base::sleep_for(10ms);
        CHECK(store.compacted() == last);
      },
      settings);
}

TEST_CASE("what was written is there after a restart, with its revisions and its history") {
  across_restart({[](Store& store) -> Task<> {
                    (void)co_await put_all(store, "/a/", 20);
                    (void)must(co_await write_one(store, erase("/a/0003")));
                    (void)must(co_await write_one(store, put("/a/0004", "late")));
                    (void)must(co_await write_one(store, put("/a/0003", "back")));
                    CHECK(store.revision() == 24);
                  },
                  [](Store& store) -> Task<> {
                    CHECK(store.revision() >= 24);
                    CHECK(store.count("/a/") == 20);
                    CHECK(*store.get("/a/0004")->value == "late");
                    CHECK(store.get("/a/0004")->created == 6);
                    CHECK(store.get("/a/0004")->revision == 23);
                    CHECK(store.get("/a/0003")->created == 24);
                    auto resumed = must(store.watch("/a/", 21));
                    auto events = co_await take(*resumed, 3);
                    REQUIRE(events.size() == 3);
                    CHECK(events[0].record->value == nullptr);
                    CHECK(*events[0].previous->value == "value 3");
                    ListOptions options;
                    options.at = 22;
                    CHECK(must(co_await store.list("/a/", options)).records.size() == 19);
                    (void)must(co_await write_one(store, put("/a/more", "more")));
                    CHECK(store.revision() > 24);
                    store.compact(store.revision());
                    co_await base::sleep_for(50ms);
                  },
                  [](Store& store) -> Task<> {
                    CHECK(store.count("/a/") == 21);
                    CHECK(store.get("/a/0003")->created == 24);
                    auto old = store.watch("/a/", 22);
                    REQUIRE_FALSE(old);
                    CHECK(base::is_expired(old.error()));
                    co_return;
                  }});
}

TEST_CASE("volatile keys behave as others but are gone after a restart, and their revisions are not used again") {
  static Revision last;
  across_restart({[](Store& store) -> Task<> {
                    (void)must(co_await write_one(store, put("/a/x", "1")));
                    auto watcher = must(store.watch("/leases/", 0));
                    for (int i = 0; i < 10; ++i) (void)must(co_await write_one(store, put("/leases/n", std::to_string(i))));
                    CHECK((co_await take(*watcher, 10)).size() == 10);
                    CHECK(*store.get("/leases/n")->value == "9");
                    auto stale = co_await write_one(store, put("/leases/n", "x", 1));
                    CHECK_FALSE(stale);
                    last = store.revision();
                  },
                  [](Store& store) -> Task<> {
                    CHECK(store.revision() >= last);
                    CHECK(store.get("/leases/n") == nullptr);
                    CHECK(store.get("/a/x") != nullptr);
                    auto lost = store.watch("/leases/", last - 1);
                    REQUIRE_FALSE(lost);
                    CHECK(base::is_expired(lost.error()));
                    auto kept = store.watch("/a/", last - 1);
                    CHECK(kept);
                    auto written = must(co_await write_one(store, put("/leases/n", "new")));
                    CHECK(written->revision > last);
                  }});
}
