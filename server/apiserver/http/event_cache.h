// Events in the forms they were last sent in, so that what hundreds of watchers get is made once. Stored JSON is sent as it is and needs none of this.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "server/apiserver/registry/registry.h"

namespace server {

class EventCache {
 public:
  using Text = std::shared_ptr<const std::string>;
  // The item's bytes in a form (any name that tells forms and resources apart), from `make` when no watcher has needed them lately. Thread-safe.
  Text get(const WatchItem& item, const std::string& form, const std::function<std::string()>& make);

 private:
  struct Entry {
    RecordPtr record;
    Revision revision = 0;
    WatchItem::Type type = WatchItem::Type::added;
    std::string form;
    Text text;
    bool of(const WatchItem& item, const std::string& wanted) const {
      return record == item.record && revision == item.revision && type == item.type && form == wanted;
    }
  };
  static constexpr size_t largest = 16 << 10;  // longer ones are not kept
  std::mutex mutex_;
  // Each at the place its record and form come to: more than the writes that are on their way to watchers at one time, or all would be made by each.
  std::array<Entry, 1 << 8> entries_;
};

}  // namespace server
