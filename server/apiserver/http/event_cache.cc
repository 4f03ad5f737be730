#include "server/apiserver/http/event_cache.h"

#include <algorithm>

namespace server {

EventCache::Text EventCache::get(const WatchItem& item, const std::string& form, const std::function<std::string()>& make) {
  {
    std::scoped_lock lock(mutex_);
    auto known = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.of(item, form); });
    if (known != entries_.end()) return known->text;
  }
  auto text = std::make_shared<const std::string>(make());
  if (text->size() > largest) return text;
  Entry entry{item.record, item.revision, item.type, form, text};
  std::scoped_lock lock(mutex_);
  std::swap(entries_[next_], entry);  // the old one is freed without the lock
  next_ = (next_ + 1) % entries_.size();
  return text;
}

}  // namespace server
