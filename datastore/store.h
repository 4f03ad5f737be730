// The store: revisions, transactions, history, watch. Knows keys and bytes, nothing of Kubernetes.
//
// Reads come from memory and are never behind an acknowledged write. All writes pass one queue; a write is durable before it is acknowledged.
// Every method is safe from any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/io.h"

namespace datastore {

using base::Result;
using base::Task;
using Revision = uint64_t;

// One version of one key. Immutable; shared by cache, history, lists and watch events.
struct Record {
  std::string key;
  base::Bytes value;  // null for a deletion
  Revision created = 0;   // revision that created the key
  Revision revision = 0;  // revision of this version
  // What the caller attached when writing, or the indexer made when loading: labels, indexed fields. Never stored.
  std::shared_ptr<const void> attributes;
};
using RecordPtr = std::shared_ptr<const Record>;

// One write of a transaction.
struct Write {
  std::string key;
  base::Bytes value;  // null: delete
  // Offset in value where the decimal digits of the new revision are inserted; npos: nowhere. So an object can carry its own revision.
  size_t revision_offset = std::string::npos;
  // Precondition: 0 = the key must not exist; n = the key's revision must be n; nullopt = none (a delete of an absent key still fails).
  std::optional<Revision> expected;
  std::shared_ptr<const void> attributes;
};

// A change, in commit order.
struct Event {
  RecordPtr record;    // the new version (value null when deleted; the revision is that of the deletion)
  RecordPtr previous;  // the version before; null when created
};

struct ListResult {
  std::vector<RecordPtr> records;  // by key
  Revision revision = 0;           // the state listed
  bool more = false;               // the limit cut the list
  size_t remaining = 0;            // how many were left out
};

struct ListOptions {
  size_t limit = 0;               // 0: all
  std::string start_after;        // only keys greater than this
  Revision at = 0;                // 0: now; else exactly that state (410 Expired once compacted, 504 when in the future after 3 s)
};

// What a watcher needs of the changes below its prefix: those of one key; or those of records with a tag, before or after (see SqliteOptions::tag). Many
// watchers of one folder, each with its own small part, then cost no more than the parts. Empty: all of them.
struct Narrow {
  std::string key, tag;
};

// A subscription. Events arrive in order, without gap, from the revision asked for.
class Watcher {
 public:
  virtual ~Watcher() = default;  // unsubscribes
  // Waits for events and takes all that are queued (at least one). 410 Expired when this watcher was too slow and has been closed.
  virtual Task<Result<std::vector<Event>>> next() = 0;
  // As next, but an empty vector when nothing came until the deadline.
  virtual Task<Result<std::vector<Event>>> next_until(base::TimePoint deadline) = 0;
  // All events up to this revision have been handed out by next(): the value for bookmarks.
  virtual Revision progress() const = 0;
};

// How the values of the prefixes that are encrypted stand in the file.
struct Sealing {
  bool enabled = false;
  std::vector<std::pair<std::string, size_t>> by_key;  // rows by the id of the key that sealed them
  size_t plain = 0;                                    // rows from before
};

// How long writes took from being queued to being acknowledged, refused ones included.
struct WriteTimes {
  static constexpr double kBounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
  static constexpr size_t kBuckets = sizeof kBounds / sizeof kBounds[0];
  uint64_t buckets[kBuckets] = {}, count = 0;
  double seconds = 0;
  void add(double s) {
    size_t i = 0;
    while (i < kBuckets && s > kBounds[i]) ++i;
    if (i < kBuckets) ++buckets[i];
    ++count;
    seconds += s;
  }
};

class Store {
 public:
  virtual ~Store() = default;
  virtual RecordPtr get(std::string_view key) const = 0;  // null when absent
  // Keys with this prefix (exact bytes; callers end it with '/').
  virtual Task<Result<ListResult>> list(std::string prefix, ListOptions options = {}) const = 0;
  // How many live keys have this prefix; cheap.
  virtual size_t count(std::string_view prefix) const = 0;
  // All or none, one revision. 409 Conflict (reason "Conflict", Error.name = the key) when a precondition fails. The records written, in order.
  virtual Task<Result<std::vector<RecordPtr>>> write(std::vector<Write> writes) = 0;
  // Events of keys with this prefix after revision `from`; 0: from now. 410 Expired when compacted.
  virtual Result<std::unique_ptr<Watcher>> watch(std::string prefix, Revision from, Narrow narrow = {}) = 0;
  virtual Revision revision() const = 0;   // of the last acknowledged write
  virtual Revision compacted() const = 0;  // history before this is gone
  // Drops history before the revision (bounded steps in the background).
  virtual void compact(Revision before) = 0;
  // An error when writes are refused: the disk is full or has failed, the store is stopping.
  virtual Result<> health() const = 0;
  virtual uint64_t size_bytes() const = 0;  // on disk
  virtual WriteTimes write_times() const = 0;
  // Rows under the encrypted prefixes as they stand, history included.
  virtual Task<Result<Sealing>> sealing() = 0;
  // Writes anew what the newest key did not seal (after making a new one, if asked) and forgets the other keys. No revision changes, and no old text
  // stays in the file.
  virtual Task<Result<>> reseal(bool with_new_key) = 0;
  // Waits for writes under way, then closes.
  virtual Task<> stop() = 0;
};

// A word by which watchers choose records; empty: none.
using Tag = std::string_view (*)(const Record& record);

// Makes Record.attributes for what is loaded from disk.
using Indexer = std::function<std::shared_ptr<const void>(std::string_view key, std::string_view value)>;

}  // namespace datastore
