#include "datastore/history.h"

#include "tests/unit/datastore/fixture.h"

using namespace datastore;
using namespace std::chrono_literals;

namespace {

RecordPtr record(std::string key, const char* value, Revision revision, Revision created = 0) {
  auto r = std::make_shared<Record>();
  r->key = std::move(key);
  if (value) r->value = base::make_bytes(value);
  r->revision = revision;
  r->created = created ? created : revision;
  return r;
}

void apply(History& history, RecordPtr r) {
  History::Change change{r, static_cast<int64_t>(r->revision * 10)};
  history.apply(std::span(&change, 1), base::Clock::now());
}

}  // namespace

TEST_CASE("compaction names the rows nobody can read any more, older rows of a key before its tombstone") {
  History history;
  apply(history, record("/a", "1", 1));
  apply(history, record("/b", "1", 2));
  apply(history, record("/a", "2", 3, 1));
  apply(history, record("/a", nullptr, 4, 1));
  apply(history, record("/a", "3", 5));
  std::vector<int64_t> rows;
  CHECK_FALSE(history.compact(2, 100, rows));
  CHECK(rows.empty());
  CHECK_FALSE(history.compact(3, 100, rows));
  CHECK(rows == std::vector<int64_t>{10});
  CHECK_FALSE(history.compact(4, 100, rows));
  CHECK(rows == std::vector<int64_t>{10, 30, 40});
  CHECK(*history.get("/a")->value == "3");
  ListOptions at;
  at.at = 4;
  CHECK(history.list("/", at)->records.size() == 1);
  apply(history, record("/a", nullptr, 6, 5));
  rows.clear();
  CHECK_FALSE(history.compact(6, 100, rows));
  CHECK(rows == std::vector<int64_t>{50, 60});
  CHECK(history.newest("/a") == nullptr);
  CHECK(history.live_bytes() == 3);
}

TEST_CASE("compaction goes in steps and never splits a revision") {
  History history;
  for (Revision r = 1; r <= 10; ++r) {
    History::Change changes[3];
    for (int i = 0; i < 3; ++i) changes[i] = {record("/k" + std::to_string(i), "v", r), static_cast<int64_t>(r * 10 + i)};
    history.apply(changes, base::Clock::now());
  }
  std::vector<int64_t> rows;
  CHECK(history.compact(10, 4, rows));
  CHECK(history.compacted() == 2);
  CHECK(rows.size() == 3);
  while (history.compact(10, 4, rows)) {
  }
  CHECK(history.compacted() == 10);
  CHECK(rows.size() == 27);
  CHECK(history.event_count() == 0);
}

TEST_CASE("the window is by time, by number and by bytes") {
  History history;
  auto begun = base::Clock::now();
  for (Revision r = 1; r <= 20; ++r) {
    History::Change change{record("/a", "0123456789", r, 1), static_cast<int64_t>(r)};
    history.apply(std::span(&change, 1), begun + r * 1s);
  }
  CHECK(history.due({10s, 100, 1000}, begun + 15s) == 5);
  CHECK(history.due({60s, 100, 1000}, begun + 21s) == 0);
  CHECK(history.due({60s, 12, 1000}, begun + 21s) == 8);
  CHECK(history.due({60s, 100, 120}, begun + 21s) ==
        10);  // 19 superseded values of 12 bytes, 10 may stay; the first change supersedes nothing
  CHECK(*history.next_due({60s, 100, 1000}) == begun + 61s);
}

TEST_CASE("loading skips what is compacted and makes events of the rest") {
  History history;
  history.start_at(0, 5);
  std::vector<int64_t> superseded;
  auto now = base::Clock::now();
  auto load = [&](RecordPtr r) { history.load({r, static_cast<int64_t>(r->revision * 10)}, now, superseded); };
  load(record("/a", "1", 1));
  load(record("/b", "1", 2));
  load(record("/a", "2", 3, 1));
  load(record("/b", nullptr, 4, 2));
  load(record("/c", nullptr, 5, 1));  // what it deleted is gone already
  load(record("/a", "3", 6, 1));
  CHECK(superseded == std::vector<int64_t>{10, 20, 40, 50});
  history.start_at(100, 0);
  CHECK(history.revision() == 100);
  CHECK(history.count("/") == 1);
  auto events = history.events("/", 5, 100);
  REQUIRE(events);
  REQUIRE(events->size() == 1);
  CHECK(*events->front().previous->value == "2");
  CHECK_FALSE(history.events("/", 4, 100));
}
