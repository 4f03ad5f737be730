#include "network/dns/cache.h"

#include <algorithm>

namespace network::dns {
namespace {
constexpr uint32_t kLongest = 3600, kLongestNegative = 300, kFailure = 2;
constexpr size_t kLargest = 8192;
}  // namespace

Cache::Hit Cache::find(const std::string& key, TimePoint now) {
  auto it = index_.find(key);
  if (it == index_.end()) return {};
  auto entry = it->second;
  if (entry->expires <= now) {
    index_.erase(it);
    entries_.erase(entry);
    return {};
  }
  entries_.splice(entries_.begin(), entries_, entry);
  return {entry->answer, static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(now - entry->stored).count())};
}

void Cache::put(const std::string& key, std::shared_ptr<const Answer> answer, TimePoint now) {
  uint32_t ttl = 0;
  if (answer->rcode == Rcode::ok || answer->rcode == Rcode::no_such_name)
    ttl = std::min(answer->min_ttl, answer->negative ? kLongestNegative : kLongest);
  else if (answer->rcode == Rcode::server_failure)
    ttl = kFailure;
  size_t size = answer->records[0].size() + answer->records[1].size() + answer->records[2].size();
  if (ttl == 0 || size > kLargest || bound_ == 0) return;
  if (auto it = index_.find(key); it != index_.end()) {
    auto old = it->second;
    index_.erase(it);
    entries_.erase(old);
  }
  while (entries_.size() >= bound_) {
    index_.erase(entries_.back().key);
    entries_.pop_back();
  }
  entries_.push_front({key, std::move(answer), now, now + std::chrono::seconds(ttl)});
  index_[entries_.front().key] = entries_.begin();
}

void Cache::clear() {
  index_.clear();
  entries_.clear();
}

}  // namespace network::dns
