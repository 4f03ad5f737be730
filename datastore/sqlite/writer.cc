#include "datastore/sqlite/writer.h"

#include <algorithm>
#include <unordered_set>

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include "base/log.h"

namespace datastore {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr Revision kReserve = Revision{1} << 24;      // revisions promised to memory-only writes at a time
constexpr size_t kBatchWrites = 2048;                 // of one transaction
constexpr size_t kBatchBytes = 8u << 20;
constexpr size_t kQueuedBytes = 256u << 20;           // waiting; further writes are refused
constexpr size_t kHistoryBytes = 16u << 20;           // superseded values kept in memory
constexpr size_t kEraseStep = 512;                    // rows deleted in one transaction
constexpr int kWalPages = 2048;                       // checkpoint at once
constexpr int kWalPagesIdle = 512;                    // checkpoint after kIdle
constexpr base::Duration kIdle = 2s;
constexpr base::Duration kSettled = 5s;                // from the first write since to the call of `settled`

}  // namespace

Writer::Writer(base::Runtime& runtime, SqliteOptions options)
    : options_(std::move(options)),
      strand_(runtime.strand()),
      window_{options_.history_window, options_.history_events, kHistoryBytes},
      hub_(std::make_shared<WatchHub>(runtime.strand(), options_.watch_queue, options_.tag)) {}

Writer::~Writer() { join(); }

Result<> Writer::open() {
  auto begun = base::Clock::now();
  file_.seal_with(options_.keyring, options_.sealed_prefixes);
  TRY(LogFile::Numbers numbers, file_.open(options_.path, options_.vfs));
  history_.start_at(0, numbers.compacted);
  std::vector<int64_t> superseded;
  size_t rows = 0;
  CHECK_OK(file_.load([&](LogFile::Row row) {
    ++rows;
    if (options_.indexer && row.record->value) {
      auto record = std::make_shared<Record>(*row.record);
      record->attributes = options_.indexer(record->key, *record->value);
      row.record = std::move(record);
    }
    history_.load({std::move(row.record), row.id}, begun, superseded);
  }));
  // All that is there could be read: a key made at this start covers up no lost one.
  if (options_.keyring) CHECK_OK(options_.keyring->save());
  garbage_.assign(superseded.begin(), superseded.end());
  // An empty store is at revision 1: 0 means "any" to clients. After a crash what was reserved may have been given out.
  Revision floor = std::max({history_.revision(), numbers.compacted, numbers.reserved, Revision{1}});
  history_.start_at(floor, 0);
  volatile_floor_ = floor;
  hub_->publish({}, floor);
  reserved_ = options_.volatile_prefixes.empty() ? floor : floor + kReserve;
  CHECK_OK(file_.begin());
  CHECK_OK(file_.set("clean", 0));
  CHECK_OK(file_.set("reserved", static_cast<int64_t>(reserved_)));
  CHECK_OK(file_.commit());
  last_write_ = begun;
  measure();
  base::log::info("datastore", "{}: {} keys, {} rows, revision {}, loaded in {} ms", options_.path, history_.count(""), rows, floor,
                  std::chrono::duration_cast<std::chrono::milliseconds>(base::Clock::now() - begun).count());
  thread_ = std::thread([this] { run(); });
  return {};
}

// --- any thread

Task<Result<std::vector<RecordPtr>>> Writer::write(std::vector<Write> writes) {
  Request request;
  request.writes = std::move(writes);
  for (const Write& w : request.writes) request.bytes += w.key.size() + (w.value ? w.value->size() : 0);
  auto executor = co_await asio::this_coro::executor;
  // The slot is left alone: a write under way is not cancelled, it ends with the next sync.
  auto initiate = [&](auto handler) {
    Waiting waiting{executor, std::move(handler)};
    std::optional<base::Error> refused;
    {
      std::scoped_lock lock(mutex_);
      if (failed_) {
        refused = failed_;
      } else if (stopping_) {
        refused = base::unavailable("the datastore is stopping").error();
      } else if (queued_writes_ + request.writes.size() > options_.write_queue || queued_bytes_ + request.bytes > kQueuedBytes) {
        refused = base::too_many_requests("too many writes wait for the disk", 1).error();
      } else {
        queued_writes_ += request.writes.size();
        queued_bytes_ += request.bytes;
        queue_.push_back({&request, std::move(waiting), base::Clock::now()});
      }
    }
    if (!refused) {
      wake_.notify_one();
      return;
    }
    request.result = std::unexpected(std::move(*refused));
    asio::post(executor, [resume = std::move(waiting.resume)]() mutable { resume(); });
  };
  co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(initiate, asio::use_awaitable);
  co_return std::move(request.result);
}

Task<Result<>> Writer::on_thread(std::function<Result<>()> f) {
  Result<> result;
  auto executor = co_await asio::this_coro::executor;
  auto initiate = [&](auto handler) {
    Job job{[&result, &f] { result = f(); }, {executor, std::move(handler)}};
    {
      std::scoped_lock lock(mutex_);
      if (!failed_ && !stopping_) {
        jobs_.push_back(std::move(job));
        wake_.notify_one();
        return;
      }
    }
    result = base::unavailable("the datastore does not run");
    asio::post(executor, [resume = std::move(job.waiting.resume)]() mutable { resume(); });
  };
  co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(initiate, asio::use_awaitable);
  co_return result;
}

Task<Result<>> Writer::backup(std::string path) {
  co_return co_await on_thread([this, &path] { return file_.copy_to(path); });
}

Task<Result<Sealing>> Writer::sealing() {
  Sealing out;
  CO_CHECK_OK(co_await on_thread([this, &out]() -> Result<> {
    TRY(out, file_.sealing());
    return {};
  }));
  co_return out;
}

Task<Result<>> Writer::reseal(bool with_new_key) {
  co_return co_await on_thread([this, with_new_key]() -> Result<> {
    if (with_new_key && options_.keyring) CHECK_OK(options_.keyring->rotate());
    auto done = file_.reseal();
    if (!done) file_.rollback();
    check_disk(done);
    last_write_ = base::Clock::now();
    measured_ = false;
    if (done) done = options_.keyring->drop_old();
    return done;
  });
}

Result<> Writer::health() const {
  std::scoped_lock lock(mutex_);
  if (failed_) return std::unexpected(*failed_);
  if (stopping_) return base::unavailable("the datastore is stopping");
  if (disk_full_) return base::fail(507, kDiskFull, fmt::format("the disk that holds {} is full", options_.path));
  return {};
}

Task<Result<>> Writer::wait_for(Revision revision, base::TimePoint deadline) const {
  struct Count {
    std::atomic<int>& n;
    explicit Count(std::atomic<int>& counter) : n(counter) { ++n; }
    ~Count() { --n; }
  } count(waiting_for_revision_);
  for (;;) {
    uint64_t seen = advanced_.version();
    Revision now = hub_->published();
    if (now >= revision) co_return Result<>();
    bool woken = co_await advanced_.wait(seen, deadline);
    if (!woken) {
      auto failure = base::timeout(fmt::format("Too large resource version: {}, current: {}", revision, now));
      failure.error().causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
      failure.error().retry_after_seconds = 1;
      co_return failure;
    }
  }
}

Result<> Writer::check_volatile(std::string_view prefix, Revision at) const {
  if (at >= volatile_floor_) return {};
  for (const std::string& p : options_.volatile_prefixes) {
    if (p.starts_with(prefix) || prefix.starts_with(p)) {
      return base::expired(
          fmt::format("too old resource version: {} ({}): it was kept in memory by an earlier process", at, volatile_floor_));
    }
  }
  return {};
}

void Writer::compact(Revision before) {
  before = std::min(before, hub_->published());
  std::scoped_lock lock(mutex_);
  compact_asked_ = std::max(compact_asked_, before);
  wake_.notify_one();
}

SqliteStore::Stats Writer::stats() const {
  std::scoped_lock lock(mutex_);
  SqliteStore::Stats stats = stats_;
  stats.live_bytes = history_.live_bytes();
  stats.history_events = history_.event_count();
  return stats;
}

Task<> Writer::stop() {
  co_await base::offload([this] { join(); });
}

void Writer::join() {
  {
    std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  std::scoped_lock lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

// --- the writer thread

void Writer::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (!queue_.empty()) {
      Batch batch;
      size_t writes = 0, bytes = 0;
      while (!queue_.empty() && writes < kBatchWrites && bytes < kBatchBytes) {
        writes += queue_.front().request->writes.size();
        bytes += queue_.front().request->bytes;
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      queued_writes_ -= writes;
      queued_bytes_ -= bytes;
      lock.unlock();
      process(std::move(batch));
      lock.lock();
      stats_ = counters_;
      continue;
    }
    if (!jobs_.empty()) {
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      bool failed = failed_.has_value();
      lock.unlock();
      if (!failed) job.run();
      std::vector<Waiting> one;
      one.push_back(std::move(job.waiting));
      answer(std::move(one));
      lock.lock();
      continue;
    }
    if (stopping_) break;
    lock.unlock();
    bool more = tidy();
    auto deadline = more ? std::nullopt : next_deadline(base::Clock::now());
    lock.lock();
    stats_ = counters_;
    if (more || !queue_.empty() || !jobs_.empty() || stopping_) continue;
    if (!failed_ && compact_asked_ > history_.compacted()) continue;
    if (deadline) {
      wake_.wait_until(lock, *deadline);
    } else {
      wake_.wait(lock);
    }
  }
  lock.unlock();
  close_file();
  hub_->close(base::unavailable("the datastore is stopping").error());
}

bool Writer::is_volatile(std::string_view key) const {
  return std::ranges::any_of(options_.volatile_prefixes, [&](const std::string& p) { return key.starts_with(p); });
}

RecordPtr Writer::make_record(const Write& write, Revision revision, Revision created) const {
  auto record = std::make_shared<Record>();
  record->key = write.key;
  record->created = created;
  record->revision = revision;
  record->attributes = write.attributes;
  if (!write.value || write.revision_offset > write.value->size()) {
    record->value = write.value;
    return record;
  }
  char digits[24];
  auto [end, count] = fmt::format_to_n(digits, sizeof digits, "{}", revision);
  std::string value;
  value.reserve(write.value->size() + count);
  value.append(*write.value, 0, write.revision_offset).append(digits, count).append(*write.value, write.revision_offset);
  record->value = base::make_bytes(std::move(value));
  return record;
}

Result<> Writer::plan(Request& request, Plan& plan) const {
  if (request.writes.empty()) return base::bad_request("a transaction without writes");
  if (request.writes.size() > kMaxWrites) return base::too_large(fmt::format("a transaction of more than {} writes", kMaxWrites));
  auto newest = [&](const std::string& key) -> const Record* {
    if (auto it = plan.newest.find(key); it != plan.newest.end()) return it->second;
    return history_.newest(key);
  };
  std::unordered_set<std::string_view> keys;
  for (const Write& write : request.writes) {
    if (request.writes.size() > 1 && !keys.insert(write.key).second) {
      return base::bad_request(fmt::format("a transaction that writes \"{}\" twice", write.key));
    }
    const Record* record = newest(write.key);
    bool live = record && record->value;
    Revision current = live ? record->revision : 0;
    bool holds = write.expected ? *write.expected == current && (live || write.value) : live || write.value;
    if (!holds) {
      auto failure = base::fail(409, "Conflict", fmt::format("\"{}\" is at revision {}", write.key, current));
      if (!live) failure = base::fail(409, "Conflict", fmt::format("\"{}\" does not exist", write.key));
      failure.error().name = write.key;
      return failure;
    }
  }
  Revision revision = ++plan.revision;
  std::vector<RecordPtr> records;
  records.reserve(request.writes.size());
  for (size_t i = 0; i < request.writes.size(); ++i) {
    const Write& write = request.writes[i];
    const Record* before = newest(write.key);
    bool live = before && before->value;
    RecordPtr record = make_record(write, revision, live ? before->created : revision);
    bool durable = !is_volatile(write.key);
    plan.durable = plan.durable || durable;
    plan.changes.push_back({record, durable ? static_cast<int64_t>(revision << kRowBits | i) : 0});
    plan.newest[record->key] = record.get();
    records.push_back(std::move(record));
  }
  request.result = std::move(records);
  return {};
}

void Writer::process(Batch batch) {
  std::vector<Waiting> waiting;
  waiting.reserve(batch.size());
  auto attempt = [&](std::span<Queued> queued) -> Result<> {
    Plan plan;
    plan.revision = history_.revision();
    for (auto& q : queued) {
      auto planned = this->plan(*q.request, plan);
      if (!planned) q.request->result = std::unexpected(std::move(planned).error());
    }
    if (plan.changes.empty()) return {};
    CHECK_OK(persist(plan));
    publish(plan);
    return {};
  };
  auto refuse = [](std::span<Queued> queued, const base::Error& error) {
    for (auto& q : queued) {
      if (q.request->result) q.request->result = std::unexpected(error);
    }
  };
  Result<> done;
  if (failed_) done = std::unexpected(*failed_);
  else done = attempt(batch);
  if (!done && done.error().reason == kDiskFull) {
    // The write-ahead log, once emptied, is room that the file system has given already. Then one by one: a small write or a deletion may fit.
    if (check_disk(file_.checkpoint(false))) {
      done = attempt(batch);
      if (!done && done.error().reason == kDiskFull && batch.size() > 1) {
        for (auto& q : batch) {
          std::span<Queued> one(&q, 1);
          auto single = failed_ ? Result<>(std::unexpected(*failed_)) : attempt(one);
          if (!single) refuse(one, single.error());
        }
        done = {};
      }
    } else if (failed_) {
      done = std::unexpected(*failed_);
    }
  }
  if (options_.settled && settle_at_ == base::TimePoint::max()) settle_at_ = base::Clock::now() + kSettled;
  disk_full_ = !done && done.error().reason == kDiskFull;
  if (!done) refuse(batch, done.error());
  const auto now = base::Clock::now();
  for (auto& q : batch) {
    counters_.times.add(std::chrono::duration<double>(now - q.since).count());
    waiting.push_back(std::move(q.waiting));
  }
  answer(std::move(waiting));
  if (failed_) return;
  if (file_.wal_pages() >= kWalPages && check_disk(file_.checkpoint(false))) ++counters_.checkpoints;
  if (!failed_) compact_step(base::Clock::now());
}

// Writes what must be in the file before the plan may be acknowledged. Errors other than a full disk have failed the store when it returns.
Result<> Writer::persist(const Plan& plan) {
  if (!plan.durable && plan.revision <= reserved_) return {};
  auto result = transaction(plan);
  if (!result) {
    file_.rollback();
    check_disk(result);
    if (failed_) return std::unexpected(*failed_);
    return result;
  }
  ++counters_.transactions;
  counters_.writes += plan.changes.size();
  last_write_ = base::Clock::now();
  measured_ = false;
  return {};
}

Result<> Writer::transaction(const Plan& plan) {
  CHECK_OK(file_.begin());
  for (const auto& change : plan.changes) {
    if (change.row) CHECK_OK(file_.append(change.row, *change.record));
  }
  // Under load compaction rides along, so that it costs no sync of its own.
  size_t erase = plan.changes.empty() ? kEraseStep : garbage_.size() >= 256 ? 2 * plan.changes.size() : 0;
  erase = std::min(erase, garbage_.size());
  for (size_t i = 0; i < erase; ++i) CHECK_OK(file_.erase(garbage_[i]));
  if (erase) CHECK_OK(file_.set("compacted", static_cast<int64_t>(history_.compacted())));
  Revision reserve = reserved_;
  if (!options_.volatile_prefixes.empty() && plan.revision + kReserve / 2 > reserved_) reserve = plan.revision + kReserve;
  if (reserve != reserved_) CHECK_OK(file_.set("reserved", static_cast<int64_t>(reserve)));
  CHECK_OK(file_.commit());
  reserved_ = reserve;
  garbage_.erase(garbage_.begin(), garbage_.begin() + static_cast<ptrdiff_t>(erase));
  counters_.compacted_rows += erase;
  may_shrink_ = may_shrink_ || erase;
  return {};
}

void Writer::publish(Plan& plan) {
  auto events = history_.apply(plan.changes, base::Clock::now());
  hub_->publish(events, plan.revision);
  if (waiting_for_revision_ > 0) advanced_.notify();
}

void Writer::answer(std::vector<Waiting> waiting) {
  // One hand-over to the loop; each caller is then queued on its strand from inside.
  base::post(strand_, [waiting = std::move(waiting)]() mutable {
    for (auto& w : waiting) {
      asio::post(w.executor, [resume = std::move(w.resume)]() mutable { resume(); });
    }
  });
}

// True when the result is good. A full disk is survived; anything else ends the store.
bool Writer::check_disk(const Result<>& result) {
  if (result) return true;
  if (result.error().reason != kDiskFull) fail(result.error());
  return false;
}

void Writer::fail(const base::Error& error) {
  {
    std::scoped_lock lock(mutex_);
    if (failed_) return;
    failed_ = base::internal("the datastore has failed: " + error.message).error();
  }
  base::log::error("datastore", "{}; no further write is accepted", error.message);
  if (options_.fatal) options_.fatal(error);
}

bool Writer::compact_step(base::TimePoint now) {
  Revision asked;
  {
    std::scoped_lock lock(mutex_);
    asked = compact_asked_;
  }
  Revision compacted = history_.compacted();
  asked = std::min(asked, history_.revision());
  // In steps of a sixteenth, not change by change.
  auto next = history_.next_due(window_);
  bool late = next && now >= *next + window_.time / 16;
  bool many = history_.event_count() > window_.events + window_.events / 16;
  if (!late && !many && !compaction_pending_ && asked <= compacted && !history_.over(window_)) return false;
  Revision upto = std::max(history_.due(window_, now), asked);
  compaction_pending_ = false;
  if (upto <= compacted) return false;
  std::vector<int64_t> rows;
  compaction_pending_ = history_.compact(upto, 1024, rows);
  garbage_.insert(garbage_.end(), rows.begin(), rows.end());
  return compaction_pending_;
}

bool Writer::tidy() {
  if (failed_) return false;
  auto now = base::Clock::now();
  if (compact_step(now)) return true;
  if (!garbage_.empty()) {
    Plan nothing;
    nothing.durable = true;
    nothing.revision = history_.revision();
    return persist(nothing).has_value();
  }
  if (may_shrink_) {
    may_shrink_ = false;
    int64_t free = file_.free_pages(), pages = file_.pages();
    if (free > 256 && free > pages / 3) {
      may_shrink_ = check_disk(file_.shrink(256));
      last_write_ = now;
      measured_ = false;
      return may_shrink_;
    }
  }
  if (file_.wal_pages() >= kWalPages || (file_.wal_pages() >= kWalPagesIdle && now - last_write_ >= kIdle)) {
    if (check_disk(file_.checkpoint(false))) ++counters_.checkpoints;
    measured_ = false;
  }
  if (!measured_ && !failed_) measure();
  if (now >= settle_at_) {
    settle_at_ = base::TimePoint::max();
    options_.settled();
  }
  return false;
}

void Writer::measure() {
  counters_.file_bytes = static_cast<uint64_t>(file_.pages()) * LogFile::kPageSize;
  counters_.wal_bytes = static_cast<uint64_t>(file_.wal_pages()) * (LogFile::kPageSize + 24);
  measured_ = true;
}

std::optional<base::TimePoint> Writer::next_deadline(base::TimePoint now) const {
  if (failed_) return std::nullopt;
  std::optional<base::TimePoint> deadline;
  if (auto next = history_.next_due(window_)) deadline = *next + window_.time / 16 + 1ms;
  if (!garbage_.empty()) deadline = std::min(deadline.value_or(base::TimePoint::max()), now + 1s);  // the disk was full
  if (file_.wal_pages() >= kWalPagesIdle)
    deadline = std::min(deadline.value_or(base::TimePoint::max()), std::max(last_write_ + kIdle, now + 100ms));
  if (settle_at_ != base::TimePoint::max()) deadline = std::min(deadline.value_or(settle_at_), settle_at_);
  return deadline;
}

void Writer::close_file() {
  if (failed_) return;
  // Best effort: without it the next start checks the file and skips the reserved revisions.
  auto last = [&]() -> Result<> {
    CHECK_OK(file_.begin());
    CHECK_OK(file_.set("clean", 1));
    CHECK_OK(file_.set("reserved", static_cast<int64_t>(history_.revision())));
    return file_.commit();
  };
  if (auto closed = last(); !closed) {
    file_.rollback();
    base::log::warn("datastore", "closing: {}", closed.error().message);
    return;
  }
  file_.close();
}

}  // namespace datastore
