// The default backend: one SQLite file, one writer thread, everything readable from memory.
//
// A write is acknowledged after the transaction that holds it has been synced (WAL, synchronous=FULL). What waits at that moment is one
// transaction with one sync. An idle store writes nothing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "datastore/keyring.h"
#include "datastore/store.h"

namespace datastore {

struct SqliteOptions {
  std::string path;
  Indexer indexer;  // called for each record loaded; may be empty
  Tag tag = nullptr;
  // History is kept at least this long, unless there are more events than `history_events`.
  base::Duration history_window = std::chrono::minutes(5);
  size_t history_events = 10'000;
  // Keys with one of these prefixes live in memory only: their writes take a revision and make events, and are gone after a restart.
  std::vector<std::string> volatile_prefixes;
  // Values of keys with one of these prefixes are encrypted in the file (and nowhere else). Rows from before stay readable and are encrypted when next
  // written, or by reseal().
  std::shared_ptr<Keyring> keyring;
  std::vector<std::string> sealed_prefixes;
  size_t watch_queue = 4'096;     // events a watcher may lag behind before it is closed with 410
  size_t write_queue = 65'536;    // writes waiting; further ones are refused with 429
  // Called once, from the writer thread, when the disk has failed (EIO, a failed sync, corruption). The store refuses every write from then on;
  // the process is expected to exit and to start again from what is on disk.
  std::function<void(const base::Error&)> fatal;
  // Called from the writer thread a while after writes, when none wait: for what is better not done under load. It must be quick.
  std::function<void()> settled;
  std::string vfs;                // name of the SQLite VFS; empty: the default
};

class SqliteStore : public Store {
 public:
  // A consistent copy of the database, made by the writer between two transactions, durable when it returns. The file must not exist.
  virtual Task<Result<>> backup(std::string path) = 0;
  struct Stats {
    uint64_t transactions = 0, writes = 0, compacted_rows = 0, checkpoints = 0;
    uint64_t file_bytes = 0, wal_bytes = 0, live_bytes = 0, history_events = 0;
    WriteTimes times;
  };
  virtual Stats stats() const = 0;
};

// Opens or creates the file (0600) and loads it. Errors name the file: locked by another process, not a database, a corrupt row.
Result<std::unique_ptr<SqliteStore>> open_sqlite(base::Runtime& runtime, SqliteOptions options);

}  // namespace datastore
