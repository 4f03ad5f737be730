#include "server/apiserver/http/event_cache.h"

namespace server {

EventCache::Text EventCache::get(const WatchItem& item, const std::string& form, const std::function<std::string()>& make) {
  const uint64_t mixed =
      (std::hash<const void*>()(item.record.get()) + item.revision + static_cast<uint64_t>(item.type) ^ std::hash<std::string>()(form)) *
      0x9e3779b97f4a7c15;
  Entry& place = entries_[mixed >> 56];
  {
    std::scoped_lock lock(mutex_);
    if (place.of(item, form)) return place.text;
  }
  auto text = std::make_shared<const std::string>(make());
  if (text->size() > largest) return text;
  Entry entry{item.record, item.revision, item.type, form, text};
  std::scoped_lock lock(mutex_);
  std::swap(place, entry);  // the old one is freed without the lock
  return text;
}

}  // namespace server
