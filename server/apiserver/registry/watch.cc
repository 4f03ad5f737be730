// Watch: a list's worth of synthetic events where asked for, then every change in order.
#include <fmt/format.h>

#include "server/apiserver/registry/registry.h"
#include "server/apiserver/registry/revision.h"

namespace server {

Task<Result<std::unique_ptr<WatchSession>>> Registry::watch(const ResourceInfo* r, std::string ns, WatchRequest q) {
  CO_CHECK_OK(check_watch_options(q));
  Revision from = 0;
  if (!q.resource_version.empty()) {
    CO_TRY(from, parse_revision(q.resource_version));
  }
  bool synthetic = q.initial_events.value_or(from == 0);
  auto session = std::make_unique<WatchSession>();
  session->selection_ = std::move(q.selection);
  datastore::Narrow narrow;
  narrow.key = session->selection_.key(*r, ns);
  narrow.tag = session->selection_.fields.required_value(tag_field).value_or(std::string());
  session->bookmarks_ = q.bookmarks;
  session->namespaced_ = r->namespaced;
  const std::string prefix = r->collection(ns);
  if (from != 0) CO_CHECK_OK(co_await wait_for_revision(store_, from));
  if (synthetic) {
    auto now = co_await store_.list(narrow.key.empty() ? prefix : narrow.key);
    if (!now) co_return std::unexpected(std::move(now).error());
    from = now->revision;
    for (RecordPtr& record : now->records)
      if (session->selection_.matches(*record, r->namespaced)) {
        Revision revision = record->revision;
        session->initial_.push_back({WatchItem::Type::added, std::move(record), revision, false});
      }
    if (q.initial_events.value_or(false) && q.bookmarks) session->initial_.push_back({WatchItem::Type::bookmark, nullptr, from, true});
  } else if (from == 0) {
    from = store_.revision();
  }
  auto watcher = store_.watch(prefix, from, std::move(narrow));
  if (!watcher) {
    if (watcher.error().code == 410) co_return base::expired(fmt::format("too old resource version: {} ({})", from, store_.compacted()));
    co_return std::unexpected(std::move(watcher).error());
  }
  session->watcher_ = std::move(*watcher);
  session->progress_ = from;
  co_return session;
}

Task<Result<std::vector<WatchItem>>> WatchSession::next(base::TimePoint deadline) {
  if (!initial_.empty()) co_return std::exchange(initial_, {});
  for (;;) {
    auto events = co_await watcher_->next_until(deadline);
    if (!events) {
      if (events.error().code == 410) co_return base::expired("The resourceVersion for the provided watch is too old.");
      co_return std::unexpected(std::move(events).error());
    }
    std::vector<WatchItem> out;
    for (datastore::Event& e : *events) {
      Revision revision = e.record->revision;
      progress_ = std::max(progress_, revision);
      bool was = e.previous && selection_.matches(*e.previous, namespaced_);
      bool is = e.record->value && selection_.matches(*e.record, namespaced_);
      if (is) out.push_back({was ? WatchItem::Type::modified : WatchItem::Type::added, std::move(e.record), revision, false});
      else if (was) out.push_back({WatchItem::Type::deleted, std::move(e.previous), revision, false});
    }
    progress_ = std::max(progress_, watcher_->progress());
    if (!out.empty() || events->empty()) co_return out;
  }
}

}  // namespace server
