// The one thread that writes: takes all that waits, decides, makes it one transaction, makes it visible, answers. Also compaction, checkpoints, backups.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "datastore/history.h"
#include "datastore/sqlite/log_file.h"
#include "datastore/sqlite/sqlite_store.h"
#include "datastore/watch_hub.h"

namespace datastore {

class Writer {
 public:
  Writer(base::Runtime& runtime, SqliteOptions options);
  ~Writer();

  Result<> open();

  // --- any thread
  Task<Result<std::vector<RecordPtr>>> write(std::vector<Write> writes);
  Task<Result<>> backup(std::string path);
  Task<Result<Sealing>> sealing();
  Task<Result<>> reseal(bool with_new_key);
  Result<> health() const;
  Task<> stop();
  void compact(Revision before);
  // 504 when the revision is not reached in time.
  Task<Result<>> wait_for(Revision revision, base::TimePoint deadline) const;
  // 410 when volatile keys are asked for at a revision before this process: their history is lost with it.
  Result<> check_volatile(std::string_view prefix, Revision at) const;
  SqliteStore::Stats stats() const;
  const History& history() const { return history_; }
  WatchHub& hub() const { return *hub_; }

 private:
  using Resume = std::move_only_function<void()>;
  // A suspended caller; request and result live in its coroutine frame.
  struct Waiting {
    base::Executor executor;
    Resume resume;
  };
  struct Request {
    std::vector<Write> writes;
    Result<std::vector<RecordPtr>> result = std::vector<RecordPtr>();
    size_t bytes = 0;
  };
  struct Queued {
    Request* request;
    Waiting waiting;
    base::TimePoint since;
  };
  struct Job {
    std::function<void()> run;
    Waiting waiting;
  };
  // What a batch will do, decided against the state before it and its own earlier requests.
  struct Plan {
    std::vector<History::Change> changes;
    std::unordered_map<std::string_view, const Record*> newest;  // keys this batch has written
    Revision revision = 0;
    bool durable = false;  // any change that goes to the file
  };
  using Batch = std::vector<Queued>;

  // Runs f on the writer thread, between two transactions. f must live until it returns.
  Task<Result<>> on_thread(std::function<Result<>()> f);
  void run();
  void process(Batch batch);
  Result<> plan(Request& request, Plan& plan) const;
  RecordPtr make_record(const Write& write, Revision revision, Revision created) const;
  Result<> persist(const Plan& plan);
  Result<> transaction(const Plan& plan);
  void publish(Plan& plan);
  void answer(std::vector<Waiting> waiting);
  bool is_volatile(std::string_view key) const;
  void fail(const base::Error& error);
  bool check_disk(const Result<>& result);
  // Work for when nothing waits; true when there may be more.
  bool tidy();
  bool compact_step(base::TimePoint now);
  void measure();
  std::optional<base::TimePoint> next_deadline(base::TimePoint now) const;
  void close_file();
  void join();

  const SqliteOptions options_;
  const base::Executor strand_;  // where resumed callers are fanned out from
  const History::Window window_;

  History history_;
  const std::shared_ptr<WatchHub> hub_;
  mutable base::Event advanced_;
  mutable std::atomic<int> waiting_for_revision_ = 0;
  Revision volatile_floor_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Queued> queue_;
  size_t queued_writes_ = 0, queued_bytes_ = 0;
  std::deque<Job> jobs_;
  Revision compact_asked_ = 0;
  bool stopping_ = false;
  std::optional<base::Error> failed_;
  std::atomic<bool> disk_full_ = false;
  SqliteStore::Stats stats_;

  // The writer thread's.
  LogFile file_;
  Revision reserved_ = 0;
  std::deque<int64_t> garbage_;  // rows to delete, in this order
  bool compaction_pending_ = false, may_shrink_ = false, measured_ = false;
  base::TimePoint last_write_{}, settle_at_ = base::TimePoint::max();
  SqliteStore::Stats counters_;

  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace datastore
