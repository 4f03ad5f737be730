#include "datastore/sqlite/log_file.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <fmt/format.h>

#include "base/files.h"
#include "base/log.h"

// Stands in for libm behind SQL functions nobody calls here (see the top CMakeLists.txt).
extern "C" double appliance_no_trigonometry() { return __builtin_nan(""); }

namespace datastore {

namespace {

constexpr int64_t kApplicationId = 0x6170706c;  // "appl"
constexpr int64_t kFormat = 1;

std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

Result<> sync_folder(const std::string& path) {
  base::Fd folder(::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return base::errno_error("open " + folder_of(path));
  if (::fsync(folder.get()) != 0) return base::errno_error("fsync " + folder_of(path));
  return {};
}

// Makes an empty file of mode 0600, so that SQLite does not make one anybody can read. Before SQLite has it open, hence without harm to its locks.
Result<bool> create_private(const std::string& path) {
  base::Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (fd) return true;
  if (errno == EEXIST) return false;
  return base::errno_error("create " + path);
}

}  // namespace

// `value` as it stands in the file; null for a deletion.
uint32_t row_checksum(int64_t id, std::string_view key, Revision created, const std::string* value) {
  std::string head;
  for (int64_t n : {id, static_cast<int64_t>(created), value ? int64_t(value->size()) : int64_t{-1}}) {
    for (int shift = 0; shift < 64; shift += 8) head += static_cast<char>(n >> shift);
  }
  uint32_t sum = base::crc32(key, base::crc32(head));
  return value ? base::crc32(*value, sum) : sum;
}

LogFile::~LogFile() {
  for (auto* s : {begin_, commit_, append_, erase_, set_}) sqlite3_finalize(s);
  // Without a checkpoint when close() was not called: what is in the write-ahead log stays there.
  if (db_) {
    sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_close_v2(db_);
  }
}

base::Failure LogFile::failure(int code, std::string_view what) const {
  int primary = code & 0xff;
  int system = db_ ? sqlite3_system_errno(db_) : 0;
  if (primary == SQLITE_FULL || (primary == SQLITE_IOERR && (system == EDQUOT || system == ENOSPC) && code != SQLITE_IOERR_FSYNC)) {
    return base::fail(500, kDiskFull, fmt::format("the disk that holds {} is full: the write was refused, free some space", path_));
  }
  std::string detail = fmt::format("{} {}: {}", what, path_, db_ ? sqlite3_errmsg(db_) : sqlite3_errstr(code));
  if (primary == SQLITE_IOERR && system != 0) detail += fmt::format(" ({})", base::errno_error("errno", system).error().message);
  if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED) {
    return base::fail(500, "InternalError", fmt::format("{} is in use by another process", path_));
  }
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB) {
    return base::fail(500, kDiskFailed, fmt::format("{} is corrupt ({}); restore a backup", path_, detail));
  }
  return base::fail(500, kDiskFailed, detail);
}

Result<> LogFile::execute(const char* sql) const {
  int rc = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return failure(sqlite3_extended_errcode(db_), "cannot use");
  return {};
}

Result<int64_t> LogFile::number(const char* sql) const {
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v2(db_, sql, -1, &s, nullptr) != SQLITE_OK) return failure(sqlite3_extended_errcode(db_), "cannot read");
  int rc = sqlite3_step(s);
  int64_t value = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_finalize(s);
  if (rc != SQLITE_ROW && rc != SQLITE_DONE) return failure(sqlite3_extended_errcode(db_), "cannot read");
  return value;
}

Result<LogFile::Numbers> LogFile::open(const std::string& path, const std::string& vfs) {
  path_ = path;
  TRY(bool created, create_private(path));
  if (created) CHECK_OK(sync_folder(path));
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  int rc = sqlite3_open_v2(path.c_str(), &db_, flags, vfs.empty() ? nullptr : vfs.c_str());
  if (rc != SQLITE_OK) return failure(rc, "cannot open");
  CHECK_OK(configure());
  CHECK_OK(create_or_check());
  Numbers numbers;
  TRY(int64_t reserved, number("SELECT value FROM numbers WHERE name='reserved'"));
  TRY(int64_t compacted, number("SELECT value FROM numbers WHERE name='compacted'"));
  TRY(int64_t clean, number("SELECT value FROM numbers WHERE name='clean'"));
  numbers.reserved = static_cast<Revision>(reserved);
  numbers.compacted = static_cast<Revision>(compacted);
  numbers.clean = clean != 0;
  if (!numbers.clean) {
    base::log::info("datastore", "{} was not closed in order: checking it", path);
    sqlite3_stmt* s = nullptr;
    if (sqlite3_prepare_v2(db_, "PRAGMA quick_check(1)", -1, &s, nullptr) != SQLITE_OK)
      return failure(sqlite3_extended_errcode(db_), "cannot check");
    rc = sqlite3_step(s);
    std::string verdict = rc == SQLITE_ROW ? reinterpret_cast<const char*>(sqlite3_column_text(s, 0)) : "";
    sqlite3_finalize(s);
    if (rc != SQLITE_ROW) return failure(sqlite3_extended_errcode(db_), "cannot check");
    if (verdict != "ok") return base::fail(500, kDiskFailed, fmt::format("{} is corrupt ({}); restore a backup", path, verdict));
  }
  CHECK_OK(prepare());
  return numbers;
}

Result<> LogFile::configure() {
  sqlite3_busy_timeout(db_, 2000);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  // Order matters: the lock mode before the first access (no shared-memory file), vacuum and page size before the first page.
  CHECK_OK(execute("PRAGMA locking_mode=EXCLUSIVE"));
  CHECK_OK(execute("PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA mmap_size=0; PRAGMA cell_size_check=ON;"
                   "PRAGMA cache_size=-2000; PRAGMA temp_store=MEMORY; PRAGMA secure_delete=OFF"));
  CHECK_OK(execute("PRAGMA journal_mode=WAL"));
  CHECK_OK(execute("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=16777216"));
  CHECK_OK(execute("BEGIN EXCLUSIVE; COMMIT"));
  sqlite3_wal_hook(
      db_,
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<LogFile*>(self)->wal_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  return {};
}

Result<> LogFile::create_or_check() {
  TRY(int64_t application, number("PRAGMA application_id"));
  TRY(int64_t format, number("PRAGMA user_version"));
  TRY(int64_t tables, number("SELECT count(*) FROM sqlite_schema"));
  if (application == 0 && tables == 0) {
    return execute(
        fmt::format(
            "BEGIN IMMEDIATE;"
            "CREATE TABLE log(id INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, value BLOB, sum INTEGER NOT NULL);"
            "CREATE TABLE numbers(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
            "INSERT INTO numbers VALUES('reserved',0),('compacted',0),('clean',1);"
            "PRAGMA application_id={}; PRAGMA user_version={}; COMMIT",
            kApplicationId, kFormat)
            .c_str());
  }
  if (application != kApplicationId) return base::fail(500, "InternalError", path_ + " is a database of another program");
  if (format != kFormat) {
    return base::fail(500, "InternalError",
                      fmt::format("{} has format {}, this version reads format {}: use a newer version", path_, format, kFormat));
  }
  return {};
}

Result<> LogFile::prepare() {
  auto make = [&](const char* sql, sqlite3_stmt*& s) -> Result<> {
    if (sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, nullptr) != SQLITE_OK)
      return failure(sqlite3_extended_errcode(db_), "cannot use");
    return {};
  };
  CHECK_OK(make("BEGIN IMMEDIATE", begin_));
  CHECK_OK(make("COMMIT", commit_));
  CHECK_OK(make("INSERT INTO log(id,key,created,value,sum) VALUES(?1,?2,?3,?4,?5)", append_));
  CHECK_OK(make("DELETE FROM log WHERE id=?1", erase_));
  return make("UPDATE numbers SET value=?2 WHERE name=?1", set_);
}

Result<> LogFile::load(const std::function<void(Row)>& row) {
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v2(db_, "SELECT id,key,created,value,sum FROM log ORDER BY id", -1, &s, nullptr) != SQLITE_OK) {
    return failure(sqlite3_extended_errcode(db_), "cannot read");
  }
  std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> owner(s, sqlite3_finalize);
  int rc;
  while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
    Row r;
    r.id = sqlite3_column_int64(s, 0);
    auto record = std::make_shared<Record>();
    auto text = [&](int column) {
      const void* data = sqlite3_column_blob(s, column);
      return std::string(static_cast<const char*>(data), data ? static_cast<size_t>(sqlite3_column_bytes(s, column)) : 0);
    };
    record->key = text(1);
    record->created = static_cast<Revision>(sqlite3_column_int64(s, 2));
    record->revision = static_cast<Revision>(r.id) >> kRowBits;
    if (sqlite3_column_type(s, 3) != SQLITE_NULL) record->value = base::make_bytes(text(3));
    if (static_cast<uint32_t>(sqlite3_column_int64(s, 4)) != row_checksum(r.id, record->key, record->created, record->value.get())) {
      return base::fail(500, kDiskFailed,
                        fmt::format("{} is corrupt: the checksum of revision {} of \"{}\" is wrong; restore a backup", path_,
                                    record->revision, record->key));
    }
    if (record->value && Keyring::sealed(*record->value)) {
      if (!keyring_)
        return base::fail(500, "InternalError", fmt::format("\"{}\" in {} is encrypted, and no key file was given", record->key, path_));
      TRY(std::string plain, keyring_->open_value(record->key, *record->value));
      record->value = base::make_bytes(std::move(plain));
    }
    r.record = std::move(record);
    row(std::move(r));
  }
  if (rc != SQLITE_DONE) return failure(sqlite3_extended_errcode(db_), "cannot read");
  return {};
}

Result<> LogFile::step(sqlite3_stmt* statement) {
  int rc = sqlite3_step(statement);
  Result<> result;
  if (rc != SQLITE_DONE) result = failure(rc, "cannot write");
  sqlite3_reset(statement);
  return result;
}

Result<> LogFile::begin() { return step(begin_); }

Result<> LogFile::append(int64_t id, const Record& record) {
  sqlite3_bind_int64(append_, 1, id);
  sqlite3_bind_text(append_, 2, record.key.data(), static_cast<int>(record.key.size()), SQLITE_STATIC);
  sqlite3_bind_int64(append_, 3, static_cast<int64_t>(record.created));
  std::string sealed;
  const std::string* value = record.value.get();
  if (value && seals(record.key)) {
    sealed = keyring_->seal(record.key, *value);
    value = &sealed;
  }
  if (value) {
    sqlite3_bind_blob(append_, 4, value->data(), static_cast<int>(value->size()), SQLITE_STATIC);
  } else {
    sqlite3_bind_null(append_, 4);
  }
  sqlite3_bind_int64(append_, 5, row_checksum(id, record.key, record.created, value));
  auto result = step(append_);
  sqlite3_clear_bindings(append_);
  return result;
}

Result<> LogFile::erase(int64_t id) {
  sqlite3_bind_int64(erase_, 1, id);
  return step(erase_);
}

Result<> LogFile::set(std::string_view name, int64_t value) {
  sqlite3_bind_text(set_, 1, name.data(), static_cast<int>(name.size()), SQLITE_STATIC);
  sqlite3_bind_int64(set_, 2, value);
  auto result = step(set_);
  sqlite3_clear_bindings(set_);
  return result;
}

Result<> LogFile::commit() { return step(commit_); }

void LogFile::rollback() {
  if (!sqlite3_get_autocommit(db_)) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

Result<> LogFile::checkpoint(bool truncate) {
  int rc = sqlite3_wal_checkpoint_v2(db_, nullptr, truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (rc != SQLITE_OK) return failure(sqlite3_extended_errcode(db_), "cannot checkpoint");
  wal_pages_ = 0;
  return {};
}

Result<> LogFile::shrink(int pages) { return execute(fmt::format("PRAGMA incremental_vacuum({})", pages).c_str()); }

Result<> LogFile::copy_to(const std::string& path) {
  if (base::exists(path)) return base::fail(409, "AlreadyExists", path + " exists already");
  std::string part = path + ".part";
  ::unlink(part.c_str());
  TRY(bool created, create_private(part));
  if (!created) return base::fail(409, "AlreadyExists", part + " exists already");
  sqlite3_stmt* s = nullptr;
  Result<> result;
  if (sqlite3_prepare_v2(db_, "VACUUM INTO ?1", -1, &s, nullptr) != SQLITE_OK) {
    result = failure(sqlite3_extended_errcode(db_), "cannot copy");
  } else {
    sqlite3_bind_text(s, 1, part.data(), static_cast<int>(part.size()), SQLITE_STATIC);
    int rc = sqlite3_step(s);
    if (rc != SQLITE_DONE) {
      result = base::fail(500, (rc & 0xff) == SQLITE_FULL ? kDiskFull : std::string_view("InternalError"),
                          fmt::format("backup to {}: {}", path, sqlite3_errmsg(db_)));
    }
    sqlite3_finalize(s);
  }
  // The copy is not open in SQLite any more.
  if (result) {
    base::Fd fd(::open(part.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd || ::fsync(fd.get()) != 0) result = base::errno_error("fsync " + part);
  }
  if (result && ::renameat2(AT_FDCWD, part.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0)
    result = base::errno_error("rename to " + path);
  if (result) result = sync_folder(path);
  if (!result) ::unlink(part.c_str());
  return result;
}

void LogFile::seal_with(std::shared_ptr<Keyring> keyring, std::vector<std::string> prefixes) {
  keyring_ = std::move(keyring);
  sealed_prefixes_ = std::move(prefixes);
}

bool LogFile::seals(std::string_view key) const {
  if (!keyring_) return false;
  for (const std::string& p : sealed_prefixes_)
    if (key.starts_with(p)) return true;
  return false;
}

void LogFile::close() {
  for (auto** s : {&begin_, &commit_, &append_, &erase_, &set_}) {
    sqlite3_finalize(*s);
    *s = nullptr;
  }
  sqlite3_close_v2(db_);  // the last connection checkpoints and removes the write-ahead log
  db_ = nullptr;
}

int64_t LogFile::pages() const { return db_ ? number("PRAGMA page_count").value_or(0) : 0; }
int64_t LogFile::free_pages() const { return db_ ? number("PRAGMA freelist_count").value_or(0) : 0; }

}  // namespace datastore
