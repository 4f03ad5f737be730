// Answers of upstreams for as long as they live. Bounded: the entry unused for longest goes first. Belongs to one thread.
#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "network/dns/message.h"

namespace network::dns {

class Cache {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  explicit Cache(size_t entries) : bound_(entries) {}
  struct Hit {
    std::shared_ptr<const Answer> answer;
    uint32_t age = 0;  // seconds
  };
  Hit find(const std::string& key, TimePoint now);
  // Keeps it as long as its TTL says, at most an hour (negative: five minutes). Answers that say nothing about it are not kept.
  void put(const std::string& key, std::shared_ptr<const Answer> answer, TimePoint now);
  void clear();
  size_t size() const { return index_.size(); }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const Answer> answer;
    TimePoint stored, expires;
  };
  const size_t bound_;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> index_;
};

}  // namespace network::dns
