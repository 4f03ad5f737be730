// The agent's end of the conversation with one supervisor.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/io.h"
#include "runtime/exec/readiness.h"
#include "runtime/sandbox/protocol.h"

namespace runtime {

using base::Task;

struct Answer {
  std::string payload;
  std::vector<base::Fd> fds;
};

class Link : public std::enable_shared_from_this<Link> {
 public:
  Link(base::Runtime& runtime, base::Fd socket) : ready_(runtime, std::move(socket)) {}

  // Sends a request and waits for its answer. `arrived` runs on the reader's strand, before any event that follows the answer.
  Task<Result<Answer>> call(Op op, std::string body, std::function<void(const std::string& payload)> arrived = {});
  // Reads until the peer is gone; hands out events. One caller.
  Task<> read(std::function<void(Message)> on_event);
  bool open() const { return open_; }
  // Waits until the peer is gone; false when the time has passed.
  Task<bool> closed(base::Duration within);
  void close() { ready_.close(); }

 private:
  struct Pending {
    base::Event done;
    std::optional<Result<Answer>> answer;
    std::function<void(const std::string&)> arrived;
  };
  void finish();

  Readiness ready_;
  std::mutex mutex_;
  std::map<uint32_t, std::shared_ptr<Pending>> pending_;
  uint32_t next_ = 1;
  std::atomic<bool> open_{true};
  base::Event ended_;
};

}  // namespace runtime
