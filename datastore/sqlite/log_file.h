// The file: one table of versions keyed by revision, one of numbers, behind prepared statements. Used by one thread at a time.
//
// log(id, key, created, value, sum): id = revision << 12 | place in its transaction; value null is a deletion, or sealed (keyring.h);
// sum is a CRC-32 over all of it as it stands in the file.
// numbers: "reserved" (no revision up to it is given out again after a crash), "compacted", "clean" (1 while closed in order).
#pragma once

#include <functional>
#include <string>

#include "datastore/keyring.h"
#include "datastore/store.h"

struct sqlite3;
struct sqlite3_stmt;

namespace datastore {

constexpr int kRowBits = 12;  // writes in one transaction: at most 4096
constexpr size_t kMaxWrites = size_t{1} << kRowBits;

// Errors of this class carry a reason that says what to do.
inline constexpr std::string_view kDiskFull = "InsufficientStorage";  // 500; refuse and go on
inline constexpr std::string_view kDiskFailed = "DiskFailed";         // 500; nothing can be trusted until the file is opened anew

// Of a row; `value` as it stands in the file, null for a deletion.
uint32_t row_checksum(int64_t id, std::string_view key, Revision created, const std::string* value);

class LogFile {
 public:
  struct Numbers {
    Revision reserved = 0, compacted = 0;
    bool clean = true;
  };
  struct Row {
    int64_t id = 0;
    RecordPtr record;
  };

  LogFile() = default;
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // Which values are encrypted, and with what. Before load().
  void seal_with(std::shared_ptr<Keyring> keyring, std::vector<std::string> prefixes);

  // Opens or creates it and takes the lock of the file for good. Checks the structure when it was not closed in order.
  Result<Numbers> open(const std::string& path, const std::string& vfs);
  // All rows by id; each one's sum is verified.
  Result<> load(const std::function<void(Row)>& row);

  Result<> begin();
  Result<> append(int64_t id, const Record& record);
  Result<> erase(int64_t id);
  Result<> set(std::string_view name, int64_t value);
  // Durable when it returns without error. After DiskFull the transaction is undone.
  Result<> commit();
  void rollback();

  // Moves the write-ahead log into the file. truncate: and empties it.
  Result<> checkpoint(bool truncate);
  // Gives at most `pages` free pages at the end of the file back.
  Result<> shrink(int pages);
  Result<> copy_to(const std::string& path);
  Result<Sealing> sealing() const;
  // Seals with the newest key what is not, then rewrites the file so that no page of it holds older text.
  Result<> reseal();
  // Checkpoints and closes. Nothing more is possible.
  void close();

  int64_t pages() const;
  int64_t free_pages() const;
  static constexpr int kPageSize = 4096;
  int wal_pages() const { return wal_pages_; }

 private:
  Result<> configure();
  Result<> create_or_check();
  Result<> prepare();
  Result<> execute(const char* sql) const;
  Result<int64_t> number(const char* sql) const;
  Result<> step(sqlite3_stmt* statement);
  bool seals(std::string_view key) const;
  Result<int64_t> reseal_some(const std::string& prefix, int64_t after);
  base::Failure failure(int code, std::string_view what) const;

  std::string path_;
  sqlite3* db_ = nullptr;
  sqlite3_stmt *begin_ = nullptr, *commit_ = nullptr, *append_ = nullptr, *erase_ = nullptr, *set_ = nullptr;
  int wal_pages_ = 0;
  std::shared_ptr<Keyring> keyring_;
  std::vector<std::string> sealed_prefixes_;
};

}  // namespace datastore
