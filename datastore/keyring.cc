#include "datastore/keyring.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/files.h"
#include "base/seal.h"
#include "base/time.h"

namespace datastore {
namespace {

constexpr std::string_view kAlgorithm = "aes256gcm";

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> out;
  while (!line.empty()) {
    size_t end = std::min(line.find_first_of(" \t\r"), line.size());
    if (end > 0) out.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return out;
}

}  // namespace

Keyring::Key Keyring::make_key() { return {base::random_bytes(kIdBytes), base::now_rfc3339(), base::random_bytes(base::kSealKeyBytes)}; }

Result<std::shared_ptr<Keyring>> Keyring::open(std::string path) {
  auto ring = std::make_shared<Keyring>();
  ring->path_ = std::move(path);
  if (!base::exists(ring->path_)) {
    ring->keys_.push_back(make_key());
    return ring;
  }
  TRY(std::string text, base::read_file(ring->path_, 1u << 20));
  size_t number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    size_t end = std::min(rest.find('\n'), rest.size());
    auto parts = words(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    ++number;
    if (parts.empty() || parts[0].starts_with('#')) continue;
    auto bad = [&] {
      return base::fail(500, "InternalError", fmt::format("{}: line {} is not a key; restore the file from a backup", ring->path_, number));
    };
    if (parts.size() != 4 || parts[0] != kAlgorithm) return bad();
    auto id = base::hex_decode(parts[1]);
    auto secret = base::base64_decode(parts[3]);
    if (!id || id->size() != kIdBytes || !secret || secret->size() != base::kSealKeyBytes) return bad();
    ring->keys_.push_back({std::move(*id), std::string(parts[2]), std::move(*secret)});
  }
  if (ring->keys_.empty()) return base::fail(500, "InternalError", ring->path_ + " holds no key; restore the file from a backup");
  ring->saved_ = true;
  return ring;
}

Result<> Keyring::write(const std::vector<Key>& keys) const {
  std::string text =
      "# Keys of what is encrypted in the datastore, the newest first. Without this file it cannot be read: keep a copy apart from the "
      "backups.\n";
  for (const Key& k : keys) text += fmt::format("{} {} {} {}\n", kAlgorithm, base::hex_encode(k.id), k.made, base::base64_encode(k.secret));
  return base::write_file_atomic(path_, text, 0600, true);
}

Result<> Keyring::save() {
  std::scoped_lock lock(mutex_);
  if (saved_) return {};
  CHECK_OK(write(keys_));
  saved_ = true;
  return {};
}

std::string Keyring::seal(std::string_view key, std::string_view value) const {
  std::scoped_lock lock(mutex_);
  std::string out(kMark);
  out += keys_.front().id;
  out += base::seal(keys_.front().secret, key, value);
  return out;
}

std::string Keyring::key_id(std::string_view stored) { return base::hex_encode(stored.substr(kMark.size(), kIdBytes)); }

Result<std::string> Keyring::open_value(std::string_view key, std::string_view stored) const {
  std::scoped_lock lock(mutex_);
  std::string_view id = stored.substr(kMark.size(), kIdBytes), rest = stored.substr(std::min(stored.size(), kMark.size() + kIdBytes));
  for (const Key& k : keys_) {
    if (k.id != id) continue;
    auto plain = base::unseal(k.secret, key, rest);
    if (!plain)
      return base::fail(500, "InternalError",
                        fmt::format("\"{}\" cannot be decrypted with key {}: {}", key, base::hex_encode(id), plain.error().message));
    return plain;
  }
  return base::fail(500, "InternalError",
                    fmt::format("\"{}\" is encrypted with key {}, which is not in {}: put the key file back from a copy", key,
                                base::hex_encode(id), path_));
}

Result<> Keyring::rotate() {
  std::scoped_lock lock(mutex_);
  std::vector<Key> next = keys_;
  next.insert(next.begin(), make_key());
  CHECK_OK(write(next));
  keys_ = std::move(next);
  saved_ = true;
  return {};
}

Result<> Keyring::drop_old() {
  std::scoped_lock lock(mutex_);
  if (keys_.size() == 1) return {};
  std::vector<Key> next(keys_.begin(), keys_.begin() + 1);
  CHECK_OK(write(next));
  keys_ = std::move(next);
  return {};
}

std::vector<Keyring::KeyInfo> Keyring::keys() const {
  std::scoped_lock lock(mutex_);
  std::vector<KeyInfo> out;
  for (const Key& k : keys_) out.push_back({base::hex_encode(k.id), k.made});
  return out;
}

}  // namespace datastore
