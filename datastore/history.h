// All versions of all keys that are still readable, and the changes of the history window in commit order. In memory; shared by every backend.
//
// One thread writes (apply, compact, load); any thread reads. Readers hold the lock shared for a bounded number of keys at a time.
#pragma once

#include <pthread.h>

#include <deque>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "datastore/store.h"

namespace datastore {

// A reader-writer lock that lets a waiting writer go first (std::shared_mutex starves it under constant reads). Not recursive.
class WriterFirstLock {
 public:
  WriterFirstLock();
  ~WriterFirstLock() { pthread_rwlock_destroy(&lock_); }
  WriterFirstLock(const WriterFirstLock&) = delete;
  WriterFirstLock& operator=(const WriterFirstLock&) = delete;
  void lock() { pthread_rwlock_wrlock(&lock_); }
  void unlock() { pthread_rwlock_unlock(&lock_); }
  void lock_shared() { pthread_rwlock_rdlock(&lock_); }
  void unlock_shared() { pthread_rwlock_unlock(&lock_); }

 private:
  pthread_rwlock_t lock_;
};

class History {
 public:
  // A version and where the backend keeps it (a row id, never 0); 0: in memory only.
  struct Change {
    RecordPtr record;
    int64_t row = 0;
  };
  // How much to keep. What exceeds one of these may be compacted.
  struct Window {
    base::Duration time;
    size_t events;
    size_t bytes;  // of superseded values
  };

  History() = default;

  // --- readers
  RecordPtr get(std::string_view key) const;
  size_t count(std::string_view prefix) const;
  // options.at must not be in the future. 410 when it is compacted.
  Result<ListResult> list(std::string_view prefix, const ListOptions& options) const;
  // Changes with this prefix and after < revision <= until. 410 when compacted.
  Result<std::vector<Event>> events(std::string_view prefix, Revision after, Revision until) const;
  Revision revision() const;
  Revision compacted() const;
  size_t event_count() const;
  uint64_t live_bytes() const;

  // --- the writer
  // Newest version, a deletion included; null when the key is unknown. Without a lock.
  const Record* newest(std::string_view key) const;
  // Makes the changes visible at once, in order; revisions rise. `now` dates them.
  std::vector<Event> apply(std::span<const Change> changes, base::TimePoint now);
  // While loading, before there are readers: as apply, for one change; a change at or before compacted() is no event. Appends the rows that
  // are superseded for good.
  void load(Change change, base::TimePoint now, std::vector<int64_t>& superseded);
  // After loading: the revision to go on from, and what is known to be compacted.
  void start_at(Revision revision, Revision compacted);
  // The revision up to which the window allows to compact; compacted() when nothing is due.
  Revision due(const Window& window, base::TimePoint now) const;
  // Whether superseded values weigh more than the window allows.
  bool over(const Window& window) const { return superseded_bytes_ > window.bytes + window.bytes / 16; }
  // When the oldest change leaves the window by time; nullopt without history.
  std::optional<base::TimePoint> next_due(const Window& window) const;
  // Drops at most about `limit` changes up to the revision (never a part of one revision) and appends the rows that nobody can read any more,
  // in the order in which they may be deleted. True when there is more to do.
  bool compact(Revision upto, size_t limit, std::vector<int64_t>& superseded);

 private:
  struct Node {
    mutable RecordPtr latest;
    mutable int64_t row;
    mutable std::unique_ptr<std::deque<RecordPtr>> older;  // oldest first; null when there is none
  };
  struct ByKey {
    using is_transparent = void;
    bool operator()(const Node& a, const Node& b) const { return a.latest->key < b.latest->key; }
    bool operator()(const Node& a, std::string_view b) const { return a.latest->key < b; }
    bool operator()(std::string_view a, const Node& b) const { return a < b.latest->key; }
  };
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  struct Entry {
    Event event;
    int64_t row = 0, previous_row = 0;
  };
  struct Mark {
    Revision revision;  // last of a commit
    base::TimePoint time;
  };
  using Nodes = std::set<Node, ByKey>;

  void apply_one(const Change& change);
  void adjust_counts(std::string_view key, int by);
  static const RecordPtr* version_at(const Node& node, Revision at);
  bool list_chunk(std::string_view prefix, const ListOptions& options, Revision at, std::string& cursor, ListResult& result) const;

  mutable WriterFirstLock lock_;
  Nodes nodes_;
  std::unordered_map<std::string, size_t, Hash, std::equal_to<>> counts_;  // live keys below each prefix that ends with '/'
  size_t live_ = 0;
  uint64_t live_bytes_ = 0, superseded_bytes_ = 0;
  std::deque<Entry> entries_;
  std::deque<Mark> marks_;
  Revision revision_ = 0, compacted_ = 0;
};

}  // namespace datastore
