// Encryption of what is in the file already: after a rotation of keys, and for databases from before.
#include <sqlite3.h>

#include <memory>

#include <fmt/format.h>

#include "datastore/sqlite/log_file.h"

namespace datastore {
namespace {

using Statement = std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)>;

std::string bytes_of(sqlite3_stmt* s, int column) {
  const void* data = sqlite3_column_blob(s, column);
  return std::string(static_cast<const char*>(data), data ? static_cast<size_t>(sqlite3_column_bytes(s, column)) : 0);
}

void bind_prefix(sqlite3_stmt* s, int first, const std::string& prefix) {
  std::string end = prefix;
  ++end.back();  // '/' to '0': the first key behind the prefix
  sqlite3_bind_text(s, first, prefix.data(), static_cast<int>(prefix.size()), SQLITE_TRANSIENT);
  sqlite3_bind_text(s, first + 1, end.data(), static_cast<int>(end.size()), SQLITE_TRANSIENT);
}

}  // namespace

Result<Sealing> LogFile::sealing() const {
  Sealing out;
  out.enabled = keyring_ && !sealed_prefixes_.empty();
  const std::string sql = fmt::format(
      "SELECT CASE WHEN substr(value,1,{0})=x'00415053' THEN lower(hex(substr(value,{1},{2}))) ELSE '' END AS k, count(*) FROM log "
      "WHERE value IS NOT NULL AND key>=?1 AND key<?2 GROUP BY k",
      Keyring::kMark.size(), Keyring::kMark.size() + 1, Keyring::kIdBytes);
  for (const std::string& prefix : sealed_prefixes_) {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &raw, nullptr) != SQLITE_OK) return failure(sqlite3_extended_errcode(db_), "cannot read");
    Statement s(raw, sqlite3_finalize);
    bind_prefix(raw, 1, prefix);
    int rc;
    while ((rc = sqlite3_step(raw)) == SQLITE_ROW) {
      std::string id = bytes_of(raw, 0);
      auto n = static_cast<size_t>(sqlite3_column_int64(raw, 1));
      if (id.empty()) {
        out.plain += n;
        continue;
      }
      bool found = false;
      for (auto& [known, count] : out.by_key)
        if (known == id) count += n, found = true;
      if (!found) out.by_key.emplace_back(std::move(id), n);
    }
    if (rc != SQLITE_DONE) return failure(sqlite3_extended_errcode(db_), "cannot read");
  }
  return out;
}

// A bounded number of rows in one transaction. The id to go on after; 0 at the end.
Result<int64_t> LogFile::reseal_some(const std::string& prefix, int64_t after) {
  constexpr int most = 256;
  CHECK_OK(begin());
  sqlite3_stmt *read_raw = nullptr, *write_raw = nullptr;
  const std::string select = fmt::format(
      "SELECT id,key,created,value FROM log WHERE id>?3 AND value IS NOT NULL AND key>=?1 AND key<?2 ORDER BY id LIMIT {}", most);
  if (sqlite3_prepare_v2(db_, select.c_str(), -1, &read_raw, nullptr) != SQLITE_OK)
    return failure(sqlite3_extended_errcode(db_), "cannot read");
  Statement read(read_raw, sqlite3_finalize);
  if (sqlite3_prepare_v2(db_, "UPDATE log SET value=?1, sum=?2 WHERE id=?3", -1, &write_raw, nullptr) != SQLITE_OK)
    return failure(sqlite3_extended_errcode(db_), "cannot write");
  Statement write(write_raw, sqlite3_finalize);
  bind_prefix(read_raw, 1, prefix);
  sqlite3_bind_int64(read_raw, 3, after);
  struct Old {
    int64_t id;
    std::string key;
    Revision created;
    std::string value;
  };
  std::vector<Old> rows;
  int rc;
  while ((rc = sqlite3_step(read_raw)) == SQLITE_ROW)
    rows.push_back({sqlite3_column_int64(read_raw, 0), bytes_of(read_raw, 1), static_cast<Revision>(sqlite3_column_int64(read_raw, 2)),
                    bytes_of(read_raw, 3)});
  if (rc != SQLITE_DONE) return failure(sqlite3_extended_errcode(db_), "cannot read");
  read.reset();
  for (Old& row : rows) {
    if (keyring_->newest(row.value)) continue;
    if (Keyring::sealed(row.value)) {
      TRY(row.value, keyring_->open_value(row.key, row.value));
    }
    std::string now = keyring_->seal(row.key, row.value);
    sqlite3_bind_blob(write_raw, 1, now.data(), static_cast<int>(now.size()), SQLITE_STATIC);
    sqlite3_bind_int64(write_raw, 2, row_checksum(row.id, row.key, row.created, &now));
    sqlite3_bind_int64(write_raw, 3, row.id);
    CHECK_OK(step(write_raw));
  }
  CHECK_OK(commit());
  return rows.size() < most ? 0 : rows.back().id;
}

Result<> LogFile::reseal() {
  if (!keyring_ || sealed_prefixes_.empty()) return base::fail(409, "Conflict", "encryption is off");
  for (const std::string& prefix : sealed_prefixes_) {
    int64_t after = 0;
    do {
      TRY(after, reseal_some(prefix, after));
    } while (after != 0);
  }
  // Free pages and the write-ahead log may hold the former text: the file is written anew, and the log emptied.
  CHECK_OK(execute("VACUUM"));
  return checkpoint(true);
}

}  // namespace datastore
