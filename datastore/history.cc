#include "datastore/history.h"

#include <algorithm>
#include <mutex>
#include <shared_mutex>

#include <fmt/format.h>

namespace datastore {

namespace {

constexpr size_t kChunk = 4096;  // keys visited under one hold of the lock

bool has_prefix(std::string_view key, std::string_view prefix) { return key.starts_with(prefix); }

size_t weight(const Record& r) { return r.key.size() + (r.value ? r.value->size() : 0); }

base::Failure compacted_error(Revision at, Revision compacted) {
  return base::expired(fmt::format("too old resource version: {} ({})", at, compacted));
}

}  // namespace

WriterFirstLock::WriterFirstLock() {
  pthread_rwlockattr_t attributes;
  pthread_rwlockattr_init(&attributes);
  pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(&lock_, &attributes);
  pthread_rwlockattr_destroy(&attributes);
}

// --- readers

RecordPtr History::get(std::string_view key) const {
  std::shared_lock lock(lock_);
  auto it = nodes_.find(key);
  if (it == nodes_.end() || !it->latest->value) return nullptr;
  return it->latest;
}

size_t History::count(std::string_view prefix) const {
  std::shared_lock lock(lock_);
  if (prefix.empty()) return live_;
  if (prefix.ends_with('/')) {
    auto it = counts_.find(prefix);
    return it == counts_.end() ? 0 : it->second;
  }
  size_t n = 0;
  for (auto it = nodes_.lower_bound(prefix); it != nodes_.end() && has_prefix(it->latest->key, prefix); ++it)
    n += it->latest->value != nullptr;
  return n;
}

// The version that was current at a revision; null when the key did not exist then.
const RecordPtr* History::version_at(const Node& node, Revision at) {
  if (node.latest->revision <= at) return node.latest->value ? &node.latest : nullptr;
  if (!node.older) return nullptr;
  for (auto it = node.older->rbegin(); it != node.older->rend(); ++it) {
    if ((*it)->revision <= at) return (*it)->value ? &*it : nullptr;
  }
  return nullptr;
}

// Visits up to kChunk keys after the cursor. True when the prefix has been walked to its end.
bool History::list_chunk(std::string_view prefix, const ListOptions& options, Revision at, std::string& cursor, ListResult& result) const {
  auto it = cursor.empty() ? nodes_.lower_bound(prefix) : nodes_.upper_bound(std::string_view(cursor));
  for (size_t visited = 0; visited < kChunk; ++visited, ++it) {
    if (it == nodes_.end() || !has_prefix(it->latest->key, prefix)) return true;
    const RecordPtr* version = version_at(*it, at);
    if (!version) continue;
    if (options.limit && result.records.size() == options.limit) {
      ++result.remaining;
    } else {
      result.records.push_back(*version);
    }
  }
  cursor = std::prev(it)->latest->key;
  return false;
}

Result<ListResult> History::list(std::string_view prefix, const ListOptions& options) const {
  for (int attempt = 0;; ++attempt) {
    ListResult result;
    std::string cursor = options.start_after > prefix ? options.start_after : std::string();
    Revision at = options.at;
    std::shared_lock lock(lock_);
    if (at == 0) at = revision_;
    if (at < compacted_) return compacted_error(at, compacted_);
    result.revision = at;
    if (!options.limit) {
      if (auto it = counts_.find(prefix); it != counts_.end()) result.records.reserve(it->second);
    }
    bool done = list_chunk(prefix, options, at, cursor, result);
    // Between chunks the writer may go on; versions at `at` stay unless compaction overtakes it.
    while (!done && compacted_ <= at) {
      if (attempt < 3) {
        lock.unlock();
        lock.lock();
        if (compacted_ > at) break;
      }
      done = list_chunk(prefix, options, at, cursor, result);
    }
    if (done) {
      result.more = result.remaining > 0;
      return result;
    }
  }
}

Result<std::vector<Event>> History::events(std::string_view prefix, Revision after, Revision until) const {
  std::shared_lock lock(lock_);
  if (after < compacted_) return compacted_error(after, compacted_);
  std::vector<Event> result;
  auto it =
      std::upper_bound(entries_.begin(), entries_.end(), after, [](Revision r, const Entry& e) { return r < e.event.record->revision; });
  for (; it != entries_.end() && it->event.record->revision <= until; ++it) {
    if (has_prefix(it->event.record->key, prefix)) result.push_back(it->event);
  }
  return result;
}

Revision History::revision() const {
  std::shared_lock lock(lock_);
  return revision_;
}

Revision History::compacted() const {
  std::shared_lock lock(lock_);
  return compacted_;
}

size_t History::event_count() const {
  std::shared_lock lock(lock_);
  return entries_.size();
}

uint64_t History::live_bytes() const {
  std::shared_lock lock(lock_);
  return live_bytes_;
}

// --- the writer

const Record* History::newest(std::string_view key) const {
  auto it = nodes_.find(key);
  return it == nodes_.end() ? nullptr : it->latest.get();
}

void History::adjust_counts(std::string_view key, int by) {
  live_ += static_cast<size_t>(by);
  for (size_t at = key.find('/'); at != std::string_view::npos; at = key.find('/', at + 1)) {
    auto prefix = key.substr(0, at + 1);
    auto it = counts_.find(prefix);
    if (it == counts_.end()) it = counts_.emplace(std::string(prefix), 0).first;
    it->second += static_cast<size_t>(by);
    if (it->second == 0) counts_.erase(it);
  }
}

void History::apply_one(const Change& change) {
  const Record& record = *change.record;
  Entry entry{{change.record, nullptr}, change.row, 0};
  bool was_live = false;
  auto it = nodes_.find(std::string_view(record.key));
  if (it == nodes_.end()) {
    nodes_.insert(Node{change.record, change.row, nullptr});
  } else {
    was_live = it->latest->value != nullptr;
    if (was_live) {
      entry.event.previous = it->latest;
      entry.previous_row = it->row;
      superseded_bytes_ += weight(*it->latest);
      live_bytes_ -= weight(*it->latest);
    }
    if (!it->older) it->older = std::make_unique<std::deque<RecordPtr>>();
    it->older->push_back(std::move(it->latest));
    it->latest = change.record;
    it->row = change.row;
  }
  if (record.value) live_bytes_ += weight(record);
  bool live = record.value != nullptr;
  if (live != was_live) adjust_counts(record.key, live ? 1 : -1);
  entries_.push_back(std::move(entry));
  revision_ = record.revision;
}

std::vector<Event> History::apply(std::span<const Change> changes, base::TimePoint now) {
  std::vector<Event> events;
  events.reserve(changes.size());
  std::unique_lock lock(lock_);
  for (const Change& change : changes) {
    apply_one(change);
    events.push_back(entries_.back().event);
  }
  if (!changes.empty()) marks_.push_back({revision_, now});
  return events;
}

void History::load(Change change, base::TimePoint now, std::vector<int64_t>& superseded) {
  std::unique_lock lock(lock_);
  if (change.record->revision > compacted_) {
    apply_one(change);
    if (marks_.empty()) marks_.push_back({revision_, now});
    marks_.back().revision = revision_;
    return;
  }
  auto it = nodes_.find(std::string_view(change.record->key));
  if (it != nodes_.end()) {
    superseded.push_back(it->row);
    live_bytes_ -= weight(*it->latest);
    if (!change.record->value) {
      superseded.push_back(change.row);
      adjust_counts(change.record->key, -1);
      nodes_.erase(it);
    } else {
      live_bytes_ += weight(*change.record);
      it->latest = change.record;
      it->row = change.row;
    }
  } else if (!change.record->value) {
    superseded.push_back(change.row);
  } else {
    live_bytes_ += weight(*change.record);
    adjust_counts(change.record->key, 1);
    nodes_.insert(Node{change.record, change.row, nullptr});
  }
  revision_ = change.record->revision;
}

void History::start_at(Revision revision, Revision compacted) {
  std::unique_lock lock(lock_);
  revision_ = std::max(revision_, revision);
  compacted_ = std::max(compacted_, compacted);
}

Revision History::due(const Window& window, base::TimePoint now) const {
  Revision upto = compacted_;
  for (const Mark& mark : marks_) {
    if (now - mark.time < window.time) break;
    upto = mark.revision;
  }
  if (entries_.size() > window.events) upto = std::max(upto, entries_[entries_.size() - window.events - 1].event.record->revision);
  if (superseded_bytes_ > window.bytes) {
    uint64_t bytes = superseded_bytes_;
    for (const Entry& e : entries_) {
      if (bytes <= window.bytes) break;
      if (e.event.previous) bytes -= weight(*e.event.previous);
      upto = std::max(upto, e.event.record->revision);
    }
  }
  return upto;
}

std::optional<base::TimePoint> History::next_due(const Window& window) const {
  if (marks_.empty()) return std::nullopt;
  return marks_.front().time + window.time;
}

bool History::compact(Revision upto, size_t limit, std::vector<int64_t>& superseded) {
  std::vector<RecordPtr> dropped;  // freed after the lock is released
  std::unique_lock lock(lock_);
  upto = std::min(upto, revision_);
  auto drop_oldest = [&](const Node& node) {
    dropped.push_back(std::move(node.older->front()));
    node.older->pop_front();
    if (node.older->empty()) node.older.reset();
  };
  size_t n = 0;
  while (!entries_.empty() && entries_.front().event.record->revision <= upto) {
    Entry& entry = entries_.front();
    if (n >= limit && entry.event.record->revision != compacted_) return true;
    ++n;
    const Record& record = *entry.event.record;
    auto node = nodes_.find(std::string_view(record.key));
    if (entry.event.previous) {
      superseded_bytes_ -= weight(*entry.event.previous);
      drop_oldest(*node);
      if (entry.previous_row) superseded.push_back(entry.previous_row);
    }
    if (!record.value) {
      if (entry.row) superseded.push_back(entry.row);
      if (node->latest == entry.event.record) {
        dropped.push_back(entry.event.record);
        nodes_.erase(node);
      } else {
        drop_oldest(*node);
      }
    }
    compacted_ = record.revision;
    dropped.push_back(std::move(entry.event.record));
    entries_.pop_front();
  }
  compacted_ = std::max(compacted_, upto);
  while (!marks_.empty() && marks_.front().revision <= compacted_) marks_.pop_front();
  return false;
}

}  // namespace datastore
