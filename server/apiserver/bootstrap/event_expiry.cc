#include "server/apiserver/bootstrap/event_expiry.h"

#include <deque>

#include "base/log.h"
#include "server/apiserver/registry/keys.h"

namespace server {

namespace {

struct Due {
  base::TimePoint at;
  std::string key;
  datastore::Revision revision = 0;
};

// Deletes what is due and unchanged since; one transaction for up to `most` of them.
base::Task<> sweep(datastore::Store& store, std::deque<Due>& queue) {
  constexpr size_t most = 500;
  std::vector<datastore::Write> writes;
  auto now = base::Clock::now();
  while (!queue.empty() && queue.front().at <= now && writes.size() < most) {
    Due due = std::move(queue.front());
    queue.pop_front();
    datastore::RecordPtr live = store.get(due.key);
    if (live && live->revision == due.revision) writes.push_back({.key = due.key, .value = nullptr, .expected = due.revision});
  }
  if (writes.empty()) co_return;
  auto done = co_await store.write(writes);
  if (done) co_return;
  // One of them changed in between: one by one then.
  for (datastore::Write& w : writes) {
    std::vector<datastore::Write> one;
    one.push_back(std::move(w));
    co_await store.write(std::move(one));
  }
}

}  // namespace

base::Task<> expire_events(datastore::Store& store, std::chrono::seconds lifetime) {
  const std::string prefix = collection_prefix("", "events");
  for (;;) {
    std::deque<Due> queue;
    auto all = co_await store.list(prefix);
    if (!all) {
      co_await base::sleep_for(std::chrono::seconds(10));
      continue;
    }
    // Those found at start get a full life: their age is in the object, and an hour more does no harm.
    for (const datastore::RecordPtr& r : all->records) queue.push_back({base::Clock::now() + lifetime, r->key, r->revision});
    auto watcher = store.watch(prefix, all->revision);
    if (!watcher) co_await base::sleep_for(std::chrono::milliseconds(100));
    while (watcher) {
      auto deadline = queue.empty() ? base::Clock::now() + std::chrono::hours(24) : queue.front().at;
      auto events = co_await (*watcher)->next_until(deadline);
      if (!events) break;
      for (const datastore::Event& e : *events)
        if (e.record->value) queue.push_back({base::Clock::now() + lifetime, e.record->key, e.record->revision});
      co_await sweep(store, queue);
    }
  }
}

}  // namespace server
