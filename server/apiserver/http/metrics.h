// Counters of requests in Prometheus' text form. Thread-safe.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>

#include "base/io.h"
#include "datastore/store.h"
#include "server/apiserver/registry/resources.h"

namespace server {

class Metrics {
 public:
  void count(const std::string& verb, const std::string& group, const std::string& version, const std::string& resource, const std::string& subresource, int code,
             base::Duration took);
  std::string text(const datastore::Store& store, const Resources& resources) const;
  std::atomic<int> reads{0}, writes{0}, long_running{0};

 private:
  struct Series {
    std::map<int, uint64_t> by_code;
    uint64_t count = 0;
    double seconds = 0;
    uint64_t buckets[8] = {};
  };
  mutable std::mutex mutex_;
  std::map<std::string, Series> series_;  // by label text
};

}  // namespace server
