#include "server/apiserver/http/item_cache.h"

namespace server {

using namespace std::chrono_literals;

namespace {

constexpr auto sweep_every = 5s;
constexpr size_t overhead = 128;  // of an entry

}  // namespace

std::vector<Bytes> ItemCache::get(const std::vector<RecordPtr>& records, const ResourceInfo& resource, bool partial,
                                  const std::function<std::string(const datastore::Record&)>& make) {
  std::vector<Bytes> out(records.size());
  {
    std::scoped_lock lock(mutex_);
    for (size_t i = 0; i < records.size(); ++i) {
      auto it = entries_.find(records[i].get());
      // An address is used again; a record that lives is the only one at its own.
      if (it != entries_.end() && !it->second.record.expired() && it->second.resource == &resource && it->second.partial == partial)
        out[i] = it->second.bytes;
    }
  }
  for (size_t i = 0; i < records.size(); ++i) {
    if (out[i]) continue;
    std::string text = make(*records[i]);
    text.shrink_to_fit();
    out[i] = base::make_bytes(std::move(text));
    put(records[i], resource, partial, out[i]);
  }
  return out;
}

void ItemCache::put(const RecordPtr& record, const ResourceInfo& resource, bool partial, const Bytes& bytes) {
  Entry old;  // freed without the lock
  std::scoped_lock lock(mutex_);
  const size_t size = bytes->size() + overhead;
  if (bytes_ + size > most_bytes_) make_room();
  if (bytes_ + size > most_bytes_) return;
  Entry& entry = entries_[record.get()];
  if (entry.bytes) bytes_ -= entry.bytes->size() + overhead;
  bytes_ += size;
  old = std::exchange(entry, Entry{record, &resource, partial, bytes});
}

void ItemCache::make_room() {
  auto now = base::Clock::now();
  if (now - swept_ < sweep_every) return;
  swept_ = now;
  std::erase_if(entries_, [&](const auto& e) {
    if (!e.second.record.expired()) return false;
    bytes_ -= e.second.bytes->size() + overhead;
    return true;
  });
}

}  // namespace server
