#include <algorithm>
#include <cstring>
#include <mutex>
#include <vector>

#include "base/http/stream.h"

namespace base::http {
namespace {

// One direction: bytes between a writer and a reader that may be on different strands.
struct Lane {
  static constexpr size_t kCapacity = 64 * 1024;
  std::mutex mutex;
  std::string bytes;
  size_t begin = 0;
  bool ended = false;   // the writer is done
  bool broken = false;  // either side closed
  Event readable, writable;

  void break_off() {
    {
      std::scoped_lock lock(mutex);
      broken = true;
    }
    readable.notify();
    writable.notify();
  }
  void end() {
    {
      std::scoped_lock lock(mutex);
      ended = true;
    }
    readable.notify();
  }
};

class PairStream final : public Stream {
 public:
  PairStream(std::shared_ptr<Lane> in, std::shared_ptr<Lane> out) : in_(std::move(in)), out_(std::move(out)) {}
  ~PairStream() override { PairStream::close(); }

  Task<Result<size_t>> read(std::span<char> into) override {
    auto lane = in_;
    auto deadlines = deadlines_;
    if (into.empty()) co_return 0;
    for (;;) {
      uint64_t seen = lane->readable.version();
      size_t n = 0;
      {
        std::scoped_lock lock(lane->mutex);
        n = std::min(into.size(), lane->bytes.size() - lane->begin);
        std::memcpy(into.data(), lane->bytes.data() + lane->begin, n);
        lane->begin += n;
        if (lane->begin == lane->bytes.size()) {
          lane->bytes.clear();
          lane->begin = 0;
        }
        if (n == 0 && deadlines->closed) co_return unavailable("the stream is closed");
        if (n == 0 && (lane->ended || lane->broken)) co_return 0;
      }
      if (n > 0) {
        lane->writable.notify();
        co_return n;
      }
      if (deadlines->read && *deadlines->read <= Clock::now()) co_return timeout("nothing arrived in time");
      co_await lane->readable.wait(seen, deadlines->read);
    }
  }

  Task<Result<>> write(std::span<const std::string_view> parts) override {
    auto lane = out_;
    auto deadlines = deadlines_;
    for (std::string_view part : parts) {
      while (!part.empty()) {
        uint64_t seen = lane->writable.version();
        size_t n = 0;
        {
          std::scoped_lock lock(lane->mutex);
          if (lane->broken || lane->ended) co_return unavailable("the stream is closed");
          if (lane->begin > 0) {
            lane->bytes.erase(0, lane->begin);
            lane->begin = 0;
          }
          n = std::min(part.size(), Lane::kCapacity - lane->bytes.size());
          lane->bytes.append(part.substr(0, n));
        }
        part.remove_prefix(n);
        if (n > 0) {
          lane->readable.notify();
          continue;
        }
        if (deadlines->write && *deadlines->write <= Clock::now()) co_return timeout("the peer does not read");
        co_await lane->writable.wait(seen, deadlines->write);
      }
    }
    co_return Result<>{};
  }

  Task<Result<>> shutdown_write() override {
    out_->end();
    co_return Result<>{};
  }

  void close() override {
    deadlines_->closed = true;
    in_->break_off();
    out_->break_off();
  }

  void set_read_deadline(std::optional<TimePoint> t) override {
    deadlines_->read = t;
    in_->readable.notify();
  }
  void set_write_deadline(std::optional<TimePoint> t) override {
    deadlines_->write = t;
    out_->writable.notify();
  }
  std::string peer_address() const override { return "memory"; }
  std::string local_address() const override { return "memory"; }
  const std::string& peer_certificate() const override {
    static const std::string none;
    return none;
  }
  bool quiet() override {
    std::scoped_lock lock(in_->mutex);
    return in_->bytes.size() == in_->begin && !in_->ended && !in_->broken;
  }
  bool move_to(Executor) override { return true; }

 private:
  // Of this side's strand; shared with operations that outlive the stream.
  struct Deadlines {
    std::optional<TimePoint> read, write;
    bool closed = false;
  };

  std::shared_ptr<Lane> in_, out_;
  std::shared_ptr<Deadlines> deadlines_ = std::make_shared<Deadlines>();
};

}  // namespace

std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> make_stream_pair(Executor, Executor) {
  auto there = std::make_shared<Lane>(), back = std::make_shared<Lane>();
  return {std::make_unique<PairStream>(there, back), std::make_unique<PairStream>(back, there)};
}

}  // namespace base::http
