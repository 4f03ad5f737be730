// The audit log's file: lines are taken without waiting, and written in batches by a thread of its own. Rotates by size, prunes by number and age.
// Without lines the thread sleeps. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/fd.h"

namespace server::audit {

using base::Result;

struct LogOptions {
  std::string path;             // "-": standard output, without rotation
  size_t max_megabytes = 20;    // a file that has grown over it is renamed <name>-<time>.log; 0: never
  size_t max_backups = 4;       // renamed files kept; 0: all
  size_t max_age_days = 30;     // 0: any
};

class Log {
 public:
  explicit Log(LogOptions options) : options_(std::move(options)) {}
  ~Log() { stop(); }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  // Opens the file (0600, in a directory of 0700) and starts the thread.
  Result<> start();
  // Never waits for the disk: over 8 MiB that wait, the line is dropped and counted.
  void append(std::string_view line);
  // Writes what waits. No lines are taken afterwards.
  void stop();

  uint64_t lines() const { return lines_.load(std::memory_order_relaxed); }
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  void run();
  Result<> open();
  bool write(std::string_view text);
  void rotate();
  void prune() const;

  const LogOptions options_;
  std::atomic<uint64_t> lines_ = 0, dropped_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string pending_;
  bool sleeping_ = false, stopping_ = false;
  // The thread's.
  base::Fd file_;
  size_t size_ = 0;
  bool complained_ = false;
  std::thread thread_;
};

}  // namespace server::audit
