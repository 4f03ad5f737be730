// The keys values are sealed with on their way to the file: a small file (0600) with one key a line, the newest first.
//
//   aes256gcm <id, 16 hex digits> <made, RFC 3339> <key, base64>
//
// New values are sealed with the first; the others open what was sealed before them. What is sealed is bound to its key in the store: a row moved to another
// key does not open. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace datastore {

using base::Result;

class Keyring {
 public:
  struct KeyInfo {
    std::string id, made;  // 16 hex digits; RFC 3339
  };

  // Reads the file. When there is none, a key is made and kept in memory until save(): a lost file is not covered up by a new one before the
  // store has found out whether something needs the old.
  static Result<std::shared_ptr<Keyring>> open(std::string path);
  // Writes the file, durably, when it does not hold what this does.
  Result<> save();

  std::string seal(std::string_view key, std::string_view value) const;
  // The error names the missing key and the file it should be in.
  Result<std::string> open_value(std::string_view key, std::string_view stored) const;

  static bool sealed(std::string_view stored) { return stored.starts_with(kMark); }
  // The id of the key that sealed it.
  static std::string key_id(std::string_view stored);
  bool newest(std::string_view stored) const { return sealed(stored) && key_id(stored) == keys().front().id; }

  // A new first key, durable when it returns; then values may be sealed anew, then the others dropped.
  Result<> rotate();
  Result<> drop_old();
  std::vector<KeyInfo> keys() const;
  const std::string& path() const { return path_; }

  // No JSON text begins so.
  static constexpr std::string_view kMark{"\0APS", 4};
  static constexpr size_t kIdBytes = 8;

 private:
  struct Key {
    std::string id, made, secret;  // id: kIdBytes raw
  };
  static Key make_key();
  Result<> write(const std::vector<Key>& keys) const;

  std::string path_;
  mutable std::mutex mutex_;
  std::vector<Key> keys_;  // never empty
  bool saved_ = false;
};

}  // namespace datastore
