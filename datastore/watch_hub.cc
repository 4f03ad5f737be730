#include "datastore/watch_hub.h"

#include <algorithm>

namespace datastore {

struct WatchHub::Queue {
  std::string prefix;
  Narrow narrow;
  Revision from = 0;

  // Under the hub's mutex.
  std::vector<Event> staged;

  mutable std::mutex mutex;  // taken after the hub's
  std::vector<Event> events;
  size_t bound = 0;
  std::optional<base::Error> closed;
  base::Event wake;

  // False when the watcher was too slow.
  bool push_staged(size_t queue_bound) {
    std::scoped_lock lock(mutex);
    if (closed) {
      staged.clear();
      return true;
    }
    if (events.empty()) {
      bound = queue_bound;
      events.swap(staged);
    } else if (events.size() + staged.size() <= bound) {
      events.insert(events.end(), std::make_move_iterator(staged.begin()), std::make_move_iterator(staged.end()));
    } else {
      events.clear();
      events.shrink_to_fit();
      closed = base::expired("the watch was too slow and has been closed").error();
      staged.clear();
      return false;
    }
    staged.clear();
    return true;
  }
};

class WatchHub::Subscription final : public Watcher {
 public:
  Subscription(std::shared_ptr<WatchHub> hub, std::shared_ptr<Queue> queue) : hub_(std::move(hub)), queue_(std::move(queue)) {}
  ~Subscription() override { hub_->unsubscribe(queue_); }

  Task<Result<std::vector<Event>>> next() override { return take(queue_, std::nullopt); }
  Task<Result<std::vector<Event>>> next_until(base::TimePoint deadline) override { return take(queue_, deadline); }

  Revision progress() const override {
    Revision published = hub_->published();  // before looking at the queue: what is published later may be in it
    std::scoped_lock lock(queue_->mutex);
    if (!queue_->events.empty()) return queue_->events.front().record->revision - 1;
    return std::max(published, queue_->from);
  }

 private:
  static Task<Result<std::vector<Event>>> take(std::shared_ptr<Queue> queue, std::optional<base::TimePoint> deadline) {
    for (;;) {
      uint64_t seen = queue->wake.version();
      {
        std::scoped_lock lock(queue->mutex);
        if (!queue->events.empty()) co_return std::exchange(queue->events, {});
        if (queue->closed) co_return std::unexpected(*queue->closed);
      }
      bool woken = co_await queue->wake.wait(seen, deadline);
      if (!woken) co_return std::vector<Event>();
    }
  }

  std::shared_ptr<WatchHub> hub_;
  std::shared_ptr<Queue> queue_;
};

Result<std::unique_ptr<Watcher>> WatchHub::subscribe(const History& history, std::string prefix, Revision from, Narrow narrow) {
  std::scoped_lock lock(mutex_);
  if (closed_) return std::unexpected(*closed_);
  // Nothing is published meanwhile: what the history holds up to here is replayed, the rest will be pushed.
  Revision now = published();
  auto queue = std::make_shared<Queue>();
  queue->prefix = std::move(prefix);
  queue->narrow = std::move(narrow);
  queue->from = from == 0 ? now : from;
  if (from != 0) {
    TRY(queue->events, history.events(queue->prefix, from, now));
    std::erase_if(queue->events, [&](const Event& e) { return !wants(*queue, e); });
  }
  queue->bound = queue_bound_ + queue->events.size();
  place(*queue).push_back(queue);
  return std::make_unique<Subscription>(shared_from_this(), std::move(queue));
}

template <class F>
void WatchHub::for_each(F f) const {
  f(others_);
  for (auto& [key, queues] : by_key_) f(queues);
  for (auto& [prefix, folder] : by_folder_) {
    f(folder.all);
    for (auto& [tag, queues] : folder.by_tag) f(queues);
  }
}

bool WatchHub::wants(const Queue& queue, const Event& event) const {
  if (!queue.narrow.key.empty()) return event.record->key == queue.narrow.key;
  if (queue.narrow.tag.empty() || !tag_) return true;
  return tag_(*event.record) == queue.narrow.tag || (event.previous && tag_(*event.previous) == queue.narrow.tag);
}

WatchHub::Queues& WatchHub::place(const Queue& queue) {
  if (!queue.narrow.key.empty()) return by_key_[queue.narrow.key];
  if (!queue.prefix.ends_with('/')) return others_;
  Folder& folder = by_folder_[queue.prefix];
  return queue.narrow.tag.empty() || !tag_ ? folder.all : folder.by_tag[queue.narrow.tag];
}

void WatchHub::stage(Named& named, std::string_view name, const Event& event, Queues& touched) {
  if (named.empty() || name.empty()) return;
  if (auto it = named.find(name); it != named.end()) stage(it->second, event, touched);
}

void WatchHub::stage(Queues& queues, const Event& event, Queues& touched) {
  for (auto& queue : queues) {
    if (event.record->revision <= queue->from || !event.record->key.starts_with(queue->prefix)) continue;
    if (queue->staged.empty()) touched.push_back(queue);
    queue->staged.push_back(event);
  }
}

void WatchHub::publish(std::span<const Event> events, Revision revision) {
  Queues touched;
  {
    std::scoped_lock lock(mutex_);
    for (const Event& event : events) {
      std::string_view key = event.record->key;
      for (size_t at = by_folder_.empty() ? std::string_view::npos : key.find('/'); at != std::string_view::npos;
           at = key.find('/', at + 1)) {
        auto it = by_folder_.find(key.substr(0, at + 1));
        if (it == by_folder_.end()) continue;
        stage(it->second.all, event, touched);
        if (it->second.by_tag.empty()) continue;
        std::string_view now = tag_(*event.record), before = event.previous ? tag_(*event.previous) : std::string_view();
        stage(it->second.by_tag, now, event, touched);
        if (before != now) stage(it->second.by_tag, before, event, touched);
      }
      stage(by_key_, key, event, touched);
      stage(others_, event, touched);
    }
    for (auto& queue : touched) queue->push_staged(queue_bound_);
    published_.store(revision, std::memory_order_release);
  }
  wake(std::move(touched));
}

void WatchHub::wake(Queues queues) {
  if (queues.empty()) return;
  // One hand-over to the loop for all of them; notifying from inside it is cheap.
  base::post(strand_, [queues = std::move(queues)] {
    for (auto& queue : queues) queue->wake.notify();
  });
}

void WatchHub::unsubscribe(const std::shared_ptr<Queue>& queue) {
  std::scoped_lock lock(mutex_);
  Queues& queues = place(*queue);
  std::erase(queues, queue);
  if (!queues.empty() || &queues == &others_) return;
  if (!queue->narrow.key.empty()) {
    by_key_.erase(queue->narrow.key);
    return;
  }
  auto folder = by_folder_.find(queue->prefix);
  if (&queues != &folder->second.all) folder->second.by_tag.erase(queue->narrow.tag);
  if (folder->second.empty()) by_folder_.erase(folder);
}

void WatchHub::close(base::Error why) {
  Queues all;
  {
    std::scoped_lock lock(mutex_);
    if (closed_) return;
    closed_ = why;
    for_each([&](const Queues& queues) { all.insert(all.end(), queues.begin(), queues.end()); });
    for (auto& queue : all) {
      std::scoped_lock queue_lock(queue->mutex);
      if (!queue->closed) queue->closed = why;
    }
  }
  for (auto& queue : all) queue->wake.notify();
}

size_t WatchHub::watchers() const {
  std::scoped_lock lock(mutex_);
  size_t n = 0;
  for_each([&](const Queues& queues) { n += queues.size(); });
  return n;
}

}  // namespace datastore
