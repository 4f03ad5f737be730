// Objects as they stand in protobuf lists, so that what a hundred informers list is converted once. JSON lists are stored bytes and need none of this.
//
// Holds a bounded number of bytes, no object that has gone, and what was listed first rather than last: a list that is larger than all of it is
// served from it in part, where keeping the latest would keep nothing of use.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "server/apiserver/registry/registry.h"

namespace server {

class ItemCache {
 public:
  explicit ItemCache(size_t most_bytes = 24 << 20) : most_bytes_(most_bytes) {}
  // The records' bytes in a form (the resource, and whether only their metadata), from `make` where they are not here. Thread-safe.
  std::vector<Bytes> get(const std::vector<RecordPtr>& records, const ResourceInfo& resource, bool partial,
                         const std::function<std::string(const datastore::Record&)>& make);

 private:
  struct Entry {
    std::weak_ptr<const datastore::Record> record;
    const ResourceInfo* resource = nullptr;
    bool partial = false;
    Bytes bytes;
  };
  void put(const RecordPtr& record, const ResourceInfo& resource, bool partial, const Bytes& bytes);
  // Frees what belongs to records that have gone, but does not look for them often.
  void make_room();

  const size_t most_bytes_;
  std::mutex mutex_;
  std::unordered_map<const datastore::Record*, Entry> entries_;
  size_t bytes_ = 0;
  base::TimePoint swept_{};
};

}  // namespace server
