// A queue of keys with client-go's properties: a key is queued once, is never worked on twice at a time, and comes back if it was added meanwhile.
// Safe from any thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/io.h"

namespace api {

class WorkQueue {
 public:
  // Failures of one key back off from `first`, doubling, up to `longest`.
  explicit WorkQueue(base::Duration first = std::chrono::milliseconds(5), base::Duration longest = std::chrono::seconds(300));
  ~WorkQueue();
  void add(std::string key);
  void add_after(std::string key, base::Duration delay);  // the earliest of several wins
  void add_failed(std::string key);                       // after the key's back-off
  void forget(const std::string& key);                    // resets the back-off
  // The next key; done() must follow. Empty after close().
  base::Task<std::optional<std::string>> get();
  void done(const std::string& key);
  void close();
  size_t size() const;

  // In client-go's terms; durations in buckets of powers of ten from 10 ns.
  struct Durations {
    static constexpr size_t kBuckets = 10;  // the last up to 10 s; longer ones only in `count`
    uint64_t buckets[kBuckets] = {}, count = 0;
    double seconds = 0;
    void add(base::Duration d);
  };
  struct Stats {
    size_t depth = 0;
    uint64_t adds = 0, retries = 0;
    double unfinished = 0, longest = 0;  // seconds of what is being worked on: all together, and the longest
    Durations waited, worked;
  };
  Stats stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace api
