// Hands committed changes to watchers, in commit order, a transaction at a time. Shared by every backend.
//
// Each watcher has a queue of its own with a bound; one that lags further behind is closed with 410 and holds up nobody.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "datastore/history.h"

namespace datastore {

class WatchHub : public std::enable_shared_from_this<WatchHub> {
 public:
  WatchHub(base::Executor strand, size_t queue_bound, Tag tag = nullptr)
      : strand_(std::move(strand)), queue_bound_(queue_bound), tag_(tag) {}

  // Changes of the history after `from` (0: from now), then those that are published.
  Result<std::unique_ptr<Watcher>> subscribe(const History& history, std::string prefix, Revision from, Narrow narrow = {});
  // Called by the writer after History::apply. All changes of the revisions up to `revision`.
  void publish(std::span<const Event> events, Revision revision);
  // Every watcher's next() fails with this once its queue is empty; new ones are refused.
  void close(base::Error why);
  Revision published() const { return published_.load(std::memory_order_acquire); }
  size_t watchers() const;

 private:
  struct Queue;
  class Subscription;
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using Queues = std::vector<std::shared_ptr<Queue>>;
  using Named = std::unordered_map<std::string, Queues, Hash, std::equal_to<>>;
  struct Folder {
    Queues all;
    Named by_tag;
    bool empty() const { return all.empty() && by_tag.empty(); }
  };

  bool wants(const Queue& queue, const Event& event) const;
  template <class F>
  void for_each(F f) const;
  // Where a watcher of this kind stands, made if need be.
  Queues& place(const Queue& queue);
  void stage(Queues& queues, const Event& event, Queues& touched);
  void stage(Named& named, std::string_view name, const Event& event, Queues& touched);
  void unsubscribe(const std::shared_ptr<Queue>& queue);
  void wake(Queues queues);

  const base::Executor strand_;
  const size_t queue_bound_;
  const Tag tag_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Folder, Hash, std::equal_to<>> by_folder_;  // prefix ends with '/'
  Named by_key_;                                                              // watchers of one key
  Queues others_;                                                            // any other prefix
  std::atomic<Revision> published_ = 0;
  std::optional<base::Error> closed_;
};

}  // namespace datastore
